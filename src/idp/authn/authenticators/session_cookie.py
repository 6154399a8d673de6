"""The session cookie: an opaque secret whose digest identifies a session."""

from idp.authn.credential import Presented
from idp.authn.outcome import NOT_MINE, Authenticated, ByCookie, Outcome, Rejected
from idp.checks import holds
from idp.errors import TokenInvalid
from idp.sessions.cookie import SessionCookies


class SessionCookie:
    """Owns a request with our cookie and without an explicit credential; beside one, cookies are ignored (C-24)."""

    name = "session_cookie"

    def __init__(self, cookies: SessionCookies) -> None:
        self._cookies = cookies

    async def authenticate(self, presented: Presented) -> Outcome:
        secret = presented.cookies.get(self._cookies.name)
        if presented.token is not None or secret is None:
            holds(False, "cookie", presented.form, f"{self._cookies.name}, and no explicit token")
            return NOT_MINE
        digests = self._cookies.digests(secret)
        holds(bool(digests), "cookie", f"{len(secret)} characters", "ASCII, at most 128 characters")
        return Authenticated(ByCookie(digests)) if digests else Rejected(TokenInvalid())
