"""Render templates as responses with a content security policy."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import MediaType, Response
from litestar.background_tasks import BackgroundTask
from litestar.datastructures import Cookie
from litestar.response import Redirect
from markupsafe import Markup, escape

from idp.ops.public_prefix import prefixed
from idp.pages.languages import DEFAULT, LANGUAGES, Texts, choose
from idp.principal.requests import AnyRequest
from idp.provider.redirect_uris import origin_of_uri

FOLDER = Path(__file__).parent
_TEMPLATES = Environment(loader=FileSystemLoader(FOLDER / "templates"), autoescape=True, undefined=StrictUndefined)


def with_code(text: str) -> Markup:
    """Return a text of the error catalogue as HTML, with code for what is between backticks."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    return Markup().join(Markup("<code>{}</code>").format(part) if at % 2 else part for at, part in enumerate(parts))


_TEMPLATES.filters["with_code"] = with_code
POLICY = (
    "default-src 'none'; script-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; style-src 'self'"
)


def form_policy(*form_action: str) -> str:
    """Return the content security policy of a page with a form.

    Args:
        form_action: where the form goes, such as `https://app.example.com`; this origin by default.
    """
    targets = " ".join(form_action or ("'self'",))
    return (
        "default-src 'none'; script-src 'self'; img-src 'self'; style-src 'self'; base-uri 'none'; "
        f"form-action {targets}; frame-ancestors 'none'"
    )


def shell_policy() -> str:
    """Return the content security policy of the account and administration pages, whose scripts call this service."""
    return form_policy() + "; connect-src 'self'"


# A page with a form: submits only to this origin, is not cached and not indexed (SEC-43, SEC-47).
_FORM_HEADERS = {
    "Content-Security-Policy": form_policy(),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex, nofollow",
}


def render(template: str, values: Mapping[str, Any], *, texts: Texts = LANGUAGES[DEFAULT]) -> str:
    """Return the HTML of a template.

    Args:
        template: its file name.
        values: its variables.
        texts: its language.
    """
    shared = {"prefix": prefixed(""), "t": texts, "lang": texts.language}
    return _TEMPLATES.get_template(template).render({**shared, **values})


def page(template: str, *, policy: str = POLICY, **values: object) -> Response[str]:
    """Return a public, cacheable page in English, for developers."""
    headers = {"Content-Security-Policy": policy, "Cache-Control": "no-cache"}
    return Response(render(template, values), media_type=MediaType.HTML, headers=headers)


def texts_for(request: AnyRequest, ui_locales: str | None = None) -> Texts:
    """Return the texts in the reader's language.

    Args:
        request: its `Accept-Language`, and the parameter `ui_locales`, say what the reader wants.
        ui_locales: of the authorization request that the page belongs to.
    """
    return choose(ui_locales or request.query_params.get("ui_locales"), request.headers.get("accept-language"))


class FormOf(NamedTuple):
    """What belongs to a form beside its template.

    Attributes:
        ui_locales: of the authorization request that the form belongs to.
        redirect_uri: where the form's redirects may lead. Chromium applies `form-action` to redirects after a form, so
            the policy of a page before a client's redirect URI must name it.
        cookies: to set.
    """

    ui_locales: str | None = None
    redirect_uri: str | None = None
    cookies: Sequence[Cookie] = ()


def form_page(
    request: AnyRequest,
    template: str,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    form: FormOf | None = None,
    **values: object,
) -> Response[str]:
    """Return a page for people, with personal data, a form or a one-time token; it is not cached.

    Args:
        request: chooses the language.
        template: its file name.
        status: of the response.
        headers: additional ones.
        form: a form that checks the token of its sender. Its page tells our own origin where a request comes from, so
            that browsers name the origin of the form (with `no-referrer` they send `Origin: null`).
        values: the template's variables.
    """
    texts = texts_for(request, form.ui_locales if form else None)
    values |= {"brand": request.app.state.brand, "referrer": "same-origin" if form else "no-referrer"}
    language = {"Content-Language": texts.language, "Vary": "Accept-Language"}
    own = {**_FORM_HEADERS, "Referrer-Policy": str(values["referrer"])}
    if form and form.redirect_uri:
        own["Content-Security-Policy"] = form_policy("'self'", origin_of_uri(form.redirect_uri))
    return Response(
        render(template, values, texts=texts),
        status_code=status,
        media_type=MediaType.HTML,
        headers={**own, **language, **(headers or {})},
        cookies=list(form.cookies) if form else None,
    )


def redirect(path: str, *, background: BackgroundTask | None = None, cookies: Sequence[Cookie] = ()) -> Redirect:
    """Redirect a form to another page, so that a reload submits nothing twice (SEC-41; RFC 9110 section 15.4.4).

    Args:
        path: a path of this service.
        background: a task to run after the response was sent.
        cookies: to set.
    """
    return Redirect(
        prefixed(path), status_code=303, headers=_FORM_HEADERS, background=background, cookies=list(cookies)
    )
