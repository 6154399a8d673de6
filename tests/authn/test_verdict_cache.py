"""The verdict cache: the source of each verdict, and its invalidation (rule 5, decision 0011).

The order of events that makes this safe is in `tests/db/test_verdict_model.py`; here it is seen over HTTP.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
import valkey as valkey_client

from apikeys.key_support import (
    ADMIN,
    ADMIN_TOKEN,
    ENVIRON,
    KEYS,
    TOKENS,
    Json,
    bearer,
    code_of,
    disable,
    later,
    make_key,
    make_token,
)
from factories import Service, root_secret, running, until_it_hears
from idp.apikeys.secret import generate
from idp.dev.embedded import EmbeddedPostgres, EmbeddedValkey

pytestmark = pytest.mark.alone

PUBLIC_URL = "https://id.example.com"
MEMORY, SHARED, DATABASE = "memory", "shared", "database"


async def counts(service: Service) -> dict[str, float]:
    """Return how many verdicts came from where so far."""
    text = (await service.client.get("/metrics")).text
    lines = [line for line in text.splitlines() if line.startswith("idp_cache_requests_total{")]
    return {line.split('"')[1]: float(line.rsplit(" ", 1)[1]) for line in lines}


async def ask(service: Service, token: str) -> tuple[str, Json]:
    """Ask about a credential; return where the verdict came from, and the verdict."""
    await until_it_hears(service)  # a machine that stood still for a second makes it read afresh, rightly
    before = await counts(service)
    verdict: Json = await service.validate(token)
    after = await counts(service)
    (source,) = [name for name in after if after[name] > before.get(name, 0.0)]
    return source, verdict


async def source_of(service: Service, token: str) -> str:
    return (await ask(service, token))[0]


@pytest.fixture(scope="module")
async def remembering(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    """A single process without Valkey."""
    async with running(postgres.create_database("remembering"), environ=ENVIRON) as service:
        yield service


@pytest.fixture(scope="module")
def cache() -> Any:
    """A Valkey without other writers."""
    server = EmbeddedValkey()
    server.start()
    yield server
    server.stop()


# --- in memory -------------------------------------------------------------------------------------------------------


async def test_the_second_question_is_answered_from_memory(remembering: Service) -> None:
    """S2-27: whatever kind it is of, and whichever route asks."""
    key, token = await make_key(remembering, await remembering.register()), await make_token(remembering)
    for credential in (key["secret"], token["token"], (await remembering.register()).token):
        assert await source_of(remembering, credential) == DATABASE
        for _ in range(3):
            source, verdict = await ask(remembering, credential)
            assert (source, verdict["valid"]) == (MEMORY, True)
        before = await counts(remembering)
        await remembering.client.post("/internal/validate-key", json={"key": credential})
        await remembering.me(bearer(credential))
        assert (await counts(remembering)).get(DATABASE) == before.get(DATABASE)


async def test_refusals_are_remembered_briefly(remembering: Service) -> None:
    """S2-37: a revoked token is refused fast; an unknown one costs one look-up, not one each time."""
    person = await remembering.register()
    key = await make_key(remembering, person)
    await remembering.client.delete(f"{KEYS}/{key['key_id']}", headers=person.bearer)
    for bad, code in ((key["secret"], "token_revoked"), (generate("sk_live"), "token_not_found")):
        assert [await source_of(remembering, bad) for _ in range(3)] == [DATABASE, MEMORY, MEMORY]
        assert await code_of(remembering, bad) == code
        with later(seconds=4):
            assert await source_of(remembering, bad) == DATABASE


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("UPDATE idp.api_keys SET revoked_at = now() WHERE user_id = $1", "token_revoked"),
        ("UPDATE idp.api_keys SET expires_at = now() WHERE user_id = $1", "token_expired"),
        ("DELETE FROM idp.api_keys WHERE user_id = $1", "token_not_found"),
        ("UPDATE idp.api_keys SET digest = 'x' || digest WHERE user_id = $1", "token_not_found"),
        ("UPDATE idp.users SET is_active = false WHERE id = $1", "user_inactive"),
        ("UPDATE idp.users SET deleted_at = now() WHERE id = $1", "user_inactive"),
        ("DELETE FROM idp.users WHERE id = $1", "token_not_found"),
    ],
)
async def test_a_change_made_directly_in_the_database_is_noticed(remembering: Service, change: str, code: str) -> None:
    """Rule 5: the tables announce themselves; whoever changes a row need not know about caches."""
    person = await remembering.register()
    secret = (await make_key(remembering, person))["secret"]
    assert [await source_of(remembering, secret) for _ in range(2)] == [DATABASE, MEMORY]
    await remembering.sql(change, person.id)
    await remembering.app.core.change_listener.catch_up()
    source, verdict = await ask(remembering, secret)
    assert (source, verdict["error"]) == (DATABASE, code)


async def test_a_grant_is_noticed_too(remembering: Service) -> None:
    """Rule 5: in either direction; a refusal in memory does not outlive its reason."""
    person = await remembering.register()
    secret = (await make_key(remembering, person))["secret"]
    await disable(remembering, person)
    assert await code_of(remembering, secret) == "user_inactive"
    await remembering.sql("UPDATE idp.users SET is_active = true WHERE id = $1", person.id)
    assert await code_of(remembering, secret) == "valid"


async def test_changes_of_roles_teams_and_domains_are_noticed(remembering: Service) -> None:
    """Rule 5, C-15: everything that a verdict says of its user."""
    person = await remembering.register()
    secret = (await make_key(remembering, person))["secret"]

    async def user() -> Json:
        shown: Json = (await remembering.validate(secret))["user"]
        return shown

    before = await user()
    (team,) = before["teams"]
    await remembering.sql("INSERT INTO idp.user_roles (user_id, role) VALUES ($1, 'admin')", person.id)
    assert "admin" in (await user())["roles"]
    await remembering.sql("UPDATE idp.team_memberships SET role = 'admin' WHERE user_id = $1", person.id)
    assert (await user())["teams"][0]["role"] == "admin"
    await remembering.sql("UPDATE idp.teams SET external_ref = 'renamed' WHERE name = $1", team["name"])
    assert (await user())["teams"][0]["external_ref"] == "renamed"
    await remembering.sql("DELETE FROM idp.user_domains WHERE user_id = $1", person.id)
    assert (await user())["domains"] == []
    await remembering.sql("UPDATE idp.users SET name = 'Renamed' WHERE id = $1", person.id)
    assert (await user())["name"] == "Renamed"


async def test_another_users_change_keeps_the_entry(remembering: Service) -> None:
    """Rule 5: one revocation does not empty the cache."""
    person, other = await remembering.register(), await remembering.register()
    secret = (await make_key(remembering, person))["secret"]
    await remembering.validate(secret)
    made = await make_key(remembering, other)
    await remembering.client.delete(f"{KEYS}/{made['key_id']}", headers=other.bearer)
    await disable(remembering, other)
    assert await source_of(remembering, secret) == MEMORY


async def test_an_end_is_honoured_in_memory(remembering: Service) -> None:
    """S2-33: whichever ends first, the credential or what is remembered of it."""
    token = await make_token(remembering, ttl_days=1)
    ends = datetime.fromisoformat(token["expires_at"])
    with time_machine.travel(ends - timedelta(seconds=20), tick=True):
        assert await code_of(remembering, token["token"]) == "valid"
        assert await source_of(remembering, token["token"]) == MEMORY
    with time_machine.travel(ends + timedelta(seconds=1), tick=True):
        source, verdict = await ask(remembering, token["token"])
        assert (source, verdict["error"]) == (DATABASE, "token_expired")
        assert verdict["detail"].startswith("Token expired at ")


async def test_an_access_token_ends_in_memory(remembering: Service) -> None:
    person = await remembering.register()
    assert [await source_of(remembering, person.token) for _ in range(2)] == [DATABASE, MEMORY]
    with later(minutes=31):
        assert await code_of(remembering, person.token) == "token_expired"


async def test_a_credential_named_like_a_user_is_no_user(remembering: Service) -> None:
    """What is remembered of people has other names than what is remembered of credentials."""
    person = await remembering.register()
    assert await code_of(remembering, person.token) == "valid"
    names = [person.id, f"user {person.id}", f"user:{person.id}", f"person{person.id}", f"person {person.id}"]
    for token in (*names, person.email, f"\x00{person.id}", f"credential{person.id}"):
        assert await code_of(remembering, token) == "token_not_found", token
        assert (await remembering.client.post("/internal/validate-key", json={"key": token})).json()["valid"] is False


async def test_a_person_outlives_the_token_that_named_them(remembering: Service) -> None:
    """What a token said of itself is not remembered of the person: another token has its own id, scopes and end."""
    person = await remembering.register()
    login = {"email": person.email, "password": person.password}
    other = (await remembering.client.post("/auth/login", json=login)).json()["access_token"]
    first, second = await remembering.validate(person.token), await remembering.validate(other)
    assert first["token_id"] != second["token_id"]
    assert first["user"] == second["user"]
    assert second["scopes"] == first["scopes"]


async def test_invalid_ones_evict_no_valid_one(postgres: EmbeddedPostgres) -> None:
    """Bounded memory: a flood of random keys has room of its own."""
    environ = {"ADMIN_TOKEN": ADMIN_TOKEN, "IDP_AUTHN__CACHE_ENTRIES": "100"}
    async with running(postgres.create_database("bounded"), environ=environ) as service:
        token = (await make_token(service))["token"]
        assert await code_of(service, token) == "valid"
        for _ in range(150):
            await service.validate(generate("sk_live"))
        assert await source_of(service, token) == MEMORY


async def test_without_a_life_nothing_is_remembered(postgres: EmbeddedPostgres, cache: EmbeddedValkey) -> None:
    """S2-33: TOKEN_CACHE_TTL=0, in memory and in Valkey."""
    environ = {"ADMIN_TOKEN": ADMIN_TOKEN, "TOKEN_CACHE_TTL": "0"}
    async with running(postgres.create_database("forgetful"), valkey_url=cache.url, environ=environ) as service:
        person = await service.register()
        for credential in ((await make_token(service))["token"], person.token, generate("sk_live")):
            assert [await source_of(service, credential) for _ in range(3)] == [DATABASE] * 3
        assert await code_of(service, person.token) == "valid"


async def test_cached_verdicts_expire(postgres: EmbeddedPostgres) -> None:
    """S2-33: TOKEN_CACHE_TTL, in seconds; 1800 by default."""
    environ = {"ADMIN_TOKEN": ADMIN_TOKEN, "TOKEN_CACHE_TTL": "60"}
    async with running(postgres.create_database("a_minute"), environ=environ) as service:
        token = (await make_token(service))["token"]
        assert await code_of(service, token) == "valid"
        with later(seconds=55):
            assert await source_of(service, token) == MEMORY
        with later(seconds=62):
            assert await source_of(service, token) == DATABASE


# --- in Valkey -------------------------------------------------------------------------------------------------------


class Deployment:
    """Processes of one deployment: one database, one root secret, one public address, one Valkey."""

    def __init__(self, postgres: EmbeddedPostgres, cache: EmbeddedValkey, name: str) -> None:
        self.url = postgres.create_database(name)
        self.cache = cache
        self.secret = root_secret()

    def start(self, *, migrate: bool = False, **environ: str) -> AbstractAsyncContextManager[Service]:
        variables = {"ADMIN_TOKEN": ADMIN_TOKEN, "IDP_SECRET_KEY": self.secret, "IDP_PUBLIC_URL": PUBLIC_URL}
        return running(self.url, valkey_url=self.cache.url, environ=variables | environ, migrate=migrate)


@pytest.fixture
def store(cache: EmbeddedValkey) -> Any:
    """A connection of the test's own to an empty Valkey."""
    client = valkey_client.Valkey.from_url(cache.url)
    client.flushall()
    yield client
    client.close()  # type: ignore[no-untyped-call]


