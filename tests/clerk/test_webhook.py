"""POST /webhooks/clerk: users as Clerk has them, whatever happens to deliveries on the way."""

import asyncio
import gzip
import json
from typing import Any

import asyncpg

from clerk.clerk_support import RECEIVED, World, running_world
from factories import Service
from idp.apikeys import service
from idp.dev.clerk_delivery import Outgoing
from idp.dev.embedded import EmbeddedPostgres
from table_tests import table


async def test_clerk_to_webhook_to_profile(clerk: World) -> None:
    """S0-01 S0-11 S1-02 S1-06 S1-16 S1-17 C-13: sign-up at Clerk, webhook, row under Clerk's id, `GET /v1/me`."""
    event = clerk.instance.create(
        email="Ada@Example.COM",
        first_name="Ada",
        last_name="Lovelace",
        image_url="https://img.clerk.com/ada.png",
        public_metadata={"plan": "pro"},
    )
    user_id = event["data"]["id"]
    assert (await clerk.me(user_id)).status_code == 404
    answer = await clerk.deliver(Outgoing.of(event))
    assert (answer.status_code, answer.json()) == (200, RECEIVED)
    assert answer.headers["content-type"] == "application/json"
    me = (await clerk.me(user_id)).json()
    assert me["id"] == me["user_id"] == user_id
    assert (me["email"], me["email_verified"], me["name"]) == ("Ada@example.com", True, "Ada Lovelace")
    assert (me["role"], me["plan"], me["login_type"]) == ("USER", "PRO", "clerk")
    assert me["avatar_url"] == "https://img.clerk.com/ada.png"
    assert [team["name"] for team in me["teams"]] == ["General"]
    identities = await clerk.service.sql("SELECT provider FROM idp.identities WHERE subject = $1", user_id)
    assert [row["provider"] for row in identities] == ["clerk"]


async def test_an_update_changes_address_and_name(clerk: World) -> None:
    """S0-12: the primary address, not the first one; the name from both parts."""
    user_id = await clerk.created(first_name="Grace", last_name="Hopper")
    first, second = clerk.new_email(), clerk.new_email()
    addresses = [
        {"id": "idn_1", "email_address": first, "verification": {"status": "verified"}},
        {"id": "idn_2", "email_address": second, "verification": {"status": "unverified"}},
    ]
    await clerk.send(
        clerk.instance.update(user_id, email_addresses=addresses, primary_email_address_id="idn_2", last_name=" ")
    )
    row = await clerk.row(user_id)
    assert (row["email"], row["email_verified"], row["name"]) == (second, False, "Grace")
    audit = await clerk.service.sql(
        "SELECT action, actor FROM idp.audit_logs WHERE user_id = $1 ORDER BY timestamp", user_id
    )
    assert {"user.created", "user.identity_linked", "user.email_changed", "user.changed"} <= {
        each["action"] for each in audit
    }
    assert {each["actor"] for each in audit} == {"service:clerk"}  # S0-44


async def test_a_deletion_ends_everything_in_one_transaction(clerk: World) -> None:
    """S0-13 C-14 SEC-19: the row stays, keys and sessions end, and the token of the next second is refused."""
    user_id = await clerk.created()
    secret = (await clerk.make_key(user_id))["secret"]
    assert (await clerk.service.validate(secret))["valid"]
    await clerk.send(clerk.instance.delete(user_id))
    row = await clerk.row(user_id)
    assert row["deleted_at"] is not None
    assert (await clerk.service.validate(secret))["error"] in {"token_revoked", "user_inactive"}
    key = await clerk.service.client.post("/internal/validate-key", json={"key": secret})
    assert key.json()["error"] in {"key_revoked", "user_deleted"}
    assert (await clerk.me(user_id)).json()["code"] == "user_inactive"
    transactions = await clerk.service.sql(
        "SELECT xmin::text FROM idp.users WHERE id = $1 UNION SELECT xmin::text FROM idp.api_keys WHERE user_id = $1 "
        "UNION SELECT xmin::text FROM idp.clerk_users WHERE clerk_id = $1 "
        "UNION SELECT xmin::text FROM idp.audit_logs WHERE user_id = $1 AND action = 'user.deleted'",
        user_id,
    )
    assert len(transactions) == 1


