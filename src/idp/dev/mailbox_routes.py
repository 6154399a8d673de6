"""GET /dev/mailbox: all mails, as a page and as JSON; only at local host names."""

from typing import Any
from uuid import UUID

from litestar import MediaType, Request, Response, Router, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.static_files import create_static_files_router
from litestar.types import ControllerRouterHandler
from msgspec import Struct

from idp.dev.local_host import is_local_request
from idp.dev.mailbox import Letter, Mailbox
from idp.dev.rendering import FOLDER, TEMPLATES
from idp.errors import NotFound
from idp.principal.guards import public
from idp.settings import Settings

PATH = "/dev/mailbox"
_PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
# A mail runs and loads nothing and has an opaque origin; links open in a new tab.
_MAIL_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'self'; form-action 'none'; frame-ancestors 'self'; "
    "sandbox allow-popups allow-popups-to-escape-sandbox"
)
_PRIVATE = {"Cache-Control": "no-store", "Vary": "Accept"}
_JSON, _HTML = "application/json", "text/html"


class LetterOut(Struct):
    """A mail as JSON."""

    id: UUID
    to: str
    subject: str
    text: str
    html: str
    links: tuple[str, ...]


@get("/", opt=public())
async def letters(
    request: Request[Any, Any, Any], mailbox: NamedDependency[Mailbox], settings: NamedDependency[Settings]
) -> Response[Any]:
    """Return all mails, newest first, as a page or with `Accept: application/json` as a list."""
    _check_local(request, settings)
    found = await mailbox.letters()
    if request.accept.best_match([_HTML, _JSON]) == _JSON:
        return Response([_out(each) for each in found], media_type=MediaType.JSON, headers=_PRIVATE)
    return _page("mailbox.html", letters=found)


@get("/{letter_id:uuid}", opt=public())
async def letter(
    request: Request[Any, Any, Any],
    letter_id: FromPath[UUID],
    mailbox: NamedDependency[Mailbox],
    settings: NamedDependency[Settings],
    view: FromQuery[str] = "html",
) -> Response[Any]:
    """Return a mail as a page or as JSON."""
    _check_local(request, settings)
    found = await _get(mailbox, letter_id)
    if request.accept.best_match([_HTML, _JSON]) == _JSON:
        return Response(_out(found), media_type=MediaType.JSON, headers=_PRIVATE)
    return _page("letter.html", letter=found, as_text=view == "text")


@get("/{letter_id:uuid}/body", opt=public())
async def letter_body(
    request: Request[Any, Any, Any],
    letter_id: FromPath[UUID],
    mailbox: NamedDependency[Mailbox],
    settings: NamedDependency[Settings],
) -> Response[str]:
    """Return a mail's HTML, for the frame on its page."""
    _check_local(request, settings)
    found = await _get(mailbox, letter_id)
    html = found.mail.html.replace("<head>", '<head><base target="_blank">', 1)
    headers = {"Content-Security-Policy": _MAIL_POLICY, "X-Frame-Options": "SAMEORIGIN", "Cache-Control": "no-store"}
    return Response(html, media_type=MediaType.HTML, headers=headers)


def _check_local(request: Request[Any, Any, Any], settings: Settings) -> None:
    """Refuse requests to other host names (DNS rebinding, docs/decisions/0010).

    Raises:
        NotFound: the host is not local.
    """
    if not is_local_request(request.headers, in_container=settings.dev.in_container):
        raise NotFound("The mailbox is available only at localhost.")


async def _get(mailbox: Mailbox, letter_id: UUID) -> Letter:
    found = await mailbox.find(letter_id)
    if found is None:
        raise NotFound("There is no such mail, or it can no longer be read.")
    return found


def _out(letter: Letter) -> LetterOut:
    mail = letter.mail
    return LetterOut(id=letter.id, to=mail.to, subject=mail.subject, text=mail.text, html=mail.html, links=mail.links)


def _page(template: str, **values: Any) -> Response[str]:
    return Response(
        TEMPLATES.get_template(template).render(prefix="", root="/docs", mailbox=PATH, **values),
        media_type=MediaType.HTML,
        headers={"Content-Security-Policy": _PAGE_POLICY, **_PRIVATE},
    )


ROUTES: tuple[ControllerRouterHandler, ...] = (
    Router(path=PATH, route_handlers=[letters, letter, letter_body], include_in_schema=False),
    create_static_files_router(
        path="/dev/assets", directories=[FOLDER / "static"], opt=public(), include_in_schema=False, name="assets-dev"
    ),
)
