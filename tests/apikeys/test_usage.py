"""`last_used_at`: recorded in memory, written in batches, without side effects of validation (C-10, S2-38, S0-39)."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from apikeys.key_support import ADMIN, KEYS, TOKENS, disable, get, later, make_key, make_token
from apikeys.test_secret import stored, usage_of
from factories import Person, Service, root_secret, running
from idp.apikeys import usage as usage_module
from idp.dev.embedded import EmbeddedPostgres


async def used_at(service: Service, table_id: str) -> datetime | None:
    when: datetime | None = (await stored(service, table_id))["last_used_at"]
    return when


async def test_deciding_writes_nothing_and_a_flush_writes_when(keyed: Service, person: Person) -> None:
    """S2-38 S0-23 S0-39 C-10: the row is as it was until the flusher comes; then both lists show the time."""
    key, token = await make_key(keyed, person), await make_token(keyed)
    await usage_of(keyed).flush()
    before = [await keyed.sql("SELECT xmin::text, * FROM idp.api_keys WHERE id = $1", UUID(key["key_id"][4:]))]
    audited = await keyed.sql("SELECT count(*) FROM idp.audit_logs")
    for _ in range(3):
        for secret in (key["secret"], token["token"]):
            assert (await keyed.validate(secret))["valid"] is True
        await keyed.client.post("/internal/validate-key", json={"key": key["secret"]})
    after = [await keyed.sql("SELECT xmin::text, * FROM idp.api_keys WHERE id = $1", UUID(key["key_id"][4:]))]
    assert before == after
    assert audited == await keyed.sql("SELECT count(*) FROM idp.audit_logs")
    await usage_of(keyed).flush()
    (listed,) = await get(keyed, KEYS, person.bearer)
    shown = await get(keyed, f"{TOKENS}/{token['token_id']}", ADMIN)
    for each in (listed, shown):
        assert abs(datetime.fromisoformat(each["last_used_at"]) - datetime.now(UTC)) < timedelta(seconds=10)


async def test_every_use_counts_on_every_route(keyed: Service, person: Person) -> None:
    """C-10: a call here is a use, and so is a question about it."""
    asker = {"Authorization": f"Bearer {(await make_token(keyed, scopes=['idp:introspect']))['token']}"}

    async def me(secret: str) -> Any:
        return await keyed.me({"X-API-Key": secret})

    async def teams(secret: str) -> Any:
        return await keyed.client.get("/teams", headers={"X-API-Key": secret})

    async def introspect(secret: str) -> Any:
        return await keyed.client.post("/oauth2/introspect", data={"token": secret}, headers=asker)

    for use in (me, teams, introspect):
        key = await make_key(keyed, person)
        assert (await use(key["secret"])).status_code == 200
        await usage_of(keyed).flush()
        assert await used_at(keyed, key["key_id"]) is not None


async def test_a_refused_credential_was_not_used(keyed: Service, person: Person) -> None:
    """C-10: revoked, of a disabled user, wrong."""
    other = await keyed.register()
    revoked, orphan = await make_key(keyed, person), await make_key(keyed, other)
    await keyed.client.delete(f"{KEYS}/{revoked['key_id']}", headers=person.bearer)
    await disable(keyed, other)
    for secret in (revoked["secret"], orphan["secret"], revoked["secret"] + "x"):
        assert (await keyed.validate(secret))["valid"] is False
    await usage_of(keyed).flush()
    for key in (revoked, orphan):
        assert await used_at(keyed, key["key_id"]) is None


async def test_the_time_never_goes_back(keyed: Service, person: Person) -> None:
    """C-10: several processes write, in any order."""
    key = await make_key(keyed, person)
    ahead = datetime.now(UTC) + timedelta(hours=1)
    await keyed.sql("UPDATE idp.api_keys SET last_used_at = $2 WHERE user_id = $1", person.id, ahead)
    await keyed.validate(key["secret"])
    await usage_of(keyed).flush()
    assert await used_at(keyed, key["key_id"]) == ahead
    with later(hours=2):
        await keyed.validate(key["secret"])
        await usage_of(keyed).flush()
    when = await used_at(keyed, key["key_id"])
    assert when is not None
    assert when > ahead


async def test_it_is_written_by_itself_and_at_the_end(
    postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C-10: once a minute (shortened here), and once more when the process stops."""
    url = postgres.create_database("usage")
    secret = {"IDP_SECRET_KEY": root_secret()}
    monkeypatch.setattr(usage_module, "FLUSH_SECONDS", 0.05)
    async with running(url, environ=secret) as service:
        person = await service.register()
        key = await make_key(service, person)
        await service.validate(key["secret"])
        for _ in range(100):
            if (written := await used_at(service, key["key_id"])) is not None:
                break
        assert written is not None
    monkeypatch.setattr(usage_module, "FLUSH_SECONDS", 600.0)
    async with running(url, migrate=False, environ=secret) as service:
        with later(hours=1):
            assert (await service.validate(key["secret"]))["valid"] is True
        assert await used_at(service, key["key_id"]) == written
    assert (await used_at(service, key["key_id"]) or written) > written


async def test_writing_it_changes_no_verdict(keyed: Service, person: Person) -> None:
    """C-27: it announces no change, so cached verdicts stay in memory."""
    key = await make_key(keyed, person)
    await keyed.validate(key["secret"])
    heard = keyed.app.core.change_listener.changes.version
    await usage_of(keyed).flush()
    await keyed.app.core.change_listener.catch_up()
    assert keyed.app.core.change_listener.changes.version == heard
