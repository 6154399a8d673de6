"""GET /.well-known/jwks.json: encoded once, always the current keys of the key ring."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine

from factories import Service, root_secret, running
from idp.dev.embedded import EmbeddedPostgres
from idp.signing import routes
from idp.signing.keyring import KEEP_AFTER_USE, PUBLISH_BEFORE_USE, Keyring

PATH = "/.well-known/jwks.json"
Two = tuple[Service, Service]


@pytest.fixture
async def two(postgres: EmbeddedPostgres) -> AsyncIterator[Two]:
    """Two processes of one deployment, which have both published its keys already."""
    url = postgres.create_database(f"jwks_{root_secret()[:6].lower().replace('-', '_')}")
    environ = {"IDP_SECRET_KEY": root_secret(), "IDP_PUBLIC_URL": "http://two-rings"}
    async with running(url, environ=environ) as one, running(url, environ=environ, migrate=False) as other:
        assert await published(one) == await published(other)
        yield one, other


async def published(service: Service) -> set[str]:
    """Return the ids of the keys, asked for so that it goes the short way, which must agree with the long one."""
    short = await service.client.get(PATH)
    long = await service.client.get(PATH, headers={"Origin": "https://app.example.com"})
    assert (short.status_code, short.content) == (200, long.content)
    return {key["kid"] for key in short.json()["keys"]}


def ring(service: Service) -> Keyring:
    return service.app.core.keyring


async def test_a_rotation_shows_at_once_in_every_process(two: Two) -> None:
    """SEC-31: a staged one, another right after it, and one after a leak."""
    one, other = two
    known = await published(one)
    for _ in range(2):
        known = known | set(await ring(one).rotate())
        assert await published(one) == known
        await other.app.core.change_listener.catch_up()
        assert await published(other) == known
    only = set(await ring(other).rotate(at_once=True))
    assert await published(other) == only
    await one.app.core.change_listener.catch_up()
    assert await published(one) == only


async def test_a_key_that_ends_by_the_clock_is_no_longer_published(two: Two) -> None:
    """SEC-31: nobody changes anything at that moment."""
    one, _ = two
    old = await published(one)
    new = set(await ring(one).rotate())
    for more, expected in ((timedelta(seconds=-60), old | new), (timedelta(seconds=60), new)):
        with time_machine.travel(datetime.now(UTC) + PUBLISH_BEFORE_USE + KEEP_AFTER_USE + more, tick=True):
            assert await published(one) == expected
    assert await published(one) == old | new, "also when the clock is set back"


async def test_it_is_encoded_once_for_each_state_of_the_key_ring(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "_REENCODE_SECONDS", 3600.0)
    keys = routes.PublishedKeys(ring(two[0]))
    documents = await asyncio.gather(*(keys.document() for _ in range(64)))
    assert all(document is documents[0] for document in documents)
    await ring(two[0]).rotate()
    assert await keys.document() is not documents[0]


async def test_unreadable_keys_are_503_until_they_are_readable(tmp_path: Path) -> None:
    """SEC-30: what was published before is not published once a change was heard that could not be read."""
    with EmbeddedPostgres(tmp_path / "postgres") as server:
        async with running(server.create_database("jwks"), profile="production") as service:
            before = await published(service)
            server.stop()
            assert await published(service) == before, "read within the last minute"
            service.app.core.change_listener.changes.reset()
            answer = await service.client.get(PATH)
            assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
            assert answer.headers["Cache-Control"] == "no-store"
            assert "access-control-allow-origin" not in answer.headers
            server.start()
            for _ in range(100):
                if (await service.client.get(PATH)).status_code == 200:
                    break
                await asyncio.sleep(0.1)
            assert await published(service) == before


async def test_an_unexpected_error_is_a_problem_document_and_counted(postgres: EmbeddedPostgres) -> None:
    """C-16: the same 500 either way, in the same envelope."""
    environ = {"METRICS_TOKEN": root_secret()}
    async with running(postgres.create_database("jwks_gone"), profile="production", environ=environ) as service:
        await service.sql("ALTER TABLE idp.signing_keys RENAME TO gone")
        for headers in ({}, {"Origin": "https://app.example.com"}):
            answer = await service.client.get(PATH, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["x-content-type-options"] == "nosniff"
        bearer = {"Authorization": f"Bearer {environ['METRICS_TOKEN']}"}
        metrics = (await service.client.get("/metrics", headers=bearer)).text
        assert f'auth_request_total{{endpoint="{PATH}",http_status="500",method="GET"}} 2.0' in metrics
