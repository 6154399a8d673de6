"""Known devices, identified by a signed cookie (OWASP: device cookies).

A known device has a separate limit: an attacker who guesses from elsewhere does not use up the owner's attempts. It
stays known until the password changes or the account is claimed (C-11).
"""

import base64
import hmac
import re
import secrets
from collections.abc import Mapping

from litestar.datastructures import Cookie

from idp.ops.origins import AllowedOrigins
from idp.signing.proof_keys import ProofKeys

_MAX_ACCOUNTS = 5  # accounts per browser
_SECONDS = 400 * 86_400  # maximum lifetime of cookies in browsers (RFC 6265bis section 5.5)
_FORMAT = re.compile(r"[A-Za-z0-9_-]{22}(\.[A-Za-z0-9_-]{22}){1,5}\Z")


class KnownDevices:
    """Recognizes known devices.

    Args:
        proofs: keys of unstored proofs.
        origins: our own URL: whether it is https, and its path.
    """

    def __init__(self, proofs: ProofKeys, *, origins: AllowedOrigins) -> None:
        self._key = proofs.of("known-device")
        self._secure = origins.own.startswith("https://")
        self._path = origins.cookie_path
        self.name = origins.cookie_name("idp_device")

    def find(self, cookies: Mapping[str, str], user_id: str, *, password_version: int) -> str | None:
        """Return the device's name if this user signed in there with this password version, else None."""
        device, *accounts = _parts(cookies.get(self.name, ""))
        known = (_mac(key, device, user_id, password_version) for key in self._key.all)
        return device if any(each in accounts for each in known) else None

    def remember(self, cookies: Mapping[str, str], user_id: str, *, password_version: int) -> Cookie:
        """Return the cookie for a device where this user has just signed in."""
        device, *accounts = _parts(cookies.get(self.name, ""))
        mine = _mac(self._key.current, device, user_id, password_version)
        kept = [each for each in accounts if each != mine][: _MAX_ACCOUNTS - 1]
        return Cookie(
            key=self.name,
            value=".".join((device, mine, *kept)),
            max_age=_SECONDS,
            path=self._path,
            secure=self._secure,
            httponly=True,
            samesite="lax",
        )


def _parts(value: str) -> list[str]:
    """Return the device's name and its proofs; a new name if the cookie is not ours."""
    return value.split(".") if _FORMAT.match(value) else [secrets.token_urlsafe(16)]


def _mac(key: bytes, device: str, user_id: str, password_version: int) -> str:
    digest = hmac.digest(key, f"{device}\n{password_version}\n{user_id}".encode(), "sha256")[:16]
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
