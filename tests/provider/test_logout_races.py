"""What begins or goes on beside a logout ends with it (SEC-36, SEC-59, SEC-70)."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest

from factories import Person, Service, running
from idp.dev.embedded import EmbeddedPostgres
from provider_apps import App, Browser, register_app, returned

_LIVING = """
SELECT id FROM idp.user_sessions WHERE user_id = $1 AND parent_id IS NOT NULL AND ended_at IS NULL
"""


@pytest.fixture(scope="module")
async def service(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    async with running(postgres.create_database("logout_races")) as service:
        yield service


@pytest.fixture(scope="module")
async def app(service: Service) -> App:
    return await register_app(service, await service.register_admin())


async def end_here(_: Service, browser: Browser, __: Person) -> int:
    csrf = browser.client.cookies["idp_csrf"]
    return (await browser.client.post("/auth/logout", headers={"X-CSRF-Token": csrf})).status_code


async def end_everywhere(_: Service, browser: Browser, __: Person) -> int:
    csrf = browser.client.cookies["idp_csrf"]
    return (await browser.client.post("/auth/logout-all", headers={"X-CSRF-Token": csrf})).status_code


async def disable(service: Service, _: Browser, person: Person) -> int:
    admin = await service.register_admin()
    path = f"/api/auth/admin/users/{person.id}"
    return (await service.client.patch(path, headers=admin.bearer, json={"is_active": False})).status_code


@pytest.mark.parametrize("end", [end_here, end_everywhere, disable])
async def test_a_code_exchanged_beside_a_logout_leaves_no_living_app_session(
    service: Service, app: App, end: object
) -> None:
    """Whichever is first: the exchange is refused, or its session ends; nobody waits for a deadlock."""
    for _ in range(8):
        person = await service.register()
        async with Browser(service) as browser:
            await browser.sign_in(person)
            codes = [await app.code(browser) for _ in range(3)]
            began = asyncio.get_running_loop().time()
            ended, *exchanged = await asyncio.gather(
                end(service, browser, person),  # type: ignore[operator]
                *(app.exchange(code) for code in codes),
            )
            took = asyncio.get_running_loop().time() - began
        assert ended == 200
        assert {each.status_code for each in exchanged} <= {200, 400}, [each.text for each in exchanged]
        assert took < 3
        assert await service.sql(_LIVING, person.id) == []
        for each in exchanged:
            if each.status_code == 200:
                assert (await service.validate(each.json()["access_token"]))["valid"] is False


async def test_a_refresh_beside_a_logout_leaves_no_living_token(service: Service, app: App) -> None:
    for _ in range(8):
        person = await service.register()
        async with Browser(service) as browser:
            await browser.sign_in(person)
            tokens = await app.tokens(browser)
            ended, refreshed = await asyncio.gather(
                end_here(service, browser, person), app.refresh(tokens["refresh_token"])
            )
        assert ended == 200
        assert refreshed.status_code in {200, 400}
        if refreshed.status_code == 200:
            assert (await service.validate(refreshed.json()["access_token"]))["valid"] is False
            assert (await app.refresh(refreshed.json()["refresh_token"])).json()["error"] == "invalid_grant"


async def test_signing_in_again_beside_an_exchange_signs_no_app_out(service: Service, app: App) -> None:
    """The app's session is moved, or its code is refused; none is left at the ended session."""
    for _ in range(8):
        person = await service.register()
        async with Browser(service) as browser:
            await browser.sign_in(person)
            code = await app.code(browser)
            _, exchanged = await asyncio.gather(browser.sign_in(person), app.exchange(code))
        left = await service.sql(
            "SELECT p.ended_at FROM idp.user_sessions a JOIN idp.user_sessions p ON p.id = a.parent_id"
            " WHERE a.user_id = $1 AND a.ended_at IS NULL",
            person.id,
        )
        assert [row["ended_at"] for row in left] == ([None] if exchanged.status_code == 200 else [])


async def test_two_logouts_at_once_end_a_session_once(service: Service, app: App) -> None:
    person = await service.register()
    async with Browser(service) as browser:
        await browser.sign_in(person)
        tokens = await app.tokens(browser)
        answers = await asyncio.gather(
            *(browser.client.get("/oauth2/logout", params={"id_token_hint": tokens["id_token"]}) for _ in range(6))
        )
    assert {each.status_code for each in answers} == {303}
    rows = await service.sql("SELECT id FROM idp.audit_logs WHERE user_id = $1 AND action = 'session.ended'", person.id)
    assert len(rows) == 1


async def test_a_code_does_not_outlive_a_withdrawn_consent(service: Service) -> None:
    """SEC-45: neither one that waits, nor one that is exchanged at the same time."""
    app = await register_app(service, await service.register_admin(), skip_consent=False)
    for beside in (False, True):
        person = await service.register()
        async with Browser(service) as browser:
            await browser.sign_in(person)
            codes = [await _consented(app, browser) for _ in range(2)]
            tokens = (await app.exchange(codes.pop())).json()
            withdrawing = service.client.delete(f"/api/auth/consents/{app.client_id}", headers=person.bearer)
            if beside:
                withdrawn, exchanged = await asyncio.gather(withdrawing, app.exchange(codes.pop()))
            else:
                withdrawn, exchanged = await withdrawing, await app.exchange(codes.pop())
                assert exchanged.json()["error"] == "invalid_grant"
        assert withdrawn.status_code == 200
        assert exchanged.status_code in {200, 400}
        assert await service.sql(_LIVING, person.id) == []
        assert (await app.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"


async def _consented(app: App, browser: Browser) -> str:
    """Return a code, after allowing on the page if it asks."""
    page = await app.authorize(browser)
    if page.status_code == 200:
        (token,) = re.findall(r'name="csrf_token" value="([^"]+)"', page.text)
        form = {"csrf_token": token, "decision": "allow"}
        headers = {"Origin": browser.service.base_url}
        page = await browser.follow(await browser.client.post(str(page.url), data=form, headers=headers))
    return returned(page)["code"]