async def test_a_deletion_before_the_creation_leaves_a_tombstone(clerk: World) -> None:
    """S0-13: a late `user.created` cannot revive anyone, whatever its time says."""
    created = clerk.instance.create(email=clerk.new_email())
    user_id = created["data"]["id"]
    await clerk.send(clerk.instance.delete(user_id), created)
    late = json.loads(json.dumps(created))
    late["data"]["updated_at"] = late["timestamp"] = created["timestamp"] + 3_600_000
    await clerk.send(late)
    assert await clerk.service.sql("SELECT FROM idp.users WHERE id = $1", user_id) == []
    assert (await clerk.me(user_id)).status_code == 404


async def test_late_and_repeated_deliveries_change_nothing(clerk: World) -> None:
    """The newest state wins in every order, and each delivery counts once, also days later with a new signature."""
    created = clerk.instance.create(email=clerk.new_email(), first_name="One")
    user_id = created["data"]["id"]
    second = clerk.instance.update(user_id, first_name="Two")
    third = clerk.instance.update(user_id, first_name="Three")
    duplicates = await clerk.count(kind="user.updated", outcome="duplicate")
    stale = await clerk.count(kind="user.updated", outcome="stale")
    messages = [Outgoing.of(event) for event in (third, second, created)]
    for message in (*messages, *reversed(messages), messages[0]):
        assert (await clerk.deliver(message)).json() == RECEIVED
    assert (await clerk.row(user_id))["name"] == "Three"
    assert await clerk.count(kind="user.updated", outcome="duplicate") == duplicates + 2
    assert await clerk.count(kind="user.updated", outcome="stale") == stale + 2
    again = Outgoing(f"{messages[1].id}x", messages[1].body)  # replayed by hand: another id, an old state
    assert (await clerk.deliver(again)).json() == RECEIVED
    assert (await clerk.row(user_id))["name"] == "Three"


