"""The session cookie and CSRF protection (SEC-44, SEC-70; RFC 6265bis).

The cookie is a random secret, new at every sign-in; only its digest is stored. Browsers send it automatically, so
changes also require an allowed origin and the session's CSRF token, which other sites cannot read.
"""

import base64
import hmac
import secrets
from collections.abc import Mapping, Sequence

from litestar.datastructures import Cookie

from idp.checks import holds
from idp.errors import CsrfRejected
from idp.ops.origins import AllowedOrigins
from idp.settings import Secret
from idp.signing.peppers import Peppers
from idp.signing.proof_keys import ProofKeys

CSRF_HEADER = "x-csrf-token"
_MAX_LENGTH = 128  # characters; ours have 43


class SessionCookies:
    """Creates and checks session cookies.

    Args:
        roots: root secrets, the current one first, for digests of cookies.
        proofs: keys of unstored proofs, such as the CSRF token.
        origins: allowed origins. If our own is https, the cookie names begin with `__Host-`, which no other host can
        set.
    """

    def __init__(self, roots: Sequence[Secret], proofs: ProofKeys, *, origins: AllowedOrigins) -> None:
        self._peppers = Peppers(roots, "session-cookie")
        self._csrf_key = proofs.of("csrf")
        self._secure = origins.own.startswith("https://")
        self.origins = origins
        self.name, self.csrf_name = origins.cookie_name("idp_session"), origins.cookie_name("idp_csrf")
        self.kept_name = origins.cookie_name("idp_kept_session")

    def new(self) -> tuple[str, str]:
        """Return a new cookie secret and its digest."""
        secret = secrets.token_urlsafe(32)
        return secret, self._peppers.digest(secret).hex

    def digests(self, secret: str) -> tuple[str, ...]:
        """Return the possible digests of a presented cookie; empty if it is malformed."""
        return tuple(self._peppers.possible(secret)) if secret.isascii() and len(secret) <= _MAX_LENGTH else ()

    def csrf_token(self, session_id: str) -> str:
        """Return the session's CSRF token."""
        return _csrf(self._csrf_key.current, session_id)

    def set(self, secret: str, session_id: str, *, seconds: int | None) -> list[Cookie]:
        """Return the cookies of a new session.

        Args:
            secret: from `new`.
            session_id: the session.
            seconds: their lifetime; None until the browser closes.
        """
        return [
            self._cookie(self.name, secret, seconds, httponly=True),
            self._cookie(self.csrf_name, self.csrf_token(session_id), seconds, httponly=False),
        ]

    def clear(self) -> list[Cookie]:
        """Return expired cookies that delete the session cookies, also what an administrator's own session left."""
        return [self._cookie(name, "", 0, httponly=True) for name in (self.name, self.csrf_name, self.kept_name)]

    def kept(self, secret: str | None) -> Cookie:
        """Return the cookie that keeps an administrator's own session while they act as a user; None deletes it."""
        return self._cookie(self.kept_name, secret or "", None if secret else 0, httponly=True)

    def check_csrf(self, headers: Mapping[str, str], session_id: str) -> None:
        """Check the origin and the CSRF token of a change.

        Raises:
            CsrfRejected: the origin is not allowed, or the session's CSRF token is missing or wrong.
        """
        self.check_origin(headers)
        presented = headers.get(CSRF_HEADER, "")
        expected = [_csrf(key, session_id).encode() for key in self._csrf_key.all]
        is_right = any(hmac.compare_digest(presented.encode(), each) for each in expected)
        seen = "right" if is_right else "another" if presented else "absent"
        if not holds(is_right, CSRF_HEADER, seen, "the session's"):
            raise CsrfRejected("The CSRF token is missing or does not belong to this session.")

    def check_origin(self, headers: Mapping[str, str]) -> None:
        """Refuse a request from a page of another origin; a request with neither header is not from a browser.

        Raises:
            CsrfRejected: the origin is not allowed.
        """
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
        if origin is not None and not holds(self.origins.allows(origin), "origin", origin, "an allowed origin"):
            raise CsrfRejected("The request comes from a page of another origin.")
        if origin is None and not holds(site in {"same-origin", "none"}, "sec-fetch-site", site, "same-origin or none"):
            raise CsrfRejected("The request comes from a page of another site.")

    def _cookie(self, name: str, value: str, seconds: int | None, *, httponly: bool) -> Cookie:
        return Cookie(
            key=name,
            value=value,
            max_age=seconds,
            path=self.origins.cookie_path,
            secure=self._secure,
            httponly=httponly,
            samesite="lax",
        )


def _csrf(key: bytes, session_id: str) -> str:
    return base64.urlsafe_b64encode(hmac.digest(key, session_id.encode(), "sha256")).rstrip(b"=").decode()
