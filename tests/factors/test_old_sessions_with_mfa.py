"""A session from before the upgrade, whose provider said `mfa`, has acr 1."""

from collections.abc import AsyncIterator

import pytest

from factories import Service
from factors.phone import set_up
from flows.mail_support import verified
from pages.visitor import Visitor, authorization, new_client


@pytest.fixture
async def visitor(service: Service) -> AsyncIterator[Visitor]:
    async with Visitor(service) as visitor:
        yield visitor


async def test_an_old_session_with_mfa_and_acr_1_gets_on_with_a_step_up(service: Service, visitor: Visitor) -> None:
    person = await verified(service)
    await visitor.sign_in(person)
    await set_up(service, person)
    old = "UPDATE idp.user_sessions SET amr = '{fed,mfa}' WHERE user_id = $1 AND acr = '1'"
    await service.sql(old, person.id)
    client_id = await new_client(service, skip_consent=True)
    page = await visitor.open("/oauth2/authorize", **authorization(client_id, acr_values="2"))
    assert page.status_code in {200, 303}


async def test_a_deleted_account_keeps_no_second_factor(service: Service) -> None:
    person = await verified(service)
    await set_up(service, person)
    body = {"confirm": person.email}
    gone = await service.client.request("DELETE", "/v1/me", headers=person.bearer, json=body)
    assert gone.status_code < 300, gone.text
    for table in ("totp_secrets", "recovery_codes"):
        assert await service.sql(f"SELECT 1 FROM idp.{table} WHERE user_id = $1", person.id) == [], table
