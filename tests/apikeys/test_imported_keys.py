"""Keys that S0 stored as bcrypt (C-03): verified at their first use, and then stored like other keys."""

import asyncio
import secrets
import time
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import bcrypt
import pytest
import time_machine

from factories import Service, running
from idp.dev.embedded import EmbeddedPostgres

SECRET = "sk_live_8374" + "aB3" * 12
INSERT = """
INSERT INTO idp.api_keys (id, kind, user_id, name, prefix, digest, scheme, scopes, metadata, created_at, created_by)
VALUES ($1, 'user_key', $2, 'imported', $3, $4, 'bcrypt', '{ingest:write}', '{}', now(), 'import')
"""


async def stored(service: Service, row_id: uuid.UUID) -> tuple[str, str]:
    ((scheme, digest),) = await service.sql("SELECT scheme, digest FROM idp.api_keys WHERE id = $1", row_id)
    return scheme, digest


async def test_an_imported_bcrypt_key_works_and_is_replaced_by_a_digest_at_its_first_use(service: Service) -> None:
    """S0-06 S0-36 S0-37 S0-41 C-03: S0 kept the first seven characters, the same for every key."""
    person, row_id, other = await service.register(), uuid.uuid4(), uuid.uuid4()
    for each, secret in ((other, SECRET + "x"), (row_id, SECRET)):
        hashed = bcrypt.hashpw(secret.encode(), bcrypt.gensalt(4)).decode()
        await service.sql(INSERT, each, person.id, secret[:7], hashed)
    (middleware,) = service.app.middleware
    middleware.introspector._resolver._imported._checked_at = float("-inf")  # type: ignore[union-attr]  else within a minute
    verdict = await service.validate(SECRET)
    assert (verdict["valid"], verdict["scopes"], verdict["user"]["id"]) == (True, ["ingest:write"], person.id)
    assert (await service.validate("sk_live_8374" + "zZ9" * 12))["error"] == "token_not_found"

    await service.app.core.usage.flush()
    scheme, digest = await stored(service, row_id)
    assert (scheme, len(digest)) == ("hmac", 64)
    assert (await stored(service, other))[0] == "bcrypt", "nobody has used that one"
    await service.app.core.change_listener.catch_up()
    assert (await service.validate(SECRET))["valid"]

    await service.sql("UPDATE idp.api_keys SET revoked_at = now() WHERE user_id = $1", person.id)
    assert (await service.validate(SECRET))["error"] == "token_revoked"


# --- many of them (all of S0's keys share `sk_live`) ---------------------------------------------------------


def key_number(number: int) -> str:
    return f"sk_live_{number:04}" + "qW7" * 12


async def imported(service: Service, numbers: range) -> None:
    """Import keys as S0 kept them, of one person, and let the service look for such keys again."""
    person = await service.register()
    for number in numbers:
        secret = key_number(number)
        hashed = bcrypt.hashpw(secret.encode(), bcrypt.gensalt(4)).decode()
        await service.sql(INSERT, uuid.uuid4(), person.id, secret[:7], hashed)
    (middleware,) = service.app.middleware
    middleware.introspector._resolver._imported._checked_at = float("-inf")  # type: ignore[union-attr]


@pytest.fixture
async def own(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    async with running(postgres.create_database(f"imported_{secrets.token_hex(4)}")) as service:
        yield service


async def validated(service: Service, key: str) -> dict[str, Any]:
    """Validate a key as a client does that is told to come again."""
    for _ in range(60):
        answer = await service.client.post("/internal/validate-key", json={"key": key})
        if answer.status_code == 200:
            return answer.json()
        assert (answer.status_code, answer.json()["code"]) == (503, "busy"), answer.text
    raise AssertionError("it never ended")


async def test_of_500_imported_keys_with_one_prefix_each_is_found(own: Service) -> None:
    """S0-36 S0-41 C-03: the first and the last, in seconds; at the second use nothing is searched."""
    await imported(own, range(500))
    for number in (0, 250, 499):
        began = time.perf_counter()
        assert (await validated(own, key_number(number)))["valid"], number
        first = time.perf_counter() - began
        await own.app.core.usage.flush()
        await own.app.core.change_listener.catch_up()
        began = time.perf_counter()
        assert (await validated(own, key_number(number)))["valid"]
        again = time.perf_counter() - began
        assert first < 10
        assert again < 0.5
    rows = await own.sql("SELECT scheme, count(*) AS number FROM idp.api_keys GROUP BY scheme")
    assert {row["scheme"]: row["number"] for row in rows} == {"bcrypt": 497, "hmac": 3}


async def test_a_key_that_fits_none_is_remembered(own: Service) -> None:
    """SEC-8: an unknown key costs the search once, and not again at each request."""
    await imported(own, range(60))
    assert (await validated(own, key_number(9999)))["error"] == "key_not_found"
    (middleware,) = own.app.middleware
    known = middleware.introspector._resolver._imported  # type: ignore[union-attr]
    (search,) = [each for each in known._searches.values() if each.missed_at is not None]
    assert len(search.compared) == 60
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=5), tick=True):  # the refusal is not cached any more
        began = time.perf_counter()
        assert (await validated(own, key_number(9999)))["error"] == "key_not_found"
    assert time.perf_counter() - began < 0.3


async def test_a_search_that_takes_too_long_continues_with_the_next_request(
    own: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S0-41: a request is bounded in time, answered 503 and tried again; nothing is compared twice."""
    await imported(own, range(100))
    monkeypatch.setattr("idp.authn.imported_keys._SEARCH_SECONDS", 0.03)
    answer = await own.client.post("/internal/validate-key", json={"key": key_number(0)})
    assert (answer.status_code, answer.json()["code"]) == (503, "busy")
    assert (await validated(own, key_number(0)))["valid"]


async def test_one_address_searches_one_key_at_a_time(own: Service) -> None:
    """SEC-8: a flood of unknown keys from one address does not delay sign-ins."""
    await imported(own, range(100))
    keys = [key_number(5000 + number) for number in range(8)]
    asked = [own.client.post("/internal/validate-key", json={"key": key}) for key in keys]
    answers = await asyncio.gather(*asked)
    codes = [answer.status_code for answer in answers]
    assert set(codes) <= {200, 503}
    assert codes.count(503) >= 5


async def test_many_addresses_do_not_search_at_once(postgres: EmbeddedPostgres) -> None:
    """SEC-8: an attacker with many addresses does not block the password processes for sign-ins."""
    environ = {"IDP_TRUSTED_PROXIES": "127.0.0.0/8"}
    async with running(postgres.create_database("many_searches"), environ=environ) as service:
        await imported(service, range(100))
        asked = [
            service.client.post(
                "/internal/validate-key",
                json={"key": key_number(6000 + number)},
                headers={"X-Forwarded-For": f"203.0.113.{number}"},
            )
            for number in range(16)
        ]
        codes = [answer.status_code for answer in await asyncio.gather(*asked)]
        assert set(codes) <= {200, 503}
        assert codes.count(503) >= 8
        assert (await validated(service, key_number(50)))["valid"], "a good key is found as before"