def verdicts_in(store: Any) -> dict[bytes, bytes]:
    return {name: store.get(name) for name in store.scan_iter(b"idp:verdict:*")}


async def share(service: Service, store: Any, *tokens: str) -> dict[bytes, bytes]:
    """Let a process find out about these credentials, and return what it wrote into Valkey about them."""
    before = verdicts_in(store)
    for token in tokens:
        assert await code_of(service, token) == "valid"
    for _ in range(500):
        written = {name: value for name, value in verdicts_in(store).items() if name not in before}
        if len(written) == len(tokens):
            return written
        await asyncio.sleep(0.01)
    raise AssertionError("nothing was written into Valkey")


async def test_a_verdict_of_one_process_is_shared_with_the_next(
    postgres: EmbeddedPostgres, cache: EmbeddedValkey, store: Any
) -> None:
    """S2-02 S2-27 S2-37: memory, then Valkey, then PostgreSQL; good ones and revoked ones; never a secret in there.

    S2-45: a new process is warm at once, with what the others have read.
    """
    deployment = Deployment(postgres, cache, "two_processes")
    async with deployment.start(migrate=True) as first, deployment.start() as second:
        token, gone = await make_token(first, ttl_days=1), await make_token(first)
        await first.client.post(f"{TOKENS}/{gone['token_id']}/revoke", headers=ADMIN)
        await second.app.core.change_listener.catch_up()
        assert [await source_of(first, token["token"]) for _ in range(2)] == [DATABASE, MEMORY]
        assert await source_of(second, token["token"]) == SHARED
        assert await source_of(second, token["token"]) == MEMORY
        assert await first.validate(token["token"]) == await second.validate(token["token"])
        assert await source_of(first, gone["token"]) == DATABASE
        source, verdict = await ask(second, gone["token"])
        assert (source, verdict["error"]) == (SHARED, "token_revoked")

        kept = verdicts_in(store)
        assert len(kept) >= 2
        for name, value in kept.items():
            assert 0 < store.pttl(name) <= 1_800_000, "nothing stays for ever"
            for secret in (token["token"], token["token"][12:], gone["token"]):
                assert secret.encode() not in name + value

        revoked = await first.client.post(f"{TOKENS}/{token['token_id']}/revoke", headers=ADMIN)
        assert revoked.status_code == 200
        await second.app.core.change_listener.catch_up()
        for service in (first, second):
            assert await code_of(service, token["token"]) == "token_revoked"
    async with deployment.start() as third:
        assert await code_of(third, token["token"]) == "token_revoked"


