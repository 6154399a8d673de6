"""An identity is linked to an account with a second factor only after it (C-33)."""

import secrets

import pytest

from factories import PASSWORD, Service
from factors.phone import set_up
from federation.provider_support import running_provider, running_with, sign_in
from flows.mail_support import verified
from idp.dev.embedded import EmbeddedPostgres
from pages.visitor import form_of
from provider_apps import Browser


@pytest.mark.parametrize("amr", [["pwd", "mfa"], ["pwd"]])
async def test_the_password_alone_links_nothing(postgres: EmbeddedPostgres, amr: list[str]) -> None:
    name = f"linking_{secrets.token_hex(4)}"
    async with running_provider() as corp, running_with(postgres, name, corp={"issuer": corp.issuer}) as service:
        owner = await verified(service)
        await set_up(service, owner)
        corp.claims = {"sub": "stranger", "email": owner.email, "email_verified": False, "amr": amr}
        async with Browser(service) as stranger:
            waiting = await sign_in(stranger, return_to="/account")
            assert waiting.headers["Location"].startswith("/link-account?login=")
            page = await stranger.client.get(waiting.headers["Location"])
            forms = form_of(page)
            where = forms.action or str(page.url)
            await stranger.client.post(
                where,
                data={"csrf_token": forms.fields["csrf_token"], "password": PASSWORD},
                headers={"Origin": service.base_url},
            )
            me = await stranger.client.get("/auth/me")
            links = await _links(service, owner.id)
            assert me.status_code == 401
            assert links == []


async def _links(service: Service, user_id: str) -> list[str]:
    rows = await service.sql("SELECT subject FROM idp.identities WHERE user_id = $1", user_id)
    return [row["subject"] for row in rows]
