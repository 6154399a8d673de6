"""The sign-in for an app that waits while its user opens a link in a mail: a cookie with the id of its saved request.

The link leads to a page of its own, maybe in another tab. From there the user goes on to sign in, and the browser still
knows for which app. The id gives nothing by itself.
"""

from collections.abc import Mapping

from litestar.datastructures import Cookie

from idp.ops.origins import AllowedOrigins

_SECONDS = 3600  # as long as a saved request lives


class WaitingRequests:
    """Keeps the id of a saved request in the browser.

    Args:
        origins: our own URL: whether it is https, and its path.
    """

    def __init__(self, origins: AllowedOrigins) -> None:
        self._secure = origins.own.startswith("https://")
        self._path = origins.cookie_path
        self._name = origins.cookie_name("idp_waiting")

    def remember(self, request_id: str) -> Cookie:
        """Return the cookie of a saved request."""
        return Cookie(
            key=self._name,
            value=request_id,
            max_age=_SECONDS,
            path=self._path,
            secure=self._secure,
            httponly=True,
            samesite="lax",
        )

    def find(self, cookies: Mapping[str, str]) -> str | None:
        """Return the id that the browser knows, if any; the request may have ended."""
        return cookies.get(self._name)
