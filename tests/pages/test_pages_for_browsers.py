"""`/` and unknown paths: a page for browsers, JSON for everyone else."""

import pytest

from factories import Service, running
from idp.dev.embedded import EmbeddedPostgres
from idp.ops.accept import wants_page
from idp.pages.rendering import with_code
from pages.visitor import Visitor, heading

CHROMIUM = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,"
    "application/signed-exchange;v=b3;q=0.7"
)
OF_CLIENTS = (
    None,
    "*/*",
    "application/json",
    "application/json, text/plain, */*",
    "application/problem+json, text/html",
    "text/html, application/json",
    "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2",
    "text/*",
    "text/htmlx",
    "",
)


@pytest.mark.parametrize("accept", OF_CLIENTS)
async def test_clients_of_the_api_get_json_as_before(production: Service, accept: str | None) -> None:
    """S2-40 C-16."""
    headers = {"Accept": accept} if accept is not None else {}
    health = await production.client.get("/", headers=headers)
    assert health.json()["status"] == "healthy"
    assert "Accept" in health.headers["Vary"]
    unknown = await production.client.get("/nothing", headers=headers)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
    assert not wants_page(accept)


async def test_a_browser_gets_a_page_at_the_root(production: Service) -> None:
    async with Visitor(production, Accept=CHROMIUM) as visitor:
        page = await visitor.open("/")
        assert (page.status_code, heading(page)) == (200, "idp is running")
        assert "Accept" in page.headers["Vary"]
        assert 'href="/login"' in page.text
        await visitor.sign_in(await production.register(name="Ada Lovelace"))
        page = await visitor.open("/")
        assert heading(page) == "You are signed in"
        assert "Ada Lovelace" in page.text
        assert page.headers["Cache-Control"] == "no-store"
        other_site = await visitor.client.get("/", headers={"Origin": "https://evil.example"})
        assert "Access-Control-Allow-Origin" not in other_site.headers


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/auth/nothing",
        "/favicon.ico",
        "/index.html",
        "/%3Cscript%3E",
        "/login/",
        "/%6cogin",
        "/errors/nothing",
    ],
)
async def test_a_browser_gets_a_page_at_an_unknown_path(production: Service, path: str) -> None:
    answer = await production.client.get(path, headers={"Accept": CHROMIUM, "Accept-Language": "de"})
    assert (answer.status_code, heading(answer)) == (404, "Seite nicht gefunden")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert {"Accept", "Accept-Language"} <= {each.strip() for each in answer.headers["Vary"].split(",")}
    assert "script>" not in answer.text.replace("</script>", "")
    posted = await production.client.post(path, headers={"Accept": CHROMIUM})
    assert posted.headers["Content-Type"] == "application/problem+json"


async def test_a_browser_without_a_credential_gets_the_apis_errors_as_json(production: Service) -> None:
    answer = await production.client.get("/auth/me", headers={"Accept": CHROMIUM})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


async def test_pages_work_below_a_prefix(postgres: EmbeddedPostgres) -> None:
    """Decision 0023."""
    environ = {"IDP_PUBLIC_URL": "http://localhost:8000/id"}
    async with running(postgres.create_database("prefixed_pages"), environ=environ) as service:
        person = await service.register()
        async with Visitor(service) as visitor:
            page = await visitor.client.get("/id/login")
            assert 'action="/id/login"' in page.text
            assert 'href="/id/register"' in page.text
            assert "Path=/id" in page.headers["Set-Cookie"]
            visitor.service.base_url = "http://localhost:8000"
            done = await visitor.post(page, email=person.email, password=person.password)
            assert (done.status_code, done.headers["Location"]) == (303, "/id/")


def test_code_in_a_text_of_the_catalogue_is_marked_and_the_rest_escaped() -> None:
    assert with_code("Run `idp <x>` & wait.") == "Run <code>idp &lt;x&gt;</code> &amp; wait."
    assert with_code("One ` alone") == "One ` alone"
