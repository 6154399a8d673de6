"""examples/bff: a server that signs people in with Authlib and keeps their tokens, over sockets."""

import re
import sys
import time
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx2
import pytest

from examples.example_support import EXAMPLES, free_port, started
from factories import PASSWORD, Person, Service, running
from idp.dev.embedded import EmbeddedPostgres
from provider_apps import App, register_app

# Authlib refreshes a token a minute before its end, so each call refreshes.
ENVIRON = {"IDP_TOKENS__ACCESS_TOKEN_MINUTES": "1"}
TOKENS = """
SELECT count(*) AS n FROM idp.refresh_tokens t JOIN idp.user_sessions s ON s.id = t.session_id
 WHERE s.user_id = $1 AND t.client_id = $2
"""


@pytest.fixture(scope="module")
async def service(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    async with running(postgres.create_database("bff"), environ=ENVIRON) as service:
        yield service


@pytest.fixture(scope="module")
async def bff(service: Service) -> AsyncIterator[App]:
    """The example, started as its first lines say; `redirect_uri` tells where it is."""
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    app = await register_app(
        service,
        await service.register_admin(),
        redirect_uris=[f"{origin}/callback"],
        post_logout_redirect_uris=[f"{origin}/"],
        backchannel_logout_uri=f"{origin}/backchannel-logout",
    )
    script = str(EXAMPLES / "bff/bff.py")
    flask = [sys.executable, "-m", "flask", "--app", script, "run", "--port", str(port)]
    settings = {"AUTH_SERVICE_URL": service.base_url, "CLIENT_ID": app.client_id, "CLIENT_SECRET": app.secret or ""}
    with started(lambda _: flask, port=port, **settings):
        yield app


@pytest.fixture
async def client(bff: App) -> AsyncIterator[httpx2.AsyncClient]:
    origin = urljoin(bff.redirect_uri, "/")
    async with httpx2.AsyncClient(base_url=origin, timeout=20) as client:
        yield client


async def follow(client: httpx2.AsyncClient, answer: httpx2.Response) -> httpx2.Response:
    for _ in range(12):
        if "Location" not in answer.headers:
            return answer
        answer = await client.get(urljoin(str(answer.url), answer.headers["Location"]))
    raise AssertionError("redirects without end")


async def sign_in(client: httpx2.AsyncClient, person: Person) -> httpx2.Response:
    """As a browser does: the example, idp's page, the example."""
    page = await follow(client, await client.get("/login"))
    form = next(each for each in re.findall("<form.*?</form>", page.text, re.DOTALL) if 'name="password"' in each)
    (action,) = re.findall(r'<form method="post" action="([^"]+)"', form)
    hidden = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]+)"', form))
    address = urljoin(str(page.url), action.replace("&amp;", "&"))
    fields = {"email": person.email, "password": PASSWORD, **hidden}
    parts = urlsplit(address)
    origin = f"{parts.scheme}://{parts.netloc}"
    return await follow(client, await client.post(address, data=fields, headers={"Origin": origin}))


async def test_a_server_keeps_the_tokens_of_its_browser(service: Service, bff: App, client: httpx2.AsyncClient) -> None:
    """SEC-36 SEC-49 SEC-72: sign in, call an API with refreshed tokens, sign out; the browser sees no token."""
    person = await service.register(name="Grace Hopper")
    home = await sign_in(client, person)
    assert "Grace Hopper" in home.text
    assert not any(re.search(r"rt_[\w-]{40}", str(cookie.value)) for cookie in client.cookies.jar)
    for _ in range(2):
        answer = await client.get("/api/me")
        assert (answer.status_code, answer.json()["sub"]) == (200, person.id), answer.text
    (row,) = await service.sql(TOKENS, person.id, bff.client_id)
    assert row["n"] == 3, "each call refreshed"
    left = await client.post("/logout")
    assert parse_qs(urlsplit(left.headers["Location"]).query).keys() == {"id_token_hint", "post_logout_redirect_uri"}
    home = await follow(client, left)
    assert "Sign in" in home.text
    assert str(home.url) == urljoin(bff.redirect_uri, "/")
    assert (await client.get("/api/me")).status_code == 401
    page = await follow(client, await client.get("/login"))
    assert "password" in page.text, "the browser's session at idp ended too"


async def test_ending_the_session_elsewhere_signs_out_of_the_app(service: Service, client: httpx2.AsyncClient) -> None:
    """SEC-73: the example verifies the logout token with Authlib's keys, and forgets the session."""
    person = await service.register(name="Grace Hopper")
    assert "Grace Hopper" in (await sign_in(client, person)).text
    listed = (await service.client.get("/api/auth/sessions", headers=person.bearer)).json()["sessions"]
    (session_id,) = [each["session_id"] for each in listed if each["apps"]]
    ended = await service.client.delete(f"/api/auth/sessions/{session_id}", headers=person.bearer)
    assert ended.status_code == 200
    deadline = time.monotonic() + 10
    while "Grace Hopper" in (home := await client.get("/")).text:
        assert time.monotonic() < deadline, "it was not told"
    assert "Sign in" in home.text
    assert (await client.post("/backchannel-logout", data={"logout_token": "a.b.c"})).status_code == 400
