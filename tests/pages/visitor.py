"""A browser without JavaScript: it keeps cookies, follows redirects, and sends the forms that pages have."""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
from uuid_utils.compat import uuid7

from factories import PASSWORD, Person, Service
from idp.provider.models import ClientRow

CALLBACK = "https://app.example.com/callback"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"  # RFC 7636 appendix B


@dataclass
class Form:
    """The first form of a page, as it stands."""

    action: str
    fields: dict[str, str]
    buttons: list[dict[str, str]]


def form_of(page: httpx2.Response, action: str | None = None, **having: str) -> Form:
    """Return the first form of a page; with an action, the first one that goes there and has these fields."""
    for form in _forms(page):
        if action is None or (form.action == action and having.items() <= form.fields.items()):
            return form
    raise AssertionError(f"no form to {action} with {having}: {page.text}")


def _forms(page: httpx2.Response) -> Iterator[Form]:
    for match in re.finditer(r'<form[^>]* method="post" action="([^"]*)"[^>]*>(.*?)</form>', page.text, re.DOTALL):
        yield _form(match)


def _form(match: re.Match[str]) -> Form:
    inputs = [_attributes(tag) for tag in re.findall(r"<input ([^>]*)>", match[2])]
    fields = {each["name"]: each.get("value", "") for each in inputs if each.get("type") != "checkbox"}
    buttons = [_attributes(tag) for tag in re.findall(r"<button ([^>]*)>", match[2])]
    return Form(html.unescape(match[1]), fields, [each for each in buttons if each.get("type") == "submit"])


def _attributes(tag: str) -> dict[str, str]:
    return {name: html.unescape(value) for name, value in re.findall(r'([\w-]+)="([^"]*)"', tag)}


def heading(page: httpx2.Response) -> str:
    """Return the heading of a page, as text."""
    (text,) = re.findall(r"<h1>(.*?)</h1>", page.text, re.DOTALL)
    return html.unescape(re.sub(r"<[^>]*>", "", text))


class Visitor:
    """A browser at one service.

    Args:
        service: what it visits.
        headers: sent with every request, such as Accept-Language.
    """

    def __init__(self, service: Service, **headers: str) -> None:
        self.service = service
        self.client = httpx2.AsyncClient(base_url=service.base_url, timeout=20, headers=headers)

    async def __aenter__(self) -> "Visitor":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.aclose()

    async def open(self, path: str, **parameters: str) -> httpx2.Response:
        """Open a page, following redirects within the service."""
        return await self.follow(await self.client.get(path, params=parameters or None))

    async def follow(self, answer: httpx2.Response) -> httpx2.Response:
        """Follow redirects until a page is shown, or one leaves the service."""
        for _ in range(10):
            location = answer.headers.get("Location")
            if location is None or not location.startswith("/") or location.startswith("//"):
                return answer
            answer = await self.client.get(location)
        raise AssertionError("redirects without end")

    async def send(
        self, page: httpx2.Response, *, headers: dict[str, str] | None = None, **values: str
    ) -> httpx2.Response:
        """Send the form of a page with these values, and follow its redirects."""
        return await self.follow(await self.post(page, headers=headers, **values))

    async def submit(self, page: httpx2.Response, action: str, **values: str) -> httpx2.Response:
        """Send the form of a page that goes to `action`, and follow its redirects."""
        hidden = {name: value for name, value in values.items() if name.endswith("_id")}
        form = form_of(page, action, **hidden)
        sent = {"Origin": self.service.base_url}
        return await self.follow(await self.client.post(action, data=form.fields | values, headers=sent))

    async def post(
        self, page: httpx2.Response, *, headers: dict[str, str] | None = None, **values: str
    ) -> httpx2.Response:
        """Send the form of a page with these values; redirects are not followed."""
        form = form_of(page)
        sent = {"Origin": self.service.base_url} if headers is None else headers
        return await self.client.post(form.action, data=form.fields | values, headers=sent)

    async def sign_in(self, person: Person) -> httpx2.Response:
        """Sign in on the page /login."""
        return await self.send(await self.open("/login", other="1"), email=person.email, password=PASSWORD)


async def new_client(service: Service, **changes: Any) -> str:
    """Register a public client that signs people in, and return its id."""
    values: dict[str, Any] = {
        "client_id": f"client_{uuid7().hex}",
        "name": "Notes",
        "application_type": "web",
        "auth_method": "none",
        "grant_types": ["authorization_code"],
        "scopes": ["openid", "profile", "email", "offline_access", "roles", "teams", "domains"],
        "redirect_uris": [CALLBACK],
        "post_logout_redirect_uris": [],
        "resources": [],
        "serves": [],
        "id_token_alg": "RS256",
        "require_pkce": True,
        "skip_consent": False,
        "declared": False,
        "created_by": "system",
    } | changes
    async with service.app.core.database.transaction() as session:
        session.add(ClientRow(**values))
    return str(values["client_id"])


def authorization(client_id: str, **changes: str) -> dict[str, str]:
    """Return the parameters of an authorization request."""
    return {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": CALLBACK,
        "scope": "openid email",
        "state": "state-1",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    } | changes


def returned(answer: httpx2.Response) -> dict[str, str]:
    """Return what a response brings to the redirect URI."""
    assert answer.status_code == 303, (answer.status_code, answer.text[:2000])
    assert answer.headers["Location"].startswith(CALLBACK)
    return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["Location"]).query).items()}