async def test_twenty_copies_of_one_delivery_at_once_apply_once(clerk: World) -> None:
    message = Outgoing.of(clerk.instance.create(email=clerk.new_email()))
    answers = await asyncio.gather(*(clerk.deliver(message) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    user_id = json.loads(message.body)["data"]["id"]
    audit = await clerk.service.sql(
        "SELECT FROM idp.audit_logs WHERE user_id = $1 AND action = 'user.created'", user_id
    )
    assert len(audit) == 1


async def test_every_change_from_clerk_is_an_event_in_the_same_transaction(clerk: World) -> None:
    """S1-05 S0-44: for the relay to Kafka; without addresses of the sender, with what came of the message."""
    user_id = await clerk.created(first_name="Eve")
    await clerk.send(clerk.instance.update(user_id, first_name="Eva", email=clerk.new_email()))
    await clerk.send(clerk.instance.update(user_id, locked=True), clerk.instance.delete(user_id))
    rows = await clerk.service.sql(
        "SELECT type, data, xmin::text FROM idp.outbox WHERE subject = $1 ORDER BY seq", user_id
    )
    types = [row["type"] for row in rows]
    assert types[0] == "idp.user.created"
    assert json.loads(rows[0]["data"])["user"]["email"].startswith("clerk-")
    assert types[-1] == "idp.user.deleted"
    assert {"idp.identity.linked", "idp.user.updated"} <= set(types)
    assert {json.loads(row["data"]).get("origin", "clerk") for row in rows} == {"clerk"}
    created = await clerk.service.sql("SELECT xmin::text FROM idp.audit_logs WHERE user_id = $1", user_id)
    assert rows[0]["xmin"] in {row["xmin"] for row in created}


# --- the signature ---------------------------------------------------------------------------------------------------


async def test_only_signed_messages_are_read(clerk: World) -> None:
    """S0-09 S0-10: 400 with the old service's texts; nothing of the body is used."""
    event = clerk.instance.create(email=clerk.new_email())
    message = Outgoing.of(event)
    secret = clerk.instance.state.webhook_secret
    good = message.headers(secret)
    signature, timestamp = good["svix-signature"], good["svix-timestamp"]
    old, new = str(int(timestamp) - 301), str(int(timestamp) + 302)
    refused: dict[str, dict[str, str]] = {
        "another secret": message.headers("whsec_" + "A" * 32),
        "too old": good | {"svix-timestamp": old},
        "too new": good | {"svix-timestamp": new},
        "another id": good | {"svix-id": "msg_other"},
        "no comma": good | {"svix-signature": "garbage"},
        "two commas": good | {"svix-signature": f"{signature},b"},
        "bad padding": good | {"svix-signature": "v1,abcde"},
        "another version": good | {"svix-signature": signature.replace("v1,", "v1a,")},
        "not a time": good | {"svix-timestamp": "now"},
        "infinite": good | {"svix-timestamp": "inf"},
        "not a number": good | {"svix-timestamp": "nan"},
        "a fraction": good | {"svix-timestamp": f"{timestamp}.5"},
        "an endless id": good | {"svix-id": "m" * 5000},
        "a thousand signatures": good | {"svix-signature": " ".join(["v1," + "A" * 43 + "="] * 300)},
    }
    with table() as row:
        for name, headers in refused.items():
            with row(name):
                answer = await clerk.post(message.body, headers)
                assert (answer.status_code, answer.text) == (400, "Error occured")
                assert answer.headers["content-type"].startswith("text/plain")
    for missing in ("svix-id", "svix-timestamp", "svix-signature"):
        headers = {name: value for name, value in good.items() if name != missing}
        answer = await clerk.post(message.body, headers)
        assert (answer.status_code, answer.text) == (400, "Error occured -- no svix headers")
    reserialized = json.dumps(event, indent=1).encode()
    bodies = {"changed": message.body + b" ", "serialized again": reserialized, "empty": b"", "not UTF-8": b"\xff\xfe"}
    for name, body in bodies.items():
        assert (await clerk.post(body, good)).status_code == 400, name
    assert await clerk.service.sql("SELECT FROM idp.users WHERE id = $1", event["data"]["id"]) == []
    signatures = f"garbage v1a,{'A' * 88} v1,{'A' * 43}= {signature}"  # several while a secret is replaced
    assert (await clerk.post(message.body, good | {"svix-signature": signatures})).json() == RECEIVED


async def test_both_spellings_of_the_headers_and_chunked_bodies_are_read(clerk: World) -> None:
    message = Outgoing.of(clerk.instance.create(email=clerk.new_email()))
    headers = message.headers(clerk.instance.state.webhook_secret, prefix="webhook")

    async def pieces() -> Any:
        for start in range(0, len(message.body), 100):
            yield message.body[start : start + 100]

    answer = await clerk.service.client.post("/webhooks/clerk", content=pieces(), headers=headers)
    assert answer.json() == RECEIVED
    assert await clerk.row(json.loads(message.body)["data"]["id"])


async def test_a_body_that_a_proxy_compressed_is_refused_and_repeated_unchanged_is_taken(clerk: World) -> None:
    message = Outgoing.of(clerk.instance.create(email=clerk.new_email()))
    headers = message.headers(clerk.instance.state.webhook_secret)
    compressed = await clerk.post(gzip.compress(message.body), headers | {"Content-Encoding": "gzip"})
    assert (compressed.status_code, compressed.text) == (400, "Error occured")
    assert (await clerk.post(message.body, headers)).json() == RECEIVED


async def test_two_secrets_are_accepted_while_one_is_replaced(postgres: EmbeddedPostgres, clerk: World) -> None:
    """S1-11: also by the name that Clerk's SDK uses now."""
    second = "whsec_" + "c2Vjb25kIHNlY3JldCBvZiBjbGVyaw=="
    environ = {
        "CLERK_WEBHOOK_SECRET": "",
        "CLERK_WEBHOOK_SIGNING_SECRET": f"{clerk.instance.state.webhook_secret},{second}",
    }
    url = clerk.service.database_url
    async with running_world(url, instance=clerk.instance, migrate=False, **environ) as world:
        for secret in (clerk.instance.state.webhook_secret, second, second.rstrip("=")):
            message = Outgoing.of(clerk.instance.create(email=clerk.new_email()))
            assert (await world.post(message.body, message.headers(secret))).json() == RECEIVED


async def test_without_a_secret_the_webhook_is_503(production: Service) -> None:
    """S0-09: an unsigned message is never read."""
    answer = await production.client.post("/webhooks/clerk", json={"type": "user.created"})
    assert (answer.status_code, answer.json()["code"]) == (503, "webhook_not_configured")
    assert int(answer.headers["retry-after"]) > 0


async def test_a_large_body_is_413(clerk: World) -> None:
    body = json.dumps({"type": "user.created", "data": {"id": "user_x", "padding": "x" * 262_144}}).encode()
    message = Outgoing("msg_large", body)
    answer = await clerk.deliver(message)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


# --- answers and metrics ------------------------------------------------------------------------------------------


async def test_a_failure_that_nobody_foresaw_is_repeated_by_clerk(postgres: EmbeddedPostgres) -> None:
    """S0-09: 500 with the old service's body; the delivery counts as never received."""
    async with running_world(postgres.create_database("clerk_fails")) as world:
        message = Outgoing.of(world.instance.create(email=world.new_email()))
        await world.service.sql("ALTER TABLE idp.clerk_users RENAME TO hidden")
        answer = await world.deliver(message)
        assert (answer.status_code, answer.json()) == (
            500,
            {"success": False, "message": "Error processing webhook"},
        )
        await world.service.sql("ALTER TABLE idp.hidden RENAME TO clerk_users")
        assert (await world.deliver(message)).json() == RECEIVED
        assert await world.row(json.loads(message.body)["data"]["id"])


async def test_a_webhook_that_waits_too_long_is_503_and_nothing_is_half_written(clerk: World) -> None:
    """C-27: the lock of the keys is first; its other users wait 4 s at most, and Clerk repeats the delivery."""
    message = Outgoing.of(clerk.instance.create(email=clerk.new_email()))
    failed = await clerk.count(kind="user.created", outcome="failed")
    holder = await asyncpg.connect(clerk.service.database_url)
    try:
        async with holder.transaction():
            await holder.execute("SELECT pg_advisory_xact_lock($1)", service.LOCK)
            answer = await clerk.deliver(message)
    finally:
        await holder.close()
    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert await clerk.count(kind="user.created", outcome="failed") == failed + 1
    for table_name, column in (("clerk_deliveries", "id"), ("clerk_users", "clerk_id")):
        wanted = message.id if column == "id" else json.loads(message.body)["data"]["id"]
        assert await clerk.service.sql(f"SELECT FROM idp.{table_name} WHERE {column} = $1", wanted) == []
    assert (await clerk.deliver(message)).json() == RECEIVED


async def test_types_and_outcomes_are_bounded_labels(clerk: World) -> None:
    """`idp_webhook_events_total{type,outcome}`: a sender cannot make labels."""
    for number in range(20):
        await clerk.send({"type": f"made.up{number}", "data": {}}, {"type": f"session.{number}", "data": {}})
    assert await clerk.count(kind="other", outcome="ignored") >= 20
    assert await clerk.count(kind="session.*", outcome="ignored") >= 20
    text = (await clerk.service.client.get("/metrics")).text
    assert "made.up" not in text
    assert len([line for line in text.splitlines() if line.startswith("idp_webhook_events_total")]) < 40
