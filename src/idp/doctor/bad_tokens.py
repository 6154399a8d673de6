"""Access tokens that every API must refuse (RFC 8725, RFC 9068; SEC-20 to SEC-29)."""

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key

from idp import clock
from idp.signing import raw_signature

_DAY = 86_400


class BadToken(NamedTuple):
    """A token, and why it must be refused."""

    why: str
    token: str

    def __repr__(self) -> str:
        return f"BadToken({self.why!r})"


def bad_tokens(
    issuer: str, audience: str, *, keys: list[Mapping[str, Any]], good: str | None = None
) -> Iterator[BadToken]:
    """Yield the catalogue.

    Args:
        issuer: whose tokens the API accepts.
        audience: of these tokens.
        keys: the issuer's public keys, from its JWKS.
        good: a token that the API accepts, to be changed in ways that end its validity.
    """
    now = clock.timestamp()
    claims = {
        "iss": issuer, "aud": audience, "sub": "doctor", "client_id": "doctor", "jti": secrets.token_hex(8),
        "iat": now, "exp": now + 300, "scope": "openid",
    }  # fmt: skip
    kid = str(keys[0].get("kid", "")) if keys else "unknown"
    yield from _malformed()
    yield from _algorithms(claims, kid, keys)
    yield from _foreign_keys(claims, kid)
    if good is not None:
        yield from _changed(good)


def _malformed() -> Iterator[BadToken]:
    yield BadToken("not a token", "doctor")
    yield BadToken("only dots", "..")
    yield BadToken("five parts, as an encrypted token has", "a.b.c.d.e")
    yield BadToken("a header that is not JSON", f"{_b64(b'doctor')}.{_b64(b'{}')}.{_b64(b'x')}")
    yield BadToken("64 kB of letters", "x" * 65_536)


def _algorithms(claims: dict[str, Any], kid: str, keys: list[Mapping[str, Any]]) -> Iterator[BadToken]:
    """The algorithm that the token names decides nothing (RFC 8725 section 3.1)."""
    for name in ("none", "None", "NONE", "nOnE"):
        yield BadToken(
            f"unsigned: alg is {name}", f"{_part({'alg': name, 'typ': 'at+jwt', 'kid': kid})}.{_part(claims)}."
        )
    for key in keys[:2]:
        for secret in (json.dumps(dict(key)).encode(), str(key.get("n") or key.get("x") or "").encode()):
            signed = f"{_part({'alg': 'HS256', 'typ': 'at+jwt', 'kid': key.get('kid')})}.{_part(claims)}"
            signature = hmac.digest(secret, signed.encode(), hashlib.sha256)
            yield BadToken("HS256 with the public key as secret", f"{signed}.{_b64(signature)}")
    signed = f"{_part({'alg': 'HS256', 'typ': 'JWT'})}.{_part(claims)}"
    yield BadToken("HS256 with an empty secret", f"{signed}.{_b64(hmac.digest(b'', signed.encode(), hashlib.sha256))}")


def _foreign_keys(claims: dict[str, Any], kid: str) -> Iterator[BadToken]:
    """A key that the token brings or names is not the issuer's (SEC-21)."""
    key = generate_private_key(SECP256R1())
    numbers = key.public_key().public_numbers()
    jwk = {
        "kty": "EC",
        "crv": "P-256",
        "x": _b64(numbers.x.to_bytes(32, "big")),
        "y": _b64(numbers.y.to_bytes(32, "big")),
    }
    headers: dict[str, dict[str, Any]] = {
        "another key under the issuer's kid": {"kid": kid},
        "an unknown kid": {"kid": "doctor"},
        "no kid": {},
        "a key in the header (jwk)": {"jwk": jwk, "kid": "doctor"},
        "a key set elsewhere (jku)": {"jku": "https://doctor.invalid/jwks.json", "kid": "doctor"},
        "a certificate elsewhere (x5u)": {"x5u": "https://doctor.invalid/x.pem", "kid": "doctor"},
        "an unknown critical header": {"crit": ["doctor"], "doctor": True, "kid": kid},
        "a kid that is a path": {"kid": "../../../../dev/null"},
        "a kid that is SQL": {"kid": "' UNION SELECT 'x"},
    }
    for why, more in headers.items():
        yield BadToken(f"signed by another key: {why}", _sign(key, claims, **more))
    now = clock.timestamp()
    changes: dict[str, dict[str, Any]] = {
        "expired": {"exp": now - _DAY},
        "without exp": {"exp": None},
        "not valid yet": {"nbf": now + _DAY},
        "of another issuer": {"iss": "https://doctor.invalid"},
        "for another audience": {"aud": "https://doctor.invalid"},
    }
    for why, more in changes.items():
        yield BadToken(f"{why}, and signed by another key", _sign(key, claims | more, kid=kid))


def _changed(good: str) -> Iterator[BadToken]:
    """A token that the API accepts, and what anyone can make of it."""
    parts = good.split(".")
    if len(parts) != 3:
        return
    header, payload, signature = parts
    yield BadToken("the good token without its signature", f"{header}.{payload}.")
    yield BadToken("the good token with another signature", f"{header}.{payload}.{_b64(secrets.token_bytes(64))}")
    try:
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except ValueError:
        return
    for name, value in (("exp", clock.timestamp() + 365 * _DAY), ("sub", "admin"), ("roles", ["admin"])):
        yield BadToken(f"the good token with another {name}", f"{header}.{_part(claims | {name: value})}.{signature}")
    yield BadToken("the good token as unsigned", f"{_part({'alg': 'none', 'typ': 'at+jwt'})}.{payload}.")


def _sign(key: EllipticCurvePrivateKey, claims: dict[str, Any], **header: Any) -> str:
    kept = {name: value for name, value in claims.items() if value is not None}
    signed = f"{_part({'alg': 'ES256', 'typ': 'at+jwt', **header})}.{_part(kept)}"
    return f"{signed}.{_b64(raw_signature.sign(signed.encode(), key, 'ES256'))}"


def _part(value: dict[str, Any]) -> str:
    return _b64(json.dumps(value).encode())


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
