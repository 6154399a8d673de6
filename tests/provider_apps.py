"""A browser and an app that signs a user in with it, over HTTP only."""

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2

from factories import PASSWORD, Person, Service
from idp.signing.compact import parse

CALLBACK = "https://app.example.com/callback"
EVERY_SCOPE = "openid profile email offline_access roles teams domains"


class Browser:
    """Keeps cookies and follows redirects only within the service.

    Args:
        service: what it visits.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self.client = httpx2.AsyncClient(base_url=service.base_url, timeout=20)

    async def __aenter__(self) -> "Browser":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.aclose()

    async def sign_in(self, person: Person) -> None:
        """Begin a session with a cookie."""
        body = {"email": person.email, "password": PASSWORD}
        answer = await self.client.post("/auth/login?mode=cookie", json=body)
        assert answer.status_code == 200, answer.text

    async def follow(self, answer: httpx2.Response) -> httpx2.Response:
        """Follow redirects until one leaves the service, or a page is shown."""
        for _ in range(10):
            location = answer.headers.get("Location")
            if location is None or not location.startswith(("/", self.service.base_url)):
                return answer
            answer = await self.client.get(location)
        raise AssertionError("redirects without end")


@dataclass
class App:
    """A registered client with a redirect URI that nothing serves."""

    service: Service
    client_id: str
    secret: str | None
    redirect_uri: str = CALLBACK
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))

    @property
    def challenge(self) -> str:
        return challenge_of(self.verifier)

    def parameters(self, **changes: str | None) -> dict[str, str]:
        """Return an authorization request; None leaves a parameter out."""
        usual: dict[str, str | None] = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "scope": EVERY_SCOPE,
            "state": "state-1",
            "nonce": "nonce-1",
            "code_challenge": self.challenge,
            "code_challenge_method": "S256",
        }
        return {name: value for name, value in (usual | changes).items() if value is not None}

    async def authorize(self, browser: Browser, **changes: str | None) -> httpx2.Response:
        """Send the browser to the authorization endpoint, and follow it until it leaves the service."""
        answer = await browser.client.get("/oauth2/authorize", params=self.parameters(**changes))
        return await browser.follow(answer)

    async def code(self, browser: Browser, **changes: str | None) -> str:
        """Return a code for the user of a browser."""
        return returned(await self.authorize(browser, **changes))["code"]

    async def exchange(self, code: str, /, **changes: str | None) -> httpx2.Response:
        """Send a token request with a code; None leaves a field out."""
        usual: dict[str, str | None] = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": self.verifier,
        }
        return await self.ask(**(usual | changes))

    async def refresh(self, token: str, **changes: str | None) -> httpx2.Response:
        return await self.ask(grant_type="refresh_token", refresh_token=token, **changes)

    async def ask(self, **form: str | None) -> httpx2.Response:
        """Send a request to the token endpoint."""
        return await self.post("/oauth2/token", **form)

    async def post(self, path: str, **form: str | None) -> httpx2.Response:
        """Send a form with the client's authentication: Basic, or its id alone."""
        fields = {name: value for name, value in form.items() if value is not None}
        if self.secret is None:
            return await self.service.client.post(path, data={"client_id": self.client_id, **fields})
        pair = base64.b64encode(f"{self.client_id}:{self.secret}".encode()).decode()
        return await self.service.client.post(path, headers={"Authorization": f"Basic {pair}"}, data=fields)

    async def tokens(self, browser: Browser, **changes: str | None) -> dict[str, Any]:
        """Sign the user of a browser in, and return the token response."""
        answer = await self.exchange(await self.code(browser, **changes))
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


def challenge_of(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def returned(answer: httpx2.Response) -> dict[str, str]:
    """Return the parameters that a response sends to the redirect URI."""
    assert answer.status_code == 303, (answer.status_code, answer.text[:2000])
    query = parse_qs(urlsplit(answer.headers["Location"]).query, keep_blank_values=True)
    assert all(len(values) == 1 for values in query.values()), query
    return {name: values[0] for name, values in query.items()}


def claims_of(token: str) -> dict[str, Any]:
    return dict(parse(token).claims)


async def register_app(service: Service, admin: Person, **changes: Any) -> App:
    """Register a client with the API, whose consent is given by its administrator unless `skip_consent` says else."""
    body = {
        "client_name": "Notes",
        "redirect_uris": [CALLBACK],
        "grant_types": ["authorization_code", "refresh_token"],
        "scope": EVERY_SCOPE,
        "skip_consent": True,
        **changes,
    }
    answer = await service.client.post("/api/auth/admin/clients", headers=admin.bearer, json=body)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    return App(service, made["client_id"], made.get("client_secret"), redirect_uri=body["redirect_uris"][0])
