"""ES256 and RS256 straight on the key (RFC 7518 section 3): a JOSE library takes half as long again for the same check.

What the library would check beside the signature is checked elsewhere: the form by `compact.py`, the algorithm, key,
type and claims by `jwt.py`. A test holds this file to joserfc's verdicts.
"""

from base64 import urlsafe_b64decode
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

_ES256_BYTES = 64
_ECDSA = ECDSA(SHA256())


def check(token: str, public_key: Any, algorithm: str) -> None:
    """Check the signature of a compact token whose form was checked before.

    Args:
        token: three canonical base64url parts.
        public_key: of `cryptography`, on P-256 for ES256, RSA for RS256.
        algorithm: what the key is for.

    Raises:
        ValueError: it does not hold.
    """
    signed, _, encoded = token.rpartition(".")
    signature = urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    try:
        if algorithm == "ES256":
            if len(signature) != _ES256_BYTES:
                raise ValueError("an ES256 signature has 64 bytes")
            r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
            public_key.verify(encode_dss_signature(r, s), signed.encode(), _ECDSA)
        else:
            public_key.verify(signature, signed.encode(), PKCS1v15(), SHA256())
    except InvalidSignature:
        raise ValueError("the signature does not hold") from None
