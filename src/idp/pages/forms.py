"""Forms of our pages: strict parsing, origin check, and errors as pages."""

import math

from litestar import Response
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap

from idp.errors import (
    AdminRequired,
    AuthorizationRequestExpired,
    AuthorizationRequestInvalid,
    BadRequest,
    BodyTooLarge,
    Busy,
    ClientNotFound,
    CsrfRejected,
    DatabaseUnavailable,
    DependencyUnavailable,
    DomainNotFound,
    FederatedLoginInvalid,
    IdentityTaken,
    IdpError,
    InternalError,
    LinkAtAccount,
    NoAccountHere,
    NotFound,
    OriginNotAllowed,
    PasswordsRefused,
    RateLimited,
    RedirectUriMismatch,
    SupportSession,
    TeamNotFound,
    UnknownClient,
    UpstreamRefused,
    UserInactive,
    UserNotFound,
    WebhookNotFound,
)
from idp.ops.json_body import check_form, parse_form
from idp.ops.logging import describe
from idp.ops.origins import AllowedOrigins
from idp.ops.problems import log
from idp.pages.rendering import form_page
from idp.principal.model import Principal
from idp.principal.requests import AnyRequest
from idp.sessions.cookie import CSRF_HEADER, SessionCookies


async def read_form(request: AnyRequest, *, public_url: str) -> dict[str, str]:
    """Return the fields of a form.

    Args:
        request: the POST of a form.
        public_url: the service's own URL.

    Raises:
        CsrfRejected: the form was sent by a page of another origin (SEC-44).
        BadRequest: the body is not a form, or repeats a field.
    """
    try:
        AllowedOrigins(public_url).check_sender(request.headers)
    except OriginNotAllowed:
        raise CsrfRejected("The form was sent by a page of another site.") from None
    try:
        await check_form(request)
        return dict(parse_form(await request.body()))
    except IdpError:
        raise BadRequest("The form cannot be read.") from None


def check_session_form(
    request: AnyRequest, session_cookies: SessionCookies, browser: Principal, form: dict[str, str]
) -> None:
    """Refuse a form that does not have the CSRF token of the browser's session (SEC-44).

    Raises:
        CsrfRejected: the token is missing or of another session, or the form was sent by a page of another origin.
    """
    headers = {**request.headers, CSRF_HEADER: form.get("csrf_token", "")}
    session_cookies.check_csrf(headers, browser.credential.session_id or "")


def has_session_token(
    request: AnyRequest, session_cookies: SessionCookies, browser: Principal, form: dict[str, str]
) -> bool:
    """Whether a form has the CSRF token of the browser's session, as `check_session_form` requires.

    A form that was opened before another sign-in has not. Its page is shown again then, instead of an error.
    """
    try:
        check_session_form(request, session_cookies, browser, form)
    except CsrfRejected as error:
        request.scope["error"] = error  # type: ignore[typeddict-unknown-key]
        return False
    return True


# The prefix of the texts of each error; other errors have the same ones.
_TEXTS: dict[type[IdpError], str] = {
    RateLimited: "limited",
    DatabaseUnavailable: "unavailable",
    Busy: "busy",
    CsrfRejected: "csrf",
    BadRequest: "form",
    NotFound: "not_found",
    UserNotFound: "not_found",
    TeamNotFound: "not_found",
    DomainNotFound: "not_found",
    ClientNotFound: "not_found",
    WebhookNotFound: "not_found",
    UpstreamRefused: "upstream",
    FederatedLoginInvalid: "login_gone",
    NoAccountHere: "no_account",
    IdentityTaken: "identity_taken",
    LinkAtAccount: "link_at_account",
    PasswordsRefused: "passwords",
    UserInactive: "inactive",
    AdminRequired: "admins_only",
    SupportSession: "support",
    DependencyUnavailable: "provider_down",
}
_OFFERS_SIGN_IN = frozenset(
    {
        UpstreamRefused,
        FederatedLoginInvalid,
        NoAccountHere,
        IdentityTaken,
        LinkAtAccount,
        PasswordsRefused,
        DependencyUnavailable,
    }
)


def show_error(request: AnyRequest, error: IdpError) -> Response[str]:
    """Return the page of an error, without its details."""
    request.scope["error"] = error  # type: ignore[typeddict-unknown-key]
    return form_page(
        request,
        "notice.html",
        status=error.status,
        headers=error.headers,
        name=_TEXTS.get(type(error), "other"),
        login=f"/login{_other(error)}" if type(error) in _OFFERS_SIGN_IN else None,
        minutes=math.ceil(int(error.headers.get("Retry-After", "60")) / 60),
        request_id=str(request.scope.get("request_id", "")),
    )


def _other(error: IdpError) -> str:
    """Return the query of the sign-in page after a failed login at a provider: the journey, and no provider by hint."""
    query = str(error.extra.get("journey", ""))
    return f"{query}{'&' if query else '?'}other=1"


def _show_expired(request: AnyRequest, error: AuthorizationRequestExpired) -> Response[str]:
    """Return the page of a sign-in that is expired or finished."""
    request.scope["error"] = error  # type: ignore[typeddict-unknown-key]
    request_id = str(request.scope.get("request_id", ""))
    return form_page(request, "expired.html", status=error.status, request_id=request_id)


def show_request_error(request: AnyRequest, error: IdpError, *, texts: str = "request_error") -> Response[str]:
    """Return the page of a client's request whose client or redirect URI is not proven (SEC-34).

    Its details say to the client's developers what was received and what is registered.

    Args:
        request: the request.
        error: what is wrong with it.
        texts: the section of its title and text.
    """
    request.scope["error"] = error  # type: ignore[typeddict-unknown-key]
    seen = [("received", error.extra.get("received"))]
    seen += [("registered", each) for each in error.extra.get("registered", ())]
    return form_page(
        request,
        "request_error.html",
        status=error.status,
        texts=texts,
        error=error,
        seen=[(key, text) for key, text in seen if text],
        request_id=str(request.scope.get("request_id", "")),
    )


def _show_unexpected(request: AnyRequest, error: Exception) -> Response[str]:
    """Log an error that nobody expected, and return its page."""
    log.error("unexpected error", endpoint=request.scope.get("path_template"), **describe(error))
    return show_error(request, InternalError())


def _show_http_error(request: AnyRequest, error: HTTPException) -> Response[str]:
    """Return the page of an error of the framework, such as a parameter that it cannot read."""
    if error.status_code >= 500:
        return _show_unexpected(request, error)
    return show_error(request, BodyTooLarge() if error.status_code == BodyTooLarge.status else BadRequest())


FORM = {"form": True}  # `opt` of form routes, whose origin `read_form` checks
ERROR_PAGES: ExceptionHandlersMap = {
    Exception: _show_unexpected,
    HTTPException: _show_http_error,
    IdpError: show_error,
    AuthorizationRequestExpired: _show_expired,
    AuthorizationRequestInvalid: show_request_error,
    UnknownClient: show_request_error,
    RedirectUriMismatch: show_request_error,
}