Verdicts = dict[bytes, bytes]
POISONS: dict[str, Callable[[Verdicts], Verdicts]] = {
    "swapped": lambda good: dict(zip(good, reversed(list(good.values())), strict=True)),
    "empty": lambda good: dict.fromkeys(good, b""),
    "noise": lambda good: dict.fromkeys(good, b"\x00" * 200),
    "cut": lambda good: {name: value[:20] for name, value in good.items()},
    "longer": lambda good: {name: value + b"x" for name, value in good.items()},
    "without a signature": lambda good: {name: value[16:] for name, value in good.items()},
    "a bit flipped": lambda good: {name: value[:-1] + bytes([value[-1] ^ 1]) for name, value in good.items()},
    "another scope": lambda good: {name: value.replace(b"read", b"root") for name, value in good.items()},
}


async def test_foreign_entries_in_valkey_are_not_trusted(
    postgres: EmbeddedPostgres, cache: EmbeddedValkey, store: Any
) -> None:
    """Rule 5: verdicts are signed under their name; noise, cut ones, changed ones and swapped ones are not there."""
    deployment = Deployment(postgres, cache, "poisoned")
    async with deployment.start(migrate=True) as writer, deployment.start() as reader:
        for what in ("nothing", *POISONS):
            tokens = [await make_token(writer) for _ in range(2)]
            await reader.app.core.change_listener.catch_up()
            good = await share(writer, store, *(token["token"] for token in tokens))
            changed = POISONS[what](good) if what in POISONS else good
            assert (changed != good) is (what in POISONS)
            for name, value in changed.items():
                store.set(name, value)
            for token in tokens:
                source, verdict = await ask(reader, token["token"])
                assert source == (DATABASE if what in POISONS else SHARED), what
                assert (verdict["valid"], verdict["name"], verdict["scopes"]) == (True, token["name"], ["read"])


