"""Outbound webhooks: signed, in order, repeated until they arrive, and no endpoint delays another."""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from factories import Service, root_secret, running
from idp.dev.embedded import EmbeddedPostgres
from webhooks.receiver import HANG, Posted, Receiver, receiving

ADMIN_TOKEN = secrets.token_urlsafe(40)
ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
ENVIRON = {"ADMIN_TOKEN": ADMIN_TOKEN, "IDP_WEBHOOKS__TIMEOUT_SECONDS": "2", "IDP_WEBHOOKS__MAX_ENDPOINTS": "8"}
RETRY_NOW = "UPDATE idp.webhooks SET next_attempt_at = now() WHERE id = $1::text::uuid AND next_attempt_at IS NOT NULL"


@pytest.fixture(scope="module")
async def world(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    async with running(postgres.create_database("webhooks"), environ=ENVIRON) as service:
        yield service


@pytest.fixture(autouse=True)
async def no_endpoints(world: Service) -> None:
    await world.sql("DELETE FROM idp.webhooks")


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


async def create(world: Service, url: str, *types: str) -> Any:
    answer = await world.client.post("/v1/webhooks", json={"url": url, "types": list(types)}, headers=ADMIN)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def call(world: Service, method: str, path: str, **body: Any) -> Any:
    answer = await world.client.request(method, f"/v1/webhooks/{path}", json=body or None, headers=ADMIN)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def state(world: Service, webhook: Any) -> Any:
    return await call(world, "GET", webhook["id"])


async def until_state(world: Service, webhook: Any, **wanted: Any) -> Any:
    """Wait until the endpoint has these values."""
    async with asyncio.timeout(15):
        while True:
            found = await state(world, webhook)
            if all(found[name] == value for name, value in wanted.items()):
                return found
            await asyncio.sleep(0.05)


async def retry(world: Service, webhook: Any) -> None:
    """Move the time of the next attempt to now."""
    await world.sql(RETRY_NOW, webhook["id"])


def event(posted: Posted) -> Any:
    return json.loads(posted.body)


def created(receiver: Receiver) -> list[str]:
    return [event(each)["subject"] for each in receiver.posts if event(each)["type"] == "idp.user.created"]


# --- what arrives ----------------------------------------------------------------------------------------------------


async def test_a_delivery_is_a_signed_cloud_event(world: Service, receiver: Receiver) -> None:
    """Standard Webhooks' own library accepts it; a changed body and another secret are refused."""
    webhook = await create(world, receiver.url, "idp.user.created")
    person = await world.register()
    (posted,) = await receiver.wait_for(1)
    assert (posted.method, posted.path) == ("POST", "/hook")
    assert posted.headers["content-type"] == "application/cloudevents+json; charset=UTF-8"
    found = Webhook(webhook["secret"]).verify(posted.body, posted.headers)
    assert (found["type"], found["subject"], found["id"]) == (
        "idp.user.created",
        person.id,
        posted.headers["webhook-id"],
    )
    for secret, body in ((webhook["secret"], posted.body + b" "), ("whsec_" + "A" * 44, posted.body)):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(body, posted.headers)


async def test_events_arrive_in_order_and_once(world: Service, receiver: Receiver) -> None:
    """The order of the feed; only events from the creation on; only the wanted types."""
    await world.register()
    await create(world, receiver.url, "idp.user.created")
    people = [await world.register() for _ in range(12)]
    await receiver.wait_for(12)
    await asyncio.sleep(1.2)
    assert created(receiver) == [person.id for person in people]
    assert len(set(receiver.ids)) == 12


async def test_a_failed_delivery_is_repeated_with_the_same_id(world: Service, receiver: Receiver) -> None:
    """Later events wait for it; afterwards everything arrives in order, and the failure is forgotten."""
    receiver.answer = lambda _: 503
    webhook = await create(world, receiver.url, "idp.user.created")
    people = [await world.register() for _ in range(3)]
    found = await until_state(world, webhook, attempts=1)
    assert (found["last_error"], found["is_active"]) == ("answered 503", True)
    assert found["failing_since"] < found["next_attempt_at"]
    await retry(world, webhook)
    assert (await until_state(world, webhook, attempts=2))["failing_since"] == found["failing_since"]
    receiver.answer = lambda _: 200
    await retry(world, webhook)
    await receiver.wait_for(5)
    assert created(receiver) == [people[0].id] * 3 + [people[1].id, people[2].id]
    assert receiver.ids[0] == receiver.ids[1] == receiver.ids[2]
    found = await until_state(world, webhook, attempts=0, failing_since=None)
    assert (found["last_error"], found["next_attempt_at"]) == (None, None)


async def test_retry_after_is_kept(world: Service, receiver: Receiver) -> None:
    """429 with Retry-After: not before that, and at most an hour."""
    for asked, least, most in (("90", 85, 95), ("999999", 3500, 3700), ("soon", 3, 10)):
        receiver.answer = lambda _, asked=asked: (429, {"Retry-After": asked})  # type: ignore[misc]
        webhook = await create(world, receiver.url, "idp.user.created")
        await world.register()
        await until_state(world, webhook, attempts=1)
        (row,) = await world.sql("SELECT extract(epoch FROM next_attempt_at - now())::float AS left FROM idp.webhooks")
        assert least - 3 < row["left"] < most
        await call(world, "DELETE", webhook["id"])


async def test_slow_and_dead_endpoints_delay_no_other(world: Service, receiver: Receiver) -> None:
    """One hangs, one refuses connections, one answers 500: the good one has its events at once."""
    async with receiving() as hanging, receiving() as failing:
        hanging.answer, failing.answer = lambda _: HANG, lambda _: 500
        others = [await create(world, url) for url in (hanging.url, failing.url, "http://127.0.0.1:1/hook")]
        await create(world, receiver.url, "idp.user.created")
        began = time.monotonic()
        people = [await world.register() for _ in range(5)]
        await receiver.wait_for(5, seconds=8)
        assert created(receiver) == [person.id for person in people]
        assert time.monotonic() - began < 8
        hung = await until_state(world, others[0], attempts=1)
        assert hung["last_error"] == "no answer within 2 s"
        assert (await until_state(world, others[2], attempts=1))["last_error"].startswith("cannot be reached")


# --- the end of an endpoint ------------------------------------------------------------------------------------------


async def test_an_endpoint_that_fails_for_days_is_disabled_and_can_continue(world: Service, receiver: Receiver) -> None:
    """After `disable_after_days`, with an audit record; enabled again, it gets everything that it missed."""
    receiver.answer = lambda _: 500
    webhook = await create(world, receiver.url, "idp.user.created")
    person = await world.register()
    await until_state(world, webhook, attempts=1)
    await world.sql("UPDATE idp.webhooks SET failing_since = now() - interval '5 days 1 minute'")
    await retry(world, webhook)
    found = await until_state(world, webhook, is_active=False)
    assert found["disabled_reason"] == "failing"
    target = f"webhook:{webhook['id']}"
    (row,) = await world.sql("SELECT * FROM idp.audit_logs WHERE action = 'webhook.disabled' AND target = $1", target)
    assert row["actor"] == "system"
    missed = await world.register()
    number = len(receiver.posts)
    await asyncio.sleep(1.2)
    assert len(receiver.posts) == number, "nothing is sent while it is disabled"
    receiver.answer = lambda _: 200
    await call(world, "PATCH", webhook["id"], is_active=True)
    await receiver.wait_for(number + 2)
    assert created(receiver)[number:] == [person.id, missed.id]


async def test_enabling_a_failing_endpoint_tries_again_at_once(world: Service, receiver: Receiver) -> None:
    """An operator who has repaired the endpoint does not wait for the next attempt, which may be hours away."""
    receiver.answer = lambda _: 500
    webhook = await create(world, receiver.url, "idp.user.created")
    person = await world.register()
    await until_state(world, webhook, attempts=1)
    receiver.answer = lambda _: 200
    number = len(receiver.posts)
    await call(world, "PATCH", webhook["id"], is_active=True)
    await asyncio.wait_for(receiver.wait_for(number + 1), 3)  # the schedule says 5 s
    assert created(receiver)[number:] == [person.id]


async def test_410_disables_at_once(world: Service, receiver: Receiver) -> None:
    """The receiver says that it is gone (Standard Webhooks)."""
    receiver.answer = lambda _: 410
    webhook = await create(world, receiver.url)
    await world.register()
    assert (await until_state(world, webhook, is_active=False))["disabled_reason"] == "gone"
    assert len(receiver.posts) == 1


async def test_an_event_that_is_rejected_five_times_is_skipped_and_can_be_replayed(
    world: Service, receiver: Receiver
) -> None:
    """A 400 is about this event: others go on; it is listed with its cursor."""
    webhook = await create(world, receiver.url, "idp.user.created")
    bad = await world.register()
    receiver.answer = lambda posted: 400 if event(posted)["subject"] == bad.id else 200
    # The first attempt may have met the earlier answer.
    await call(world, "POST", f"{webhook['id']}/replay", after=webhook["position"])
    good = await world.register()
    for _ in range(6):
        await asyncio.sleep(0.7)
        await retry(world, webhook)
    await until_state(world, webhook, attempts=0)
    assert created(receiver)[-1] == good.id
    (rejected,) = await call(world, "GET", f"{webhook['id']}/rejections")
    assert (rejected["event_type"], rejected["error"]) == ("idp.user.created", "answered 400")
    receiver.answer = lambda _: 200
    number = len(receiver.posts)
    await call(world, "POST", f"{webhook['id']}/replay", after=webhook["position"])
    await receiver.wait_for(number + 2)
    assert created(receiver)[number:] == [bad.id, good.id]
    assert await call(world, "GET", f"{webhook['id']}/rejections") == []


async def test_replay_since_a_time_repeats_with_the_same_ids(world: Service, receiver: Receiver) -> None:
    """Receivers recognize repeated events by `webhook-id`."""
    webhook = await create(world, receiver.url, "idp.user.created")
    before = (await world.sql("SELECT now() AS now"))[0]["now"]
    people = [await world.register() for _ in range(3)]
    await receiver.wait_for(3)
    await call(world, "POST", f"{webhook['id']}/replay", since=before.isoformat())
    await receiver.wait_for(6)
    assert created(receiver) == [person.id for person in people] * 2
    assert receiver.ids[:3] == receiver.ids[3:]
    await call(world, "POST", f"{webhook['id']}/replay", since="2100-01-01T00:00:00Z")
    await asyncio.sleep(1.2)
    assert len(receiver.posts) == 6


# --- secrets ---------------------------------------------------------------------------------------------------------


async def test_a_rotated_secret_overlaps(world: Service, receiver: Receiver) -> None:
    """Both verify during the overlap; without one, only the new one."""
    webhook = await create(world, receiver.url, "idp.user.created")
    old = webhook["secret"]
    new = (await call(world, "POST", f"{webhook['id']}/rotate-secret"))["secret"]
    await world.register()
    (posted,) = await receiver.wait_for(1)
    for secret in (old, new):
        Webhook(secret).verify(posted.body, posted.headers)
    newest = (await call(world, "POST", f"{webhook['id']}/rotate-secret", overlap_seconds=0))["secret"]
    await world.register()
    posted = (await receiver.wait_for(2))[1]
    Webhook(newest).verify(posted.body, posted.headers)
    for secret in (old, new):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(posted.body, posted.headers)


async def test_a_secret_is_shown_once_and_stored_encrypted(world: Service, receiver: Receiver) -> None:
    """Not in lists, audit records or the database."""
    webhook = await create(world, receiver.url)
    plain = webhook["secret"].removeprefix("whsec_")
    listed = await world.client.get("/v1/webhooks", headers=ADMIN)
    rows = await world.sql("SELECT * FROM idp.webhooks")
    audit = await world.sql("SELECT * FROM idp.audit_logs WHERE action LIKE 'webhook.%'")
    for text in (listed.text, str(await state(world, webhook)), str([dict(row) for row in (*rows, *audit)])):
        assert plain not in text
    assert listed.headers["Cache-Control"] == "no-store"


async def test_a_test_delivery_returns_its_result(world: Service, receiver: Receiver) -> None:
    """Signed like others, once, without changing the state."""
    webhook = await create(world, receiver.url)
    assert (await call(world, "POST", f"{webhook['id']}/test"))["delivered"] is True
    found = Webhook(webhook["secret"]).verify(receiver.posts[0].body, receiver.posts[0].headers)
    assert found["type"] == "idp.webhook.test"
    receiver.answer = lambda _: (302, {"Location": "http://127.0.0.1:1/"})
    result = await call(world, "POST", f"{webhook['id']}/test")
    assert (result["delivered"], result["error"]) == (False, "answered 302")
    assert (await state(world, webhook))["attempts"] == 0
    tests = await world.sql(
        "SELECT actor, details FROM idp.audit_logs WHERE action = 'webhook.tested' AND target = $1 ORDER BY id",
        f"webhook:{webhook['id']}",
    )
    assert [row["actor"] for row in tests] == ["service:admin-token"] * 2, "each test that was posted is on record"
    assert receiver.posts[0].headers["webhook-id"] in tests[0]["details"]


# --- several processes -----------------------------------------------------------------------------------------------


async def test_one_process_delivers_and_another_takes_over(postgres: EmbeddedPostgres, receiver: Receiver) -> None:
    """With two, each event arrives once; when the one that delivers stops, the other continues."""
    url = postgres.create_database("webhooks_of_two")
    environ = ENVIRON | {"IDP_SECRET_KEY": root_secret(), "IDP_PUBLIC_URL": "http://localhost:8000"}
    async with running(url, environ=environ) as first:
        async with running(url, environ=environ, migrate=False) as second:
            await create(second, receiver.url, "idp.user.created")
            people = [await (first, second)[number % 2].register() for number in range(10)]
            await receiver.wait_for(10)
            await asyncio.sleep(1.2)
            assert created(receiver) == [person.id for person in people]
        people += [await first.register() for _ in range(2)]
        await receiver.wait_for(12, seconds=20)
        assert created(receiver) == [person.id for person in people]
    async with running(url, environ=environ, migrate=False) as third:
        people.append(await third.register())
        await receiver.wait_for(13, seconds=20)


async def test_a_result_is_not_noted_after_a_takeover(world: Service, receiver: Receiver) -> None:
    """A process that lost the lease during an attempt writes nothing; the event is posted again, with the same id."""
    answers = iter([HANG])
    receiver.answer = lambda _: next(answers, 200)
    webhook = await create(world, receiver.url, "idp.user.created")
    await world.register()
    await receiver.wait_for(1)
    await world.sql(
        "UPDATE idp.leases SET holder = 'another', token = token + 1, expires_at = now() + interval '4 seconds'"
        " WHERE name = 'webhook deliveries'"
    )
    await asyncio.sleep(3)
    found = await state(world, webhook)
    assert (found["attempts"], found["position"], len(receiver.posts)) == (0, webhook["position"], 1)
    await receiver.wait_for(2)
    assert receiver.ids[0] == receiver.ids[1]
    await until_state(world, webhook, attempts=0, failing_since=None)


async def test_events_restored_into_another_cluster_are_read_and_delivered(
    postgres: EmbeddedPostgres, receiver: Receiver
) -> None:
    """A restored database has transaction ids that its cluster has not reached: new events come all the same."""
    url = postgres.create_database("webhooks_restored")
    environ = ENVIRON | {"IDP_SECRET_KEY": root_secret(), "IDP_PUBLIC_URL": "http://localhost:8000"}
    async with running(url, environ=environ) as first:
        webhook = await create(first, receiver.url, "idp.user.created")
        before = await first.register()
        await receiver.wait_for(1)
        cursor = (await until_state(first, webhook, attempts=0))["position"]
        await call(first, "PATCH", webhook["id"], is_active=False)
        waiting = await first.register()
        for table in ("outbox", "webhooks"):
            await first.sql(f"UPDATE idp.{table} SET transaction = transaction + 1000000000000")
    async with running(url, environ=environ, migrate=False) as second:
        later = await second.register()
        await call(second, "PATCH", webhook["id"], is_active=True)
        await receiver.wait_for(3)
        assert created(receiver) == [before.id, waiting.id, later.id]
        page = await second.client.get("/v1/events", params={"types": "idp.user.created"}, headers=ADMIN)
        assert [each["subject"] for each in page.json()["events"]] == [before.id, waiting.id, later.id]
        stale = await second.client.get("/v1/events", params={"after": cursor}, headers=ADMIN)
        assert stale.json()["code"] == "cursor_expired"


# --- addresses (SEC-66) ----------------------------------------------------------------------------------------------


async def test_production_posts_to_public_https_addresses_only(postgres: EmbeddedPostgres, receiver: Receiver) -> None:
    """SEC-66: no http, no credentials in the URL; a name with a private address is not connected to."""
    url = postgres.create_database("webhooks_production")
    async with running(url, environ=ENVIRON, profile="production") as service:
        for bad in (
            receiver.url,
            "ftp://example.com/",
            "https://user:pass@example.com/",
            "https://",
            "https:///x",
            "//x",
        ):
            answer = await service.client.post("/v1/webhooks", json={"url": bad}, headers=ADMIN)
            assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed"), bad
        port = receiver.url.rpartition(":")[2].partition("/")[0]
        private = ("localhost", "127.0.0.1", "10.0.0.1", "169.254.169.254", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0")
        for host in private:
            webhook = await create(service, f"https://{host}:{port}/hook")
            result = await call(service, "POST", f"{webhook['id']}/test")
            assert "which is not public" in result["error"], (host, result)
            await call(service, "DELETE", webhook["id"])
    assert receiver.posts == []


# --- who, and bad input ----------------------------------------------------------------------------------------------


async def test_only_administrators_manage_webhooks(world: Service, receiver: Receiver) -> None:
    """Neither a user nor a consumer of events."""
    person = await world.register()
    body = {"name": secrets.token_hex(6), "scopes": ["idp:events"]}
    made = await world.client.post("/auth/tokens", json=body, headers=ADMIN)
    for headers in (person.bearer, {"Authorization": f"Bearer {made.json()['token']}"}):
        for method, path in (("GET", "/v1/webhooks"), ("POST", "/v1/webhooks")):
            answer = await world.client.request(method, path, json={"url": receiver.url}, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (403, "admin_required")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("", {}),
        ("", {"url": ""}),
        ("", {"url": "x" * 2001}),
        ("", {"url": "https://exämple.com/"}),
        ("", {"url": "https://example.com/a b"}),
        ("", {"url": "https://example.com/", "types": ["idp.nothing"]}),
        ("", {"url": "https://example.com/", "description": "a\u202eb"}),
        ("", {"url": "https://example.com/", "secret": "whsec_x"}),
        ("/{id}/replay", {}),
        ("/{id}/replay", {"after": "1-1", "since": "2026-01-01T00:00:00Z"}),
        ("/{id}/replay", {"after": "x"}),
        ("/{id}/replay", {"since": "2026-01-01T00:00:00"}),
        ("/{id}/replay", {"since": "yesterday"}),
        ("/{id}/rotate-secret", {"overlap_seconds": -1}),
        ("/{id}/rotate-secret", {"overlap_seconds": 604_801}),
    ],
)
async def test_bad_input_is_422(world: Service, receiver: Receiver, path: str, body: dict[str, Any]) -> None:
    webhook = await create(world, receiver.url)
    answer = await world.client.post(f"/v1/webhooks{path.format(id=webhook['id'])}", json=body, headers=ADMIN)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed"), answer.text


async def test_an_unknown_webhook_is_404_and_their_number_is_limited(world: Service, receiver: Receiver) -> None:
    nobody = "01990c7e-0000-7000-8000-000000000001"
    requests = (
        ("GET", "", None),
        ("PATCH", "", {"is_active": False}),
        ("DELETE", "", None),
        ("POST", "/test", None),
        ("POST", "/replay", {"after": "0-0"}),
        ("POST", "/rotate-secret", {}),
        ("GET", "/rejections", None),
    )
    for method, path, body in requests:
        answer = await world.client.request(method, f"/v1/webhooks/{nobody}{path}", json=body, headers=ADMIN)
        assert (answer.status_code, answer.json()["code"]) == (404, "webhook_not_found"), (method, path)
    for _ in range(8):
        await create(world, receiver.url)
    answer = await world.client.post("/v1/webhooks", json={"url": receiver.url}, headers=ADMIN)
    assert (answer.status_code, answer.json()["code"]) == (409, "too_many_webhooks")
