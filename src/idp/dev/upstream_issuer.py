"""Example Corp: an OpenID provider of another company, with its own people, for development.

It signs with a key of its own, kept in the data folder, which only `idp dev` trusts.
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

from idp.settings import Settings
from idp.signing import base64url, raw_signature

NAME = "upstream_key.pem"  # in the data folder
PROVIDER = "example-corp"  # in [oidc.providers]
PATH = "/dev/upstream"
AUDIENCE = "idp-dev"
DOMAIN = "corp.example"
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
    return {
        "issuer": issuer,
        "audience": [AUDIENCE],
        "trusted_email_domains": [DOMAIN],
        "rules": [{"claim": "groups", "teams_by_external_ref": True, "domains_by_key": True}],
    }


class UpstreamIssuer:
    """The provider.

    Args:
        issuer: its URL.
        key: its private key.
    """

    def __init__(self, issuer: str, key: RSAPrivateKey) -> None:
        self.issuer = issuer
        self._key = key

    def discovery(self) -> dict[str, Any]:
        """Return the discovery document; there is no sign-in page, so no authorization endpoint."""
        return {
            "issuer": self.issuer,
            "jwks_uri": f"{self.issuer}/jwks.json",
            "id_token_signing_alg_values_supported": ["RS256"],
            "subject_types_supported": ["public"],
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
        given = {name: value for name, value in (usual | dict(claims or {})).items() if value is not None}
        signed = f"{_encoded({'alg': 'RS256', 'kid': _KID, 'typ': 'JWT'})}.{_encoded(given)}"
        return f"{signed}.{base64url.encode(raw_signature.sign(signed.encode(), self._key, 'RS256'))}"


def find(settings: Settings) -> UpstreamIssuer | None:
    """Return the provider that the settings of `idp dev` name, None without one."""
    file, provider = settings.dev.upstream_key_file, settings.oidc.providers.get(PROVIDER)
    return None if file is None or provider is None else load(provider.issuer, Path(file))


def load(issuer: str, file: Path) -> UpstreamIssuer:
    """Return the provider with the key in this file.

    Raises:
        OSError: the file cannot be read.
    """
    key = load_pem_private_key(file.read_bytes(), password=None)
    assert isinstance(key, RSAPrivateKey)
    return UpstreamIssuer(issuer, key)


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
