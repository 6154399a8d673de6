"""What the pages at /account and /admin share: who opened them, how they look, and forms that change something.

A page opens for the session of the browser. Without one it leads to the sign-in page and comes back. A form whose
session ended while it was open comes back with the text that was entered (`drafts.py`).
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from litestar import Response
from litestar.datastructures import Cookie
from litestar.plugins.htmx import HTMXRequest
from litestar.response import Redirect
from litestar.types import ExceptionHandlersMap
from msgspec import Struct

from idp.authn.introspection import Introspector
from idp.errors import BadRequest, FreshLoginRequired, SupportSession
from idp.ops.public_prefix import prefixed
from idp.pages import navigation
from idp.pages.browser_session import find_browser
from idp.pages.drafts import Drafts
from idp.pages.forms import ERROR_PAGES, has_session_token, read_form
from idp.pages.rendering import FormOf, form_page, redirect, shell_policy
from idp.principal.guards import check_fresh, check_manages, decided_by_handler
from idp.principal.model import Principal, User
from idp.principal.requests import AnyRequest
from idp.sessions.cookie import SessionCookies
from idp.users.factors.enrolled import EnrolledFactors

# Options of the routes: the handlers find the caller by `SignedInPages`, whose errors are pages.
OF_PERSON = decided_by_handler("user, by session cookie")
OF_ADMIN = decided_by_handler("admin, by session cookie")


class SignInNeeded(Exception):
    """The page needs a sign-in, or a more recent one.

    Attributes:
        path: the page to come back to.
        fresh: whether there is a session, whose user must sign in again.
        cookies: to set.
    """

    def __init__(self, path: str, *, fresh: bool = False, cookies: Sequence[Cookie] = ()) -> None:
        self.path, self.fresh, self.cookies = path, fresh, cookies


class FormOutdated(Exception):
    """The form belongs to another session of this browser; its page shows it again."""

    def __init__(self, path: str, cookies: Sequence[Cookie]) -> None:
        self.path, self.cookies = path, cookies


class Visitor(Struct, frozen=True):
    """Who opened a page.

    Attributes:
        principal: the caller.
        csrf_token: of the session, for forms.
        draft: what they had entered on this page before they signed in again.
        cookies: to set with the page.
    """

    principal: Principal
    csrf_token: str
    draft: Mapping[str, str] = {}
    cookies: Sequence[Cookie] = ()

    @property
    def user(self) -> User:
        """The user."""
        assert self.principal.user is not None
        return self.principal.user


class SignedInPages:
    """Opens pages and reads forms for the session of the browser.

    Args:
        introspector: decides about the session cookie.
        session_cookies: checks the CSRF tokens of forms.
        factors: knows who has a second factor.
        drafts: keeps what was entered.
        public_url: the service's own URL.
        fresh_seconds: the maximum age of a sign-in for what needs a recent one.
    """

    def __init__(
        self,
        introspector: Introspector,
        session_cookies: SessionCookies,
        factors: EnrolledFactors,
        drafts: Drafts,
        *,
        public_url: str,
        fresh_seconds: int,
    ) -> None:
        self._introspector = introspector
        self._session_cookies = session_cookies
        self._factors = factors
        self._drafts = drafts
        self._public_url = public_url
        self._fresh_seconds = fresh_seconds

    async def open(self, request: AnyRequest, *, admin: bool = False, fresh: bool = False) -> Visitor:
        """Return who opens a page.

        Args:
            request: a GET.
            admin: require an administrator.
            fresh: require a recent sign-in, with a second factor if the user has one (C-33).

        Raises:
            SignInNeeded: nobody is signed in, or not recently enough.
            AdminRequired: the user is no administrator.
            SupportSession: an administrator who acts as the user opens what only the user may do.
            DatabaseUnavailable: the session cannot be looked up.
        """
        path = _path_of(request)
        visitor = await self._visitor(request, path)
        draft, cookies = self._drafts.take(request.cookies, request.scope["path"], visitor.user.id)
        await self._check(visitor, path, admin=admin, fresh=fresh)
        return Visitor(visitor.principal, visitor.csrf_token, draft, cookies)

    async def submit(
        self, request: AnyRequest, *, page: str, admin: bool = False, fresh: bool = False
    ) -> tuple[Visitor, dict[str, str]]:
        """Return who sent a form, and its fields.

        Args:
            request: a POST.
            page: the path of the page that shows the form, to which a sign-in leads back.
            admin: require an administrator.
            fresh: require a recent sign-in.

        Raises:
            SignInNeeded: as `open`; what was entered is kept.
            FormOutdated: the form belongs to an earlier session of this browser.
            CsrfRejected: a page of another origin sent the form.
            BadRequest: the form cannot be read.
            AdminRequired, SupportSession, DatabaseUnavailable: as `open`; a session of support changes nothing.
        """
        form = await read_form(request, public_url=self._public_url)
        if any("\x00" in text for text in form.values()):  # PostgreSQL has no text with it
            raise BadRequest
        kept = self._drafts.keep(page.partition("?")[0], form)
        visitor = await self._visitor(request, page, kept)
        if not has_session_token(request, self._session_cookies, visitor.principal, form):
            raise FormOutdated(page, kept)
        if visitor.principal.credential.is_for_support:
            raise SupportSession
        await self._check(visitor, page, admin=admin, fresh=fresh, kept=kept)
        return visitor, form

    async def _visitor(self, request: AnyRequest, path: str, kept: Sequence[Cookie] = ()) -> Visitor:
        browser = await find_browser(request, self._introspector, confirm=True)
        if browser is None:
            raise SignInNeeded(path, cookies=kept)
        request.scope["user"] = browser  # for audit records
        return Visitor(browser, self._session_cookies.csrf_token(browser.credential.session_id or ""))

    async def _check(
        self, visitor: Visitor, path: str, *, admin: bool, fresh: bool, kept: Sequence[Cookie] = ()
    ) -> None:
        if admin:
            check_manages(visitor.principal)
        if not fresh:
            return
        try:
            await check_fresh(visitor.principal, seconds=self._fresh_seconds, has_second_factor=self._factors.has_any)
        except FreshLoginRequired:
            raise SignInNeeded(path, fresh=True, cookies=kept) from None


def _path_of(request: AnyRequest) -> str:
    """Return the path and query of a page as the application sees it, without the prefix of the public URL."""
    path, query = request.scope["path"], request.scope["query_string"].decode("ascii", "ignore")
    return f"{path}?{query}" if query else path


def show(
    request: AnyRequest, template: str, visitor: Visitor, *, section: str, status: int = 200, **values: Any
) -> Response[str]:
    """Return a page of the account or the administration.

    Args:
        request: chooses the language. `?done=NAME` shows the text `done.NAME` above the page.
        template: its file name.
        visitor: who opened it.
        section: the entry of the navigation that it belongs to.
        status: of the response.
        values: the template's variables.
    """
    return form_page(
        request,
        template,
        status=status,
        form=FormOf(cookies=visitor.cookies),
        headers={"Content-Security-Policy": shell_policy()},
        visitor=visitor,
        user=visitor.user,
        csrf_token=visitor.csrf_token,
        section=section,
        account_navigation=navigation.ACCOUNT,
        admin_navigation=navigation.ADMIN,
        draft=visitor.draft,
        done=request.query_params.get("done"),
        **values,
    )


def _lead_to_sign_in(request: AnyRequest, needed: SignInNeeded) -> Response[str] | Redirect:
    query = {"return_to": needed.path} | ({"fresh": "1"} if needed.fresh else {})
    return _go(request, f"/login?{urlencode(query)}", needed.cookies)


def _show_form_again(request: AnyRequest, outdated: FormOutdated) -> Response[str] | Redirect:
    return _go(request, outdated.path, outdated.cookies)


def _go(request: AnyRequest, path: str, cookies: Sequence[Cookie]) -> Response[str] | Redirect:
    if isinstance(request, HTMXRequest) and request.htmx:  # a redirect would be followed inside the page
        return Response("", headers={"HX-Redirect": prefixed(path)}, cookies=list(cookies), media_type="text/html")
    return redirect(path, cookies=cookies)


SIGNED_IN_ERRORS: ExceptionHandlersMap = {
    **ERROR_PAGES,
    SignInNeeded: _lead_to_sign_in,
    FormOutdated: _show_form_again,
}
