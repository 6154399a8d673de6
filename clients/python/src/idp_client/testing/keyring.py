"""The signing keys of the issuer for tests, and their rotation."""

from typing import Any

from idp_client.testing.signing import Algorithm, SigningKey


class KeyRing:
    """The present key, the next one and earlier ones.

    The next key is published before it signs, as the service does, so that a rotation needs no new fetch of the JWKS.
    """

    def __init__(self, algorithm: Algorithm) -> None:
        self.present = SigningKey(algorithm)
        self._next = SigningKey(algorithm)
        self._earlier: list[SigningKey] = []

    @property
    def jwks(self) -> list[dict[str, Any]]:
        """The public keys."""
        return [key.jwk for key in (self.present, self._next, *self._earlier)]

    def rotate(self, *, remove: bool) -> SigningKey:
        """Sign with the next key from now on.

        Args:
            remove: remove the present key from the JWKS; otherwise its tokens stay valid.

        Returns:
            The key that was replaced.
        """
        replaced = self.present
        if not remove:
            self._earlier.append(replaced)
        self.present, self._next = self._next, SigningKey(replaced.algorithm)
        return replaced
