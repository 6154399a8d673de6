"""Render templates as responses with a content security policy."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import MediaType, Response
from litestar.background_tasks import BackgroundTask
from litestar.response import Redirect

from idp.ops.public_prefix import prefixed

FOLDER = Path(__file__).parent
_TEMPLATES = Environment(loader=FileSystemLoader(FOLDER / "templates"), autoescape=True, undefined=StrictUndefined)
POLICY = (
    "default-src 'none'; script-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; style-src 'self'"
)
# A page with a form: submits only to this origin, is not cached and not indexed (SEC-43, SEC-47).
_FORM_POLICY = (
    "default-src 'none'; script-src 'self'; img-src 'self'; style-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
_FORM_HEADERS = {
    "Content-Security-Policy": _FORM_POLICY,
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex, nofollow",
}


def render(template: str, values: Mapping[str, Any]) -> str:
    """Return the HTML of a template."""
    return _TEMPLATES.get_template(template).render({**values, "prefix": prefixed("")})


def page(template: str, *, policy: str = POLICY, **values: object) -> Response[str]:
    """Return a public, cacheable page."""
    headers = {"Content-Security-Policy": policy, "Cache-Control": "no-cache"}
    return _response(template, values, 200, headers)


def form_page(
    template: str, *, status: int = 200, headers: Mapping[str, str] | None = None, **values: object
) -> Response[str]:
    """Return a page with personal data or a one-time token; it is not cached."""
    return _response(template, values, status, {**_FORM_HEADERS, **(headers or {})})


def redirect(path: str, *, background: BackgroundTask | None = None) -> Redirect:
    """Redirect a form to another page, so that a reload submits nothing twice (RFC 9110 section 15.4.4).

    Args:
        path: a path of this service.
        background: a task to run after the response was sent.
    """
    return Redirect(prefixed(path), status_code=303, headers=_FORM_HEADERS, background=background)


def _response(template: str, values: dict[str, Any], status: int, headers: dict[str, str]) -> Response[str]:
    return Response(render(template, values), status_code=status, media_type=MediaType.HTML, headers=headers)
