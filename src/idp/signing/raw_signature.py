"""Signatures straight on the key (RFC 7518 section 3): a JOSE library takes half as long again for the same.

What the library would check beside the signature is checked elsewhere: the form by `compact.py`, the algorithm, key,
type and claims by `jwt.py`. A test holds this file to joserfc's verdicts, and joserfc to what is signed here.
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
    """Return a message's signature, as a token carries it.

    Args:
        message: header and payload, encoded, with the dot between them.
        private_key: of `cryptography`, on P-256 for ES256, RSA for RS256.
        algorithm: what the key is for.
    """
    if algorithm == "ES256":
        return _joined(private_key.sign(message, _ECDSA))
    signature: bytes = private_key.sign(message, _PKCS1, _SHA256)
    return signature


def check(message: bytes, signature: bytes, *, public_key: Any, algorithm: str) -> None:
    """Check a signature.

    Args:
        message: header and payload, encoded, with the dot between them.
        signature: what the token carries.
        public_key: of `cryptography`, on P-256 for ES256, RSA for RS256.
        algorithm: what the key is for.

    Raises:
        ValueError: it does not hold.
    """
    try:
        match algorithm:
            case "ES256":
                public_key.verify(_taken_apart(signature), message, _ECDSA)
            case "RS256":
                public_key.verify(signature, message, _PKCS1, _SHA256)
            case "PS256":
                public_key.verify(signature, message, _PSS, _SHA256)
            case "EdDSA":
                public_key.verify(signature, message)
            case _:
                raise ValueError("an algorithm that is not supported")
    except InvalidSignature:
        raise ValueError("the signature does not hold") from None


def _taken_apart(signature: bytes) -> bytes:
    """Return a token's r and s, 32 bytes each (RFC 7518 section 3.4), in the form of X.509 that the key reads."""
    if len(signature) != _ES256_BYTES:
        raise ValueError("an ES256 signature has 64 bytes")
    return encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))


def _joined(der: bytes) -> bytes:
    """Return r and s, 32 bytes each, of what a P-256 key has just signed.

    That is `30 length 02 length r 02 length s` (RFC 3279 section 2.2.3): whole numbers, so that one may begin with a
    zero byte for its sign, or be shorter. The library's way through two Python integers takes four times as long.
    """
    after_r = 4 + der[3]
    r, s = der[4:after_r], der[after_r + 2 :]
    return r[-32:].rjust(32, b"\0") + s[-32:].rjust(32, b"\0")
