"""Example Corp: an OpenID provider of another company, with its own people, for development.

It signs with a key of its own, kept in the data folder, which only `idp dev` trusts. Its people sign in to it without a
password (`upstream_sign_in.py`).
"""

import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from msgspec import Struct

from idp.settings import Secret, Settings
from idp.signing import base64url, raw_signature
from idp.signing.compact import parse

NAME = "upstream_key.pem"  # in the data folder
PROVIDER = "example-corp"  # in [oidc.providers] and [federation.providers]
LABEL = "Example Corp"
PATH = "/dev/upstream"
AUDIENCE = "idp-dev"  # our client id there
DOMAIN = "corp.example"
_RULES = [{"claim": "groups", "teams_by_external_ref": True, "domains_by_key": True}]
_KID = "example-corp-1"
_LIFE = 300  # seconds


class UpstreamPersona(Struct, frozen=True):
    """A person at Example Corp.

    Attributes:
        subject: the id there.
        email: a verified address.
        name: display name.
        groups: references of teams and keys of domains here.
    """

    subject: str
    email: str
    name: str
    groups: tuple[str, ...] = ()


PERSONAS = (
    UpstreamPersona("corp-1", f"grace@{DOMAIN}", "Grace Groups", ("eng", "engineering")),
    UpstreamPersona("corp-2", f"hugo@{DOMAIN}", "Hugo Two-Groups", ("product", "design", "marketing")),
    UpstreamPersona("corp-3", f"iris@{DOMAIN}", "Iris Individual"),
)


def provider_settings(issuer: str) -> dict[str, Any]:
    """Return the settings of `[oidc.providers.example-corp]` that trust the provider at this URL."""
    return {"issuer": issuer, "audience": [AUDIENCE], "trusted_email_domains": [DOMAIN], "rules": _RULES}


def sign_in_settings(issuer: str, client_secret: str) -> dict[str, Any]:
    """Return the settings of `[federation.providers.example-corp]`, the button on the sign-in page."""
    return {
        "issuer": issuer,
        "client_id": AUDIENCE,
        "client_secret": client_secret,
        "label": LABEL,
        "trusted_email_domains": [DOMAIN],
        "email_domains": [DOMAIN],
        "rules": _RULES,
    }


def find_person(text: str) -> UpstreamPersona:
    """Return the demo user with this subject, name or address; anybody else is a new person."""
    text = text.strip()
    wanted = text.lower()
    for each in PERSONAS:
        if wanted == each.subject or each.email.startswith(wanted) or each.name.lower().startswith(wanted):
            return each
    email = text if "@" in text else f"{text.replace(' ', '.').lower()}@{DOMAIN}"
    return UpstreamPersona(subject=text, email=email, name=text.partition("@")[0])


class UpstreamIssuer:
    """The provider.

    Args:
        issuer: its URL.
        key: its private key.
        client_secret: ours, None if nobody signs in through it.
    """

    def __init__(self, issuer: str, key: RSAPrivateKey, client_secret: Secret | None = None) -> None:
        self.issuer = issuer
        self.client_secret = client_secret
        self._key = key

    def discovery(self) -> dict[str, Any]:
        """Return the discovery document (OpenID Connect Discovery 1.0)."""
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "end_session_endpoint": f"{self.issuer}/logout",
            "jwks_uri": f"{self.issuer}/jwks.json",
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code"],
            "scopes_supported": ["openid", "profile", "email"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "code_challenge_methods_supported": ["S256"],
            "prompt_values_supported": ["none", "login", "select_account"],
            "claims_supported": ["sub", "email", "email_verified", "name", "groups", "sid", "auth_time", "amr"],
            "authorization_response_iss_parameter_supported": True,
            "backchannel_logout_supported": True,
            "backchannel_logout_session_supported": True,
        }

    def jwks(self) -> dict[str, Any]:
        """Return the published keys (RFC 7517)."""
        numbers = self._key.public_key().public_numbers()
        modulus, exponent = _encoded_number(numbers.n), _encoded_number(numbers.e)
        return {"keys": [{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": _KID, "n": modulus, "e": exponent}]}

    def token(self, persona: UpstreamPersona, claims: Mapping[str, Any] | None = None) -> str:
        """Return an ID token, valid for five minutes.

        Args:
            persona: the person.
            claims: further claims, or others than usual; None leaves one out.
        """
        now = int(time.time())
        usual = {
            "iss": self.issuer,
            "aud": AUDIENCE,
            "sub": persona.subject,
            "iat": now,
            "exp": now + _LIFE,
            "jti": secrets.token_hex(10),
            "email": persona.email,
            "email_verified": True,
            "name": persona.name,
            "groups": list(persona.groups),
        }
        return self.sign({name: value for name, value in (usual | dict(claims or {})).items() if value is not None})

    def sign(self, claims: Mapping[str, Any], *, typ: str = "JWT") -> str:
        """Return a JWT of this type."""
        signed = f"{_encoded({'alg': 'RS256', 'kid': _KID, 'typ': typ})}.{_encoded(claims)}"
        return f"{signed}.{base64url.encode(raw_signature.sign(signed.encode(), self._key, 'RS256'))}"

    def read(self, token: str, *, typ: str, expired: bool = False) -> dict[str, Any] | None:
        """Return the claims of a JWT of this type that the provider signed, None if it is not acceptable.

        Args:
            token: as presented.
            typ: its expected type.
            expired: accept one that has expired.
        """
        try:
            unverified = parse(token)
            raw_signature.check(
                unverified.signed, unverified.signature, public_key=self._key.public_key(), algorithm="RS256"
            )
        except ValueError:
            return None
        is_live = expired or unverified.claims.get("exp", 0) > time.time()
        return unverified.claims if unverified.header.get("typ") == typ and is_live else None


def find(settings: Settings) -> UpstreamIssuer | None:
    """Return the provider that the settings of `idp dev` name, None without one."""
    file, provider = settings.dev.upstream_key_file, settings.oidc.providers.get(PROVIDER)
    if file is None or provider is None:
        return None
    client = settings.federation.providers.get(PROVIDER)
    return load(provider.issuer, Path(file), client.client_secret if client else None)


def load(issuer: str, file: Path, client_secret: Secret | None = None) -> UpstreamIssuer:
    """Return the provider with the key in this file.

    Raises:
        OSError: the file cannot be read.
    """
    key = load_pem_private_key(file.read_bytes(), password=None)
    assert isinstance(key, RSAPrivateKey)
    return UpstreamIssuer(issuer, key, client_secret)


def issuer_on(port: int) -> str:
    """Return the issuer of the `idp dev` on this port; an address, because `localhost` may mean IPv6 elsewhere."""
    return f"http://127.0.0.1:{port}{PATH}"


def ensure_key(file: Path) -> None:
    """Create the key, readable by its owner only, if there is none."""
    if file.exists():
        return
    pem = generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
        stream.write(pem)
    draft.replace(file)


def _encoded(members: Mapping[str, Any]) -> str:
    return base64url.encode(msgspec.json.encode(members))


def _encoded_number(number: int) -> str:
    return base64url.encode(number.to_bytes((number.bit_length() + 7) // 8))
