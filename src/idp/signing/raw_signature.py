"""ES256 and RS256 with `cryptography` directly (RFC 7518 section 3), faster than through a JOSE library.

The library's other checks are elsewhere: format in `compact.py`; algorithm, key, type and claims in `jwt.py`. A test
compares the results with joserfc in both directions.
"""

from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

_ES256_BYTES = 64
_SHA256 = SHA256()
_ECDSA = ECDSA(_SHA256)
_PKCS1 = PKCS1v15()
_PSS = PSS(mgf=MGF1(_SHA256), salt_length=PSS.DIGEST_LENGTH)  # RFC 7518 section 3.5


def sign(message: bytes, private_key: Any, algorithm: str) -> bytes:
    """Sign a message.

    Args:
        message: encoded header and payload, joined by a dot.
        private_key: of `cryptography`, on P-256 for ES256, RSA for RS256.
        algorithm: of the key.
    """
    if algorithm == "ES256":
        return _from_der(private_key.sign(message, _ECDSA))
    signature: bytes = private_key.sign(message, _PKCS1, _SHA256)
    return signature


def check(message: bytes, signature: bytes, *, public_key: Any, algorithm: str) -> None:
    """Verify a signature.

    Args:
        message: encoded header and payload, joined by a dot.
        signature: of the token.
        public_key: of `cryptography`, on P-256 for ES256, RSA for RS256.
        algorithm: of the key.

    Raises:
        ValueError: it is invalid.
    """
    try:
        match algorithm:
            case "ES256":
                public_key.verify(_to_der(signature), message, _ECDSA)
            case "RS256":
                public_key.verify(signature, message, _PKCS1, _SHA256)
            case "PS256":
                public_key.verify(signature, message, _PSS, _SHA256)
            case "EdDSA":
                public_key.verify(signature, message)
            case _:
                raise ValueError("an algorithm that is not supported")
    except InvalidSignature:
        raise ValueError("invalid signature") from None


def _to_der(signature: bytes) -> bytes:
    """Convert r and s, 32 bytes each (RFC 7518 section 3.4), to DER for `cryptography`."""
    if len(signature) != _ES256_BYTES:
        raise ValueError("an ES256 signature has 64 bytes")
    return encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))


def _from_der(der: bytes) -> bytes:
    """Convert a DER signature of a P-256 key to r and s, 32 bytes each.

    DER is `30 length 02 length r 02 length s` (RFC 3279 section 2.2.3), with signed integers, which may have a leading
    zero byte or be shorter. The library's conversion through Python integers takes four times as long.
    """
    after_r = 4 + der[3]
    r, s = der[4:after_r], der[after_r + 2 :]
    return r[-32:].rjust(32, b"\0") + s[-32:].rjust(32, b"\0")
