"""A signing key in memory, and how one is made."""

from datetime import datetime
from typing import Any, Literal

from joserfc.jwk import ECKey, RSAKey
from msgspec import Struct

Algorithm = Literal["ES256", "RS256"]
ALGORITHMS: tuple[Algorithm, ...] = ("ES256", "RS256")
PrivateKey = ECKey | RSAKey
RSA_BITS = 2048  # SEC-29; a signature takes a third of the time of 3072 bits (decision 0047)


class SigningKey(Struct, frozen=True):
    """A decrypted key. `key` and `private_key` contain the private part and never leave `idp.signing`."""

    kid: str
    algorithm: Algorithm
    key: PrivateKey
    signs_from: datetime
    expires_at: datetime | None
    private_key: Any  # of `cryptography`, for signing
    public_key: Any  # for verifying

    def __repr__(self) -> str:
        return f"SigningKey({self.kid})"


class KeyStatus(Struct, frozen=True):
    """A published key, for display.

    Attributes:
        status: `announced` signs later, `signing` signs now, `retiring` verifies the tokens it has signed.
        signs_from: start of signing.
        expires_at: when it leaves the JWKS, None if not planned.
        jwk: its public part (RFC 7517).
    """

    kid: str
    algorithm: Algorithm
    status: Literal["announced", "signing", "retiring"]
    signs_from: datetime
    expires_at: datetime | None
    jwk: dict[str, Any]


def generate(algorithm: Algorithm) -> PrivateKey:
    """Generate a key: P-256 for ES256, 2048 bits for RS256."""
    if algorithm == "ES256":
        return ECKey.generate_key("P-256", private=True)
    return RSAKey.generate_key(RSA_BITS, private=True)


def public_jwk(key: PrivateKey, algorithm: Algorithm) -> dict[str, Any]:
    """Return the public JWK."""
    return {**key.as_dict(private=False), "kid": key.thumbprint(), "use": "sig", "alg": algorithm}
