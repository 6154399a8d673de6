"""A template as an answer, with the content security policy that fits it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import MediaType, Response
from litestar.background_tasks import BackgroundTask
from litestar.response import Redirect

from idp.ops.public_prefix import prefixed

HERE = Path(__file__).parent
_TEMPLATES = Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined)
POLICY = (
    "default-src 'none'; script-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; style-src 'self'"
)
# A page with a form, which goes to ourselves; it is kept nowhere, and no search finds it (SEC-43, SEC-47).
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
    """Return a page that everybody may see and keep."""
    headers = {"Content-Security-Policy": policy, "Cache-Control": "no-cache"}
    return _answer(template, values, 200, headers)


def form_page(
    template: str, *, status: int = 200, headers: Mapping[str, str] | None = None, **values: object
) -> Response[str]:
    """Return a page that one person sees, with what they typed or were sent."""
    return _answer(template, values, status, {**_FORM_HEADERS, **(headers or {})})


def go_on(path: str, *, background: BackgroundTask | None = None) -> Redirect:
    """Answer a form with another page, so that loading it anew sends nothing twice (RFC 9110 section 15.4.4).

    Args:
        path: of our own.
        background: what happens when the answer has left.
    """
    return Redirect(prefixed(path), status_code=303, headers=_FORM_HEADERS, background=background)


def _answer(template: str, values: dict[str, Any], status: int, headers: dict[str, str]) -> Response[str]:
    return Response(render(template, values), status_code=status, media_type=MediaType.HTML, headers=headers)
