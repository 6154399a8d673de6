"""An administrator tries a provider: its claims and what its rules would grant are shown, and nothing happens."""

import html

from factories import Service
from federation.provider_support import approve, running_provider, running_with
from idp.dev.embedded import EmbeddedPostgres
from pages.visitor import Visitor

MARKUP = "<img src=x onerror=alert(1)>"


async def test_a_test_of_a_provider_shows_its_claims_and_signs_nobody_in(postgres: EmbeddedPostgres) -> None:
    claims = {"email": "eve@corp.example", "email_verified": True, "name": MARKUP, "groups": ["staff"]}
    async with running_provider(claims=claims) as upstream:
        rule = {"claim": "groups", "values": ["staff"], "roles": ["reviewer"]}
        corp = {"issuer": upstream.issuer, "rules": [rule], "label": "Corp"}
        async with running_with(postgres, "tried_provider", corp=corp) as service:
            admin = await service.register_admin()
            async with Visitor(service) as browser:
                await browser.sign_in(admin)
                before = await counts(service)
                assert "Corp" in (await browser.open("/admin/providers")).text
                leaving = await browser.client.get("/admin/providers/corp/test")
                assert leaving.status_code == 303
                answer = await approve(leaving.headers["Location"])
                page = await browser.client.get(answer.headers["Location"])
                assert page.status_code == 200, page.text
                assert "eve@corp.example" in page.text
                assert "role: reviewer" in page.text
                assert (MARKUP in page.text, html.escape(MARKUP) in page.text) == (False, True)
                assert (await browser.client.get("/auth/me")).json()["id"] == admin.id
            assert await counts(service) == before


async def test_the_answer_of_a_test_is_shown_to_who_began_it_only(postgres: EmbeddedPostgres) -> None:
    async with (
        running_provider(claims={"email": "eve@corp.example"}) as upstream,
        running_with(postgres, "tried_by_other", corp={"issuer": upstream.issuer}) as service,
    ):
        admin, person = await service.register_admin(), await service.register()
        async with Visitor(service) as browser:
            await browser.sign_in(admin)
            leaving = await browser.client.get("/admin/providers/corp/test")
            answer = await approve(leaving.headers["Location"])
            await browser.sign_in(person)
            page = await browser.client.get(answer.headers["Location"])
            assert page.status_code in {400, 403}
            assert "eve@corp.example" not in page.text


async def counts(service: Service) -> tuple[int, ...]:
    rows = await service.sql(
        "SELECT (SELECT count(*) FROM idp.users) u, (SELECT count(*) FROM idp.identities) i,"
        " (SELECT count(*) FROM idp.user_sessions) s"
    )
    return tuple(rows[0].values())
