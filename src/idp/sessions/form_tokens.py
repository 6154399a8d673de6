"""CSRF tokens of forms before there is a session: a random cookie, and its keyed digest in the form (SEC-44).

So another site can neither send a form that it cannot read, nor sign a browser in to an account of its own (login
CSRF). With a session, forms carry the session's own token (`sessions/cookie.py`).
"""

import base64
import hmac
import re
import secrets
from collections.abc import Mapping

from litestar.datastructures import Cookie

from idp.errors import CsrfRejected
from idp.ops.origins import AllowedOrigins
from idp.signing.proof_keys import ProofKeys

_FORMAT = re.compile(r"[A-Za-z0-9_-]{22}\Z")


class FormTokens:
    """Makes and checks the tokens.

    Args:
        proofs: keys of unstored proofs.
        origins: our own URL: whether it is https, and its path.
    """

    def __init__(self, proofs: ProofKeys, origins: AllowedOrigins) -> None:
        self._key = proofs.of("form")
        self._secure = origins.own.startswith("https://")
        self._path = origins.cookie_path
        self.name = origins.cookie_name("idp_form")

    def issue(self, cookies: Mapping[str, str]) -> tuple[str, list[Cookie]]:
        """Return the token for a form, and the cookie to set if the browser has none, so that several tabs share it.

        Args:
            cookies: of the request.
        """
        browser, fresh = self.browser(cookies)
        return _token(self._key.current, browser), fresh

    def browser(self, cookies: Mapping[str, str]) -> tuple[str, list[Cookie]]:
        """Return the secret of this browser, and the cookie to set if it is new."""
        present = cookies.get(self.name, "")
        if _FORMAT.match(present):
            return present, []
        fresh = secrets.token_urlsafe(16)
        cookie = Cookie(key=self.name, value=fresh, path=self._path, secure=self._secure, httponly=True, samesite="lax")
        return fresh, [cookie]

    def check(self, cookies: Mapping[str, str], presented: str) -> None:
        """Refuse a form without the token of this browser's cookie.

        Raises:
            CsrfRejected: the cookie or the token is missing, or they do not belong together.
        """
        present = cookies.get(self.name, "")
        expected = [_token(key, present).encode() for key in self._key.all]
        matches = any(hmac.compare_digest(presented.encode(), each) for each in expected)
        if not _FORMAT.match(present) or not matches:
            raise CsrfRejected("The form has no valid token of this browser.")


def _token(key: bytes, cookie: str) -> str:
    return base64.urlsafe_b64encode(hmac.digest(key, cookie.encode(), "sha256")).rstrip(b"=").decode()
