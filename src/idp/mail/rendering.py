"""Render mails: subject, text and HTML."""

import unicodedata
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from msgspec import Struct

from idp.mail.messages import Mail
from idp.mail.user_text import one_line, person_name

_ISOLATE, _POP = "\u2068", "\u2069"  # so that a right-to-left name does not reorder the sentence


class RenderedMail(Struct, frozen=True):
    """A rendered mail. `repr` hides the text, which contains one-time links."""

    to: str
    subject: str
    text: str
    html: str
    links: tuple[str, ...]

    def __repr__(self) -> str:
        return f"RenderedMail({self.subject!r})"


def render(
    mail: Mail, *, to: str, base_url: str, service: str, home: str | None = None, own_url: str | None = None
) -> RenderedMail:
    """Render a mail.

    Args:
        mail: its content.
        to: the recipient's address.
        base_url: base URL of the pages of links, without a trailing slash.
        service: what this installation calls itself.
        home: the application that people sign in to, None where none is set.
        own_url: base URL of our account pages, which no front end has; `base_url` by default.
    """
    is_own = mail.page is not None and mail.page.startswith("/account")
    link, home = _link(mail, (own_url or base_url) if is_own else base_url), home if mail.leads_home else None
    values = mail.values | {
        "to": one_line(to),
        "name": person_name(mail.name),
        "invited_by": person_name(getattr(mail, "invited_by", None)),
        "acted_by": one_line(getattr(mail, "acted_by", None) or ""),
        "reason": one_line(getattr(mail, "reason", "")),
        "new_email": one_line(getattr(mail, "new_email", "")),
        "link": link,
        "home": home,
        "base_url": base_url,
        "service": service,
        "subject": one_line(mail.subject.format(service=service)),
    }
    html, text = (_TEMPLATES.get_template(f"{mail.template}.{kind}").render(values) for kind in ("html", "txt"))
    links = tuple(address for address in (home, link) if address)
    return RenderedMail(to=to, subject=values["subject"], text=text.strip() + "\n", html=html, links=links)


def _link(mail: Mail, base_url: str) -> str | None:
    if mail.page is None:
        return None
    token = getattr(mail, "token", None)
    return f"{base_url}{mail.page}" + (f"?token={quote(token, safe='')}" if token else "")


def _moment(at: datetime) -> str:
    return f"{at.day} {at:%B %Y, %H:%M} UTC"


def _isolated(text: str) -> str:
    turns = any(unicodedata.bidirectional(character) in {"R", "AL"} for character in text)
    return f"{_ISOLATE}{text}{_POP}" if turns else text


def _plural(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {"moment": _moment, "isolated": _isolated, "plural": _plural}
    environment.filters.update(filters)
    return environment


_TEMPLATES = _environment()
