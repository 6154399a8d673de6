"""A user whose memberships change constantly gets correct responses."""

import asyncio
import secrets
import time

import asyncpg

from factories import Person, Service

SECONDS = 3.0
TOGGLE = "UPDATE idp.team_memberships SET role = $1 WHERE user_id = $2"


async def toggle(service: Service, person: Person, until: float) -> None:
    connection = await asyncpg.connect(service.database_url)
    try:
        while time.monotonic() < until:
            for role in ("admin", "member"):
                await connection.execute(TOGGLE, role, person.id)
    finally:
        await connection.close()


async def ask(service: Service, headers: dict[str, str], until: float) -> list[int]:
    codes = []
    while time.monotonic() < until:
        codes.append((await service.me(headers)).status_code)
    return codes


async def test_constant_changes_of_memberships_cause_no_503(service: Service) -> None:
    """SEC-59: what was last read is answered, since a change that it did not see was made while it was asked for."""
    person = await service.register()
    made = await service.client.post(
        "/v1/api-keys", json={"name": secrets.token_hex(4), "scopes": ["read"]}, headers=person.bearer
    )
    key = {"X-API-Key": made.json()["secret"]}
    until = time.monotonic() + SECONDS
    asking = [ask(service, headers, until) for headers in (person.bearer, key) for _ in range(3)]
    toggling = [toggle(service, person, until) for _ in range(3)]
    *answers, _, _, _ = await asyncio.gather(*asking, *toggling)
    codes = [code for each in answers for code in each or []]
    assert set(codes) == {200}, {code: codes.count(code) for code in set(codes)}
    await service.sql(TOGGLE, "admin", person.id)
    assert {team["role"] for team in (await service.me(key)).json()["teams"]} == {"admin"}
