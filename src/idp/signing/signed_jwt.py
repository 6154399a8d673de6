"""Signs JWTs with the key ring and checks signatures; `typ` tells access, ID and logout tokens apart (SEC-25)."""

import functools
from typing import Any

import msgspec

from idp.checks import holds, require
from idp.signing import base64url, raw_signature
from idp.signing.compact import UnverifiedJwt
from idp.signing.keyring import Keyring
from idp.signing.signing_key import Algorithm, SigningKey

_encode = msgspec.json.Encoder().encode


def sign(key: SigningKey, claims: dict[str, Any], *, typ: str) -> str:
    """Sign claims.

    Args:
        key: of the key ring.
        claims: all claims.
        typ: the header's `typ`.
    """
    message = f"{_header(key.kid, key.algorithm, typ)}.{base64url.encode(_encode(claims))}"
    signature = raw_signature.sign(message.encode(), key.private_key, key.algorithm)
    return f"{message}.{base64url.encode(signature)}"


async def check(unverified: UnverifiedJwt, keyring: Keyring, *, typ: str, what: str) -> None:
    """Check a token's type, and its signature with the published key that it names.

    Args:
        unverified: the token.
        keyring: our keys.
        typ: the required type, in lower case.
        what: the kind of token, such as "an access token", for the error.

    Raises:
        ValueError: another type, an unknown key, another algorithm than the key's (SEC-20), or a wrong signature.
        DatabaseUnavailable: its key is not cached and PostgreSQL is unavailable.
    """
    header = unverified.header
    kid, presented_typ, algorithm = header.get("kid"), header.get("typ"), header.get("alg")
    require(media_type(presented_typ) == typ, "typ", presented_typ, typ, f"not {what}: typ must be {typ}")
    require(isinstance(kid, str), "kid", kid, "the id of a signing key", f"not {what}: kid is required")
    key = await keyring.verification_key(str(kid))
    require(key is not None, "signing key", "known" if key else "unknown", "known", "unknown signing key")
    assert key is not None
    require(algorithm == key.algorithm, "alg", algorithm, key.algorithm, "the algorithm differs from the key's")
    raw_signature.check(unverified.signed, unverified.signature, public_key=key.public_key, algorithm=key.algorithm)
    holds(True, "signature", "valid", "valid")


def media_type(typ: object) -> str:
    """Return a `typ` in lower case, without `application/` (RFC 7515 section 4.1.9)."""
    return str(typ).lower().removeprefix("application/")


@functools.lru_cache(maxsize=32)
def _header(kid: str, algorithm: Algorithm, typ: str) -> str:
    """Return the encoded header of this key's tokens."""
    return base64url.encode(_encode({"alg": algorithm, "kid": kid, "typ": typ}))
