"""`api_keys.require_fresh_login`: creating a key requires a recent sign-in (C-33)."""

from datetime import UTC, datetime, timedelta

import time_machine

from factories import Person, Service, running
from idp.dev.embedded import EmbeddedPostgres

BODY = {"name": "laptop", "scopes": ["read"]}


async def later_tokens(service: Service, person: Person) -> dict[str, str]:
    """Return the header of a token that was refreshed long after the sign-in."""
    answer = await service.refresh(person.refresh_token)
    assert answer.status_code == 200, answer.text
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


async def test_a_key_needs_a_fresh_login_where_the_setting_says_so(postgres: EmbeddedPostgres) -> None:
    """C-33 RFC 9470 section 3: a refreshed token is not fresh; the challenge says how old the login may be."""
    environ = {"IDP_API_KEYS__REQUIRE_FRESH_LOGIN": "true", "IDP_ACCOUNTS__FRESH_LOGIN_SECONDS": "60"}
    async with running(postgres.create_database("step_up"), environ=environ) as service:
        person = await service.register()
        made = await service.client.post("/v1/api-keys", json=BODY, headers=person.bearer)
        assert made.status_code == 201
        with time_machine.travel(datetime.now(UTC) + timedelta(seconds=61), tick=True):
            for bearer in (person.bearer, await later_tokens(service, person)):
                for path in ("/v1/api-keys", f"/v1/api-keys/{made.json()['key_id']}/rotate"):
                    answer = await service.client.post(path, json=BODY, headers=bearer)
                    assert (answer.status_code, answer.json()["code"]) == (401, "fresh_login_required")
                    challenge = answer.headers["www-authenticate"]
                    assert challenge == 'Bearer error="insufficient_user_authentication", max_age=60'
                assert (await service.client.get("/v1/api-keys", headers=bearer)).status_code == 200
            again = await service.sign_in(person)
            assert (await service.client.post("/v1/api-keys", json=BODY, headers=again.bearer)).status_code == 201


async def test_keys_need_none_by_default(service: Service) -> None:
    """C-33: clients of Clerk cannot step up."""
    person = await service.register()
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=29), tick=True):
        made = await service.client.post("/v1/api-keys", json=BODY, headers=person.bearer)
    assert made.status_code == 201