async def test_a_value_of_another_type_in_valkey_is_no_error(
    postgres: EmbeddedPostgres, cache: EmbeddedValkey, store: Any
) -> None:
    """Rule 5: Valkey is a hint; answers stay right whatever is in there."""
    deployment = Deployment(postgres, cache, "another_type")
    async with deployment.start(migrate=True) as writer, deployment.start() as reader:
        token = (await make_token(writer))["token"]
        await reader.app.core.change_listener.catch_up()
        (name,) = await share(writer, store, token)
        store.delete(name)
        store.lpush(name, b"a list")
        source, verdict = await ask(reader, token)
        assert (source, verdict["valid"]) == (DATABASE, True)


async def test_two_deployments_on_one_valkey_do_not_see_each_other(
    postgres: EmbeddedPostgres, cache: EmbeddedValkey, store: Any
) -> None:
    """Rule 5: another root secret or public address calls the same credential by another name, under another key."""
    one, other = Deployment(postgres, cache, "one_of_two"), Deployment(postgres, cache, "other_of_two")
    async with (
        one.start(migrate=True) as service,
        one.start() as sibling,
        one.start(IDP_PUBLIC_URL="https://elsewhere.example.com") as renamed,
        other.start(migrate=True) as stranger,
    ):
        token = (await make_token(service))["token"]
        for each in (sibling, renamed):
            await each.app.core.change_listener.catch_up()
        of_one = await share(service, store, token)
        source, verdict = await ask(stranger, token)
        assert (source, verdict["error"]) == (DATABASE, "token_not_found")
        # The same database under another name: its introspection names another issuer.
        assert await source_of(renamed, token) == DATABASE
        assert await source_of(sibling, token) == SHARED
        mine = (await make_token(stranger))["token"]
        of_other = await share(stranger, store, mine)
        assert not of_one.keys() & of_other.keys()
        assert await code_of(service, mine) == "token_not_found"


async def test_an_expired_shared_verdict_is_read_again(
    postgres: EmbeddedPostgres, cache: EmbeddedValkey, store: Any
) -> None:
    """S2-33: an expiry while it is in Valkey applies when it is read from there."""
    deployment = Deployment(postgres, cache, "ended_in_valkey")
    async with deployment.start(migrate=True) as writer, deployment.start() as reader:
        token = await make_token(writer)
        soon = datetime.now(UTC) + timedelta(seconds=30)
        change = "UPDATE idp.api_keys SET expires_at = $2 WHERE id = $1::text::uuid"
        await writer.sql(change, token["token_id"], soon)
        await reader.app.core.change_listener.catch_up()
        (name,) = await share(writer, store, token["token"])
        assert 0 < store.pttl(name) <= 30_000
        with time_machine.travel(soon + timedelta(seconds=1), tick=True):
            source, verdict = await ask(reader, token["token"])
            assert (source, verdict["error"]) == (DATABASE, "token_expired")
