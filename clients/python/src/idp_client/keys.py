"""Public keys of a JWKS (RFC 7517), and verification of signatures with them (RFC 7518 sections 3.3 and 3.4).

Each key has exactly one algorithm (SEC-20). `cryptography` is used directly, because joserfc takes 1.5 times as long;
tests compare the results with joserfc's.
"""

from typing import Any, ClassVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from joserfc.jwk import ECKey, RSAKey
from joserfc.util import urlsafe_b64decode
from msgspec import Struct

_ECDSA = ec.ECDSA(hashes.SHA256())
_PKCS1 = padding.PKCS1v15()
_SHA256 = hashes.SHA256()
_MIN_RSA_BITS = 2048  # bits (SEC-29)


class BadSignature(ValueError):
    """The signature is invalid."""


class UnusableKey(ValueError):
    """A member of a JWKS that is not supported; the message says why."""


class Es256Key(Struct, frozen=True):
    """P-256, ECDSA with SHA-256."""

    algorithm: ClassVar[str] = "ES256"
    jwk: dict[str, Any]
    public: ec.EllipticCurvePublicKey

    def check(self, signing_input: bytes, signature: bytes) -> None:
        """Raise BadSignature unless this key made the signature."""
        if len(signature) != 64:  # r and s, 32 bytes each; not DER
            raise BadSignature("an ES256 signature has 64 bytes")
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        try:
            self.public.verify(encode_dss_signature(r, s), signing_input, _ECDSA)
        except InvalidSignature:
            raise BadSignature("invalid signature") from None


class Rs256Key(Struct, frozen=True):
    """RSA of 2048 bits or more, PKCS #1 v1.5 with SHA-256."""

    algorithm: ClassVar[str] = "RS256"
    jwk: dict[str, Any]
    public: rsa.RSAPublicKey

    def check(self, signing_input: bytes, signature: bytes) -> None:
        """Raise BadSignature unless this key made the signature."""
        try:
            self.public.verify(signature, signing_input, _PKCS1, _SHA256)
        except InvalidSignature:
            raise BadSignature("invalid signature") from None


VerificationKey = Es256Key | Rs256Key


def from_jwk(jwk: dict[str, Any]) -> VerificationKey:
    """Parse a member of a JWKS.

    Raises:
        UnusableKey: another type, curve, use or algorithm, a private or a short key, or a point off the curve.
    """
    try:
        return _read(jwk)
    except Exception as error:  # an invalid member must not affect the other keys
        raise UnusableKey(f"{type(error).__name__}: {error}") from error


def _read(jwk: dict[str, Any]) -> VerificationKey:
    if "d" in jwk or "k" in jwk:
        raise UnusableKey("a private key was published")
    if jwk.get("use", "sig") != "sig" or "verify" not in jwk.get("key_ops", ["verify"]):
        raise UnusableKey("not for signatures")
    match jwk.get("kty"), jwk.get("crv"), jwk.get("alg"):
        case "EC", "P-256", "ES256" | None:
            return Es256Key(jwk, ECKey.import_key(jwk).public_key)  # refuses a point off the curve
        case "RSA", None, "RS256" | None:
            return _read_rsa(jwk)
        case other:
            raise UnusableKey(f"neither ES256 nor RS256: {other}")


def _read_rsa(jwk: dict[str, Any]) -> Rs256Key:
    bits = int.from_bytes(urlsafe_b64decode(jwk["n"].encode()), "big").bit_length()
    if bits < _MIN_RSA_BITS:
        raise UnusableKey(f"{bits} bits; RSA needs {_MIN_RSA_BITS}")
    return Rs256Key(jwk, RSAKey.import_key(jwk).public_key)
