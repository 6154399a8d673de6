"""What the administration pages share: their routes, the values of their forms, and errors as texts on a page."""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar
from urllib.parse import urlencode
from uuid import UUID

import msgspec
from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.plugins.htmx import HTMXRequest
from litestar.response import Redirect

from idp.accounts.manage_users import By
from idp.audit.record import origin_of
from idp.errors import AdminRequired, DatabaseUnavailable, IdpError, SupportSession, TokenRevoked, ValidationFailed
from idp.ops.json_body import place_of
from idp.ops.problems import invalid
from idp.pages.forms import FORM
from idp.pages.languages import Texts
from idp.pages.rendering import redirect, texts_for
from idp.pages.signed_in import OF_ADMIN, SIGNED_IN_ERRORS, Visitor
from idp.plain_text import without_unseen
from idp.principal.requests import AnyRequest

T = TypeVar("T")
Page = Response[str]
Decorator = Callable[[Callable[..., Awaitable[object]]], HTTPRouteHandler]
Answer = Response[str] | Redirect
PAGE_SIZE = 50
_MISSING = re.compile(r"missing required field `(\w+)`")
_MAX_LENGTH = 600  # characters of a parameter
# These are pages of their own: the administrator can do nothing about them in the form.
_NOT_OF_THE_FORM = (AdminRequired, DatabaseUnavailable, SupportSession, TokenRevoked)


def admin_page(path: str) -> Decorator:
    """Return the decorator of a page."""
    return get(path, opt=OF_ADMIN, include_in_schema=False, exception_handlers=SIGNED_IN_ERRORS)


def admin_form(path: str) -> Decorator:
    """Return the decorator of a form."""
    return post(
        path, opt=OF_ADMIN | FORM, include_in_schema=False, status_code=200, exception_handlers=SIGNED_IN_ERRORS
    )


def by(request: AnyRequest, visitor: Visitor) -> By:
    """Return who makes a change."""
    return By(visitor.principal, origin_of(request))


def wants_part(request: AnyRequest) -> bool:
    """Whether htmx asks for the part of a page that it replaces, and not for the whole page."""
    if not isinstance(request, HTMXRequest) or not request.htmx:
        return False
    return not request.htmx.boosted and not request.htmx.history_restore_request


class Entered(dict[str, str]):
    """What was entered in the forms of a page, as its template shows it again; empty where nothing was."""

    def __missing__(self, name: str) -> str:
        return ""


def text_of(request: AnyRequest, name: str) -> str:
    """Return a parameter of the query as one line; what no list can contain is left out."""
    return without_unseen(request.query_params.get(name, "")[:_MAX_LENGTH]).strip()


def values(fields: Mapping[str, object], shape: type[T]) -> T:
    """Return fields of a form as a struct; empty texts count as absent.

    Args:
        fields: the fields; None for a value that is null.
        shape: the struct, as the API reads it.

    Raises:
        ValidationFailed: a field is missing or cannot be used.
    """
    given = {name: value for name, value in fields.items() if value != ""}
    try:
        return msgspec.convert(given, shape, strict=False)
    except msgspec.ValidationError as error:
        entry = place_of(error)
        raise invalid(entry.loc, entry.msg) from None


def words(text: str) -> list[str]:
    """Return the words of a field, such as scopes, separated by spaces or commas, each once."""
    return list(dict.fromkeys(text.replace(",", " ").split()))


def problem_text(request: AnyRequest, error: IdpError) -> str:
    """Return what an error of a form says to the administrator.

    Raises:
        IdpError: the error, if it has a page of its own.
    """
    if isinstance(error, _NOT_OF_THE_FORM):
        raise error
    request.scope["error"] = error  # type: ignore[typeddict-unknown-key]
    t = texts_for(request)
    if isinstance(error, ValidationFailed):
        fields = error.extra.get("errors") or []
        if fields and (missing := _MISSING.search(fields[0].msg)):
            return t("admin_problem.missing", field=_text(t, "admin_field", missing[1]) or missing[1])
        names = [each for each in fields[0].loc if isinstance(each, str)] if fields else []
        name = names[-1] if names else ""
        label, reason = _text(t, "admin_field", name) or name, fields[0].msg if fields else error.detail
        return t("admin_problem.validation_failed", field=label, reason=reason)
    return _text(t, "admin_problem", error.code) or error.detail


def _text(t: Texts, section: str, name: str) -> str | None:
    return t.texts.get(f"{section}.{name}")


def done(path: str, name: str) -> Redirect:
    """Return to a page and say what was done (`done.NAME`)."""
    base, fragment = path.partition("#")[::2]
    return redirect(f"{base}?{urlencode({'done': name})}{'#' if fragment else ''}{fragment}")


def link(path: str, **query: str) -> str:
    """Return a path with those parameters of a query that have a value."""
    given = {name: value for name, value in query.items() if value}
    return f"{path}?{urlencode(given)}" if given else path


def group_id(text: str, not_found: type[IdpError]) -> UUID:
    """Return the id of a team or domain in a form.

    Raises:
        IdpError: `not_found`, it is none.
    """
    try:
        return UUID(text)
    except ValueError:
        raise not_found from None
