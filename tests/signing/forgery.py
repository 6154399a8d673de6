"""Tokens made by hand, byte by byte, with whatever key the attack needs: what a library would refuse to write.

`Forge.token()` without arguments is exactly what the service signs itself; every attack changes one thing of it.
"""

import hashlib
import hmac
import json
import time
from base64 import urlsafe_b64encode
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from joserfc.jwk import ECKey, RSAKey
from uuid_utils.compat import uuid7

from factories import Person, Service
from idp.signing.signing_key import SigningKey


class _LeftOut:
    def __repr__(self) -> str:
        return "left out"


LEFT_OUT = _LeftOut()  # as the value of a member: the member is not there at all
_HMAC = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}


def b64url(raw: bytes) -> str:
    """Return base64url without padding (RFC 7515 section 2)."""
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def json_bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def compact(header: Any, claims: Any, sign: Any) -> str:
    """Return a compact JWS.

    Args:
        header: an object, or the exact bytes of one.
        claims: the same.
        sign: takes the signing input, returns the signature's bytes.
    """
    signing_input = f"{b64url(json_bytes(header))}.{b64url(json_bytes(claims))}"
    return f"{signing_input}.{b64url(sign(signing_input.encode()))}"


def es256(key: ECKey) -> Any:
    """Return a signer with a P-256 key: r and s, 32 bytes each (RFC 7518 section 3.4)."""
    private = serialization.load_pem_private_key(key.as_pem(private=True), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)

    def sign(signing_input: bytes) -> bytes:
        r, s = decode_dss_signature(private.sign(signing_input, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    return sign


def rs256(key: RSAKey) -> Any:
    """Return a signer with an RSA key."""
    private = serialization.load_pem_private_key(key.as_pem(private=True), None)
    assert isinstance(private, rsa.RSAPrivateKey)
    return lambda signing_input: private.sign(signing_input, padding.PKCS1v15(), hashes.SHA256())


def hs(secret: bytes, algorithm: str = "HS256") -> Any:
    """Return a signer with a shared secret."""
    return lambda signing_input: hmac.new(secret, signing_input, _HMAC[algorithm]).digest()


def changed(members: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return the members with the changes; LEFT_OUT takes one away."""
    return {name: value for name, value in (members | changes).items() if value is not LEFT_OUT}


class Forge:
    """Makes tokens about one person of one service, with the service's own signing key unless told otherwise."""

    def __init__(self, service: Service, person: Person, key: SigningKey) -> None:
        self.service = service
        self.person = person
        self.key = key
        self.sign = es256(key.key)  # type: ignore[arg-type]

    @classmethod
    async def of(cls, service: Service, person: Person) -> "Forge":
        return cls(service, person, await service.app.core.keyring.signing_key())

    @property
    def issuer(self) -> str:
        return self.service.app.core.tokens.issuer

    def header(self, **changes: Any) -> dict[str, Any]:
        return changed({"alg": "ES256", "kid": self.key.kid, "typ": "at+jwt"}, changes)

    def claims(self, **changes: Any) -> dict[str, Any]:
        now = int(time.time())
        members = {
            "iss": self.issuer,
            "aud": self.issuer,
            "sub": self.person.id,
            "uid": self.person.id,
            "iat": now,
            "exp": now + 600,
            "jti": str(uuid7()),
            "client_id": "idp",
            "scope": "openid profile email",
            "email": self.person.email,
            "email_verified": False,
        }
        return changed(members, changes)

    def token(self, *, header: Any = None, claims: Any = None, sign: Any = None) -> str:
        """Return a token that is good but for what is given."""
        return compact(
            self.header() if header is None else header,
            self.claims() if claims is None else claims,
            sign or self.sign,
        )
