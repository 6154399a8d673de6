"""The secret with which we authenticate at a provider: a text, or for Apple a JWT that is renewed."""

from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from idp import clock
from idp.federation.presets import APPLE
from idp.settings_schema import UpstreamProvider
from idp.signing import client_secret_jwt

_LIFE = 3600  # seconds; Apple accepts six months


class ClientSecret:
    """Returns the current secret.

    Args:
        settings: of the provider.

    Raises:
        ValueError: Apple's private key cannot be read.
    """

    def __init__(self, settings: UpstreamProvider) -> None:
        self._settings = settings
        self._key = _read_key(settings) if settings.preset == "apple" else None
        self._jwt, self._issued_at = "", -_LIFE
        # Apple reads the form only; all others accept what the standard makes the default.
        self.method = "client_secret_post" if settings.preset in {"apple", "github"} else "client_secret_basic"

    def current(self) -> str:
        """Return the secret to send."""
        if self._key is None:
            secret = self._settings.client_secret
            return secret.reveal() if secret is not None else ""
        now = clock.timestamp()
        if not self._issued_at <= now < self._issued_at + _LIFE - 60:  # also if the clock was set back
            claims = {
                "iss": self._settings.team_id,
                "sub": self._settings.client_id,
                "aud": APPLE,
                "iat": now,
                "exp": now + _LIFE,
            }
            self._jwt = client_secret_jwt.sign(claims, self._key, kid=self._settings.key_id or "")
            self._issued_at = now
        return self._jwt


def _read_key(settings: UpstreamProvider) -> Any:
    secret = settings.private_key
    try:
        key = load_pem_private_key(secret.reveal().encode() if secret else b"", password=None)
    except (ValueError, TypeError):
        raise ValueError("private_key is not the PEM of the .p8 file from Apple") from None
    if not isinstance(key, EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise ValueError("private_key is not a P-256 key")
    return key
