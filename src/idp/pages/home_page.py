"""The page at `/` for browsers; API clients get the health document there (S2-40)."""

from collections.abc import Awaitable, Callable

from litestar import Response

from idp.authn.introspection import Introspector
from idp.errors import IdpError
from idp.pages.browser_session import find_browser
from idp.pages.form_tokens import FormTokens
from idp.pages.forms import show_error
from idp.pages.rendering import form_page
from idp.principal.model import Principal
from idp.principal.requests import AnyRequest

ShowPage = Callable[[AnyRequest], Awaitable[Response[str]]]
ShowDevelopers = Callable[[AnyRequest, Principal | None, FormTokens], Awaitable[Response[str]]]


def home_page(introspector: Introspector, form_tokens: FormTokens) -> ShowPage:
    """Return what shows the page: who is signed in, or a way to sign in. Under `idp dev` it is the developer's home.

    Args:
        introspector: decides about the session cookie.
        form_tokens: for forms of the developer's home.
    """

    async def show(request: AnyRequest) -> Response[str]:
        try:
            return await _show(request)
        except IdpError as error:  # of the session's look-up; the health document at this path has no pages of errors
            return show_error(request, error)

    async def _show(request: AnyRequest) -> Response[str]:
        browser = await find_browser(request, introspector)
        show_developers: ShowDevelopers | None = request.app.state.get("show_developers")
        if show_developers is not None:
            return await show_developers(request, browser, form_tokens)
        vary = {"Vary": "Accept, Accept-Language"}
        return form_page(request, "home.html", headers=vary, user=browser.user if browser else None)

    return show
