"""A provider on a socket that speaks the dialect it is given: OpenID Connect, Apple's, or GitHub's.

It checks what a real one checks: the client's authentication, the redirect URI, PKCE, and that a code is used once.
"""

import asyncio
import base64
import hashlib
import json
import re
import secrets
import time
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jwt
from joserfc.jwk import ECKey

from authn.issuer_support import http, key_of
from factories import Service, running
from idp.dev.embedded import EmbeddedPostgres
from provider_apps import Browser

PAGE = Path(__file__).resolve().parents[2] / "docs/federation.md"
SECRET = "GOCSPX-9dQ2mVt7Lw_4kZrB1nYc"
APPLE_KEY = ec.generate_private_key(ec.SECP256R1())
APPLE_PEM = APPLE_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def documented() -> dict[str, dict[str, Any]]:
    """Return the tables of the documentation, by name."""
    blocks = re.findall(r"^```toml\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    tables: dict[str, dict[str, Any]] = {}
    for block in blocks:
        tables |= tomllib.loads(block)["federation"]["providers"]
    return tables


@dataclass
class Asked:
    """A request."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    form: dict[str, str]


Hook = Callable[["FakeProvider", Asked], Awaitable[bytes]]


@dataclass
class FakeProvider:
    """The provider.

    Attributes:
        url: where it listens.
        suffix: what follows in its issuer: `/`, a realm, a tenant.
        client: `basic`, `post` or `apple`: how it authenticates its client.
        claims: of its ID tokens; None leaves one out. `nonce` and the times are its own.
        userinfo: the members of its userinfo; None: it has none.
        metadata: members of its discovery document besides the usual.
        callback: parameters that it adds to its answer.
        signs: makes the token out of its claims.
        user, emails: GitHub's API.
        hooks: other answers, by path.
        asked: all requests.
    """

    url: str = ""
    suffix: str = ""
    client: str = "basic"
    client_id: str = "client-1"
    claims: dict[str, Any] = field(default_factory=dict)
    userinfo: dict[str, Any] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    callback: dict[str, str] = field(default_factory=dict)
    kids: list[str] = field(default_factory=lambda: ["rsa-1"])
    further_keys: list[dict[str, Any]] = field(default_factory=list)
    signs: Callable[["FakeProvider", dict[str, Any]], str] | None = None
    checks_pkce: bool = True
    user: Any = None
    emails: Any = None
    hooks: dict[str, Hook] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def issuer(self) -> str:
        return f"{self.url}{self.suffix}"

    def reset(self) -> None:
        """Forget what a test has changed."""
        fresh = FakeProvider(url=self.url)
        for name in ("suffix", "claims", "userinfo", "metadata", "callback", "kids", "further_keys", "signs", "hooks"):
            setattr(self, name, getattr(fresh, name))
        self.client, self.checks_pkce, self.asked = "basic", True, []

    def sign(self, claims: dict[str, Any], *, kid: str | None = None, **header: Any) -> str:
        kid = kid or self.kids[0]
        algorithm = "RS256" if kid.startswith("rsa") else "ES256"
        return jwt.encode({"alg": algorithm, "kid": kid, **header}, claims, key_of(kid), algorithms=[algorithm])

    def id_claims(self, nonce: str | None) -> dict[str, Any]:
        now = int(time.time())
        usual = {"iss": self.issuer, "aud": self.client_id, "sub": "s-1", "iat": now, "exp": now + 300, "nonce": nonce}
        return {name: value for name, value in (usual | self.claims).items() if value is not None}

    async def respond(self, asked: Asked) -> bytes:
        if (hook := self.hooks.get(asked.path)) is not None:
            return await hook(self, asked)
        bare = asked.path.removeprefix(self.suffix.rstrip("/"))
        match bare:
            case "/.well-known/openid-configuration":
                return _json(self._metadata())
            case "/keys":
                return _json({"keys": [*(key_of(kid).as_dict(private=False) for kid in self.kids), *self.further_keys]})
            case "/authorize" | "/login/oauth/authorize":
                return self._authorize(asked)
            case "/token" | "/login/oauth/access_token":
                return self._token(asked, is_github=bare != "/token")
            case "/userinfo" if self.userinfo is not None:
                return _json(self.userinfo)
            case "/api/v3/user":
                return _json(self.user)
            case "/api/v3/user/emails":
                return _json(self.emails)
        return _json({"error": "not_found"}, status="404 Not Found")

    def _metadata(self) -> dict[str, Any]:
        base = self.issuer.rstrip("/")
        usual = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{base}/authorize",
            "token_endpoint": f"{base}/token",
            "jwks_uri": f"{base}/keys",
            "userinfo_endpoint": None if self.userinfo is None else f"{base}/userinfo",
        }
        return {name: value for name, value in (usual | self.metadata).items() if value is not None}

    def _authorize(self, asked: Asked) -> bytes:
        query, code = asked.query, secrets.token_urlsafe(12)
        assert query["response_type"] == "code"
        assert query["code_challenge_method"] == "S256"
        self.codes[code] = query
        answer = {"code": code, "state": query["state"], **self.callback}
        if query.get("response_mode") == "form_post":
            return _json({"action": query["redirect_uri"], "fields": answer})
        return http(b"", status="302 Found", more=f"Location: {query['redirect_uri']}?{urlencode(answer)}\r\n")

    def _token(self, asked: Asked, *, is_github: bool) -> bytes:
        login = self.codes.pop(asked.form.get("code", ""), None)
        if problem := self._problem(asked, login):  # GitHub answers errors with 200
            status = "200 OK" if is_github else "400 Bad Request"
            return _json({"error": problem, "error_description": f"{problem} at the fake"}, status=status)
        if is_github:
            return _json({"access_token": "gho_1", "token_type": "bearer", "scope": "read:user,user:email"})
        assert login is not None
        claims = self.id_claims(login.get("nonce"))
        token = self.sign(claims) if self.signs is None else self.signs(self, claims)
        return _json({"access_token": "at-1", "token_type": "Bearer", "expires_in": 3600, "id_token": token})

    def _problem(self, asked: Asked, login: dict[str, str] | None) -> str | None:
        if not self._is_client(asked):
            return "invalid_client"
        if login is None or asked.form.get("redirect_uri") != login["redirect_uri"]:
            return "invalid_grant"
        digest = hashlib.sha256(asked.form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        return "invalid_grant" if self.checks_pkce and challenge != login["code_challenge"] else None

    def _is_client(self, asked: Asked) -> bool:
        presented = asked.form.get("client_secret", "")
        if self.client == "basic":
            pair = base64.b64encode(f"{self.client_id}:{SECRET}".encode()).decode()
            return asked.headers.get("authorization") == f"Basic {pair}" and not presented
        if asked.form.get("client_id") != self.client_id:
            return False
        if self.client == "post":
            return presented == SECRET
        token = jwt.decode(presented, ECKey.import_key(APPLE_KEY.public_key()), algorithms=["ES256"])
        claims, now = token.claims, time.time()
        fits = (claims["iss"], claims["sub"], claims["aud"]) == (
            "TEAM123456",
            self.client_id,
            "https://appleid.apple.com",
        )
        is_timely = claims["iat"] <= now + 5 < claims["exp"] <= now + 15_777_000
        return fits and is_timely and token.header["kid"] == "KEY1234567"


def _json(value: Any, *, status: str = "200 OK") -> bytes:
    return http(json.dumps(value).encode(), status=status)


@asynccontextmanager
async def running_provider(**given: Any) -> AsyncIterator[FakeProvider]:
    """Run a provider on loopback."""
    provider = FakeProvider(**given)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, target, _ = head.split(" ", 2)
            lines = (line.partition(":") for line in head.split("\r\n")[1:] if line)
            headers = {name.lower(): value.strip() for name, _, value in lines}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            parts = urlsplit(target)
            asked = Asked(method, parts.path, dict(parse_qsl(parts.query)), headers, dict(parse_qsl(body.decode())))
            provider.asked.append(asked)
            writer.write(await provider.respond(asked))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    provider.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield provider
    finally:
        server.close()


@asynccontextmanager
async def running_with(postgres: EmbeddedPostgres, name: str, **providers: dict[str, Any]) -> AsyncIterator[Service]:
    """Run a service with these providers."""
    usual = {"client_id": "client-1", "client_secret": SECRET}
    tables = {each: {**usual, **settings} for each, settings in providers.items()}
    environ = {"IDP_FEDERATION__PROVIDERS": json.dumps(tables)}
    async with running(postgres.create_database(name), environ=environ) as service:
        yield service


async def begin(browser: Browser, provider: str = "corp", **query: str) -> str:
    """Press the button; return the URL at the provider."""
    answer = await browser.client.get(f"/federation/{provider}/start", params=query)
    assert answer.status_code == 303, answer.text[:500]
    return answer.headers["Location"]


async def approve(url: str) -> httpx2.Response:
    """Sign in at the provider; return its answer."""
    async with httpx2.AsyncClient(timeout=20) as client:
        return await client.get(url)


async def answered(browser: Browser, provider: str = "corp", **query: str) -> str:
    """Return the callback to which the provider sends the browser."""
    answer = await approve(await begin(browser, provider, **query))
    assert answer.status_code == 302, answer.text[:500]
    return answer.headers["Location"]


async def sign_in(browser: Browser, provider: str = "corp", **query: str) -> httpx2.Response:
    """Sign in through the provider; return what the callback answers."""
    return await browser.client.get(await answered(browser, provider, **query))


async def me(browser: Browser) -> dict[str, Any]:
    answer = await browser.client.get("/auth/me")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())
