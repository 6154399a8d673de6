"""The page at `/` for browsers; API clients get the health document there (S2-40)."""

from collections.abc import Awaitable, Callable

from litestar import Response

from idp.authn.introspection import Introspector
from idp.pages.browser_session import find_browser
from idp.pages.rendering import form_page
from idp.principal.requests import AnyRequest

ShowPage = Callable[[AnyRequest], Awaitable[Response[str]]]


def home_page(introspector: Introspector) -> ShowPage:
    """Return what shows the page: who is signed in, or a way to sign in.

    Args:
        introspector: decides about the session cookie.
    """

    async def show(request: AnyRequest) -> Response[str]:
        browser = await find_browser(request, introspector)
        vary = {"Vary": "Accept, Accept-Language"}
        return form_page(request, "home.html", headers=vary, user=browser.user if browser else None)

    return show
