"""The single writer of a cluster (C-27, S2-26): changes are serial, complete and independent; and C-10."""

import asyncio
import random
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from factories import Service, root_secret, running
from faults.writer_support import Order, WriterProcess
from idp.apikeys import service as keys
from idp.apikeys.commands import MAX_GROUP_SIZE, CommandQueue
from idp.apikeys.service import KeyFactory
from idp.apikeys.shapes import NewKey, NewToken, TokenSecret
from idp.audit.record import Origin
from idp.core import Core
from idp.dev.embedded import EmbeddedPostgres
from idp.errors import IdpError, InternalError, NameTaken

PROCESSES, COMMANDS = 3, 1000
MOST_KEYS = 60  # live ones of one user
ADMIN_TOKEN = secrets.token_urlsafe(40)
ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}


@asynccontextmanager
async def serving(database_url: str, root: str) -> AsyncIterator[Service]:
    """A service on this database, with other writers."""
    environ = {"IDP_SECRET_KEY": root, "ADMIN_TOKEN": ADMIN_TOKEN, "IDP_API_KEYS__MAX_KEYS_PER_USER": str(MOST_KEYS)}
    async with running(database_url, profile="production", environ=environ) as service:
        yield service


# --- three processes and a thousand commands -------------------------------------------------------------------------


@dataclass
class Row:
    """A key or token as it should be."""

    kind: str
    name: str
    user: str | None
    secret: str
    revoked: bool = False


@dataclass
class World:
    """What should be in the database, when commands run one after the other."""

    rows: dict[str, Row] = field(default_factory=dict)
    dead: set[str] = field(default_factory=set)
    remembered: dict[str, tuple[str, str]] = field(default_factory=dict)  # Idempotency-Key: name asked for, row made
    done: Counter[str] = field(default_factory=Counter)  # what the audit log should have

    def live(self, kind: str, **like: str) -> list[Row]:
        return [
            row
            for row in self.rows.values()
            if row.kind == kind and not row.revoked and all(getattr(row, k) == v for k, v in like.items())
        ]

    def expects(self, order: Order) -> str | None:
        """Return the code that this order must be refused with now; None if it must succeed."""
        row = self.rows.get(order.get("target", ""))
        match order["do"]:
            case "create_token":
                earlier = self.remembered.get(order.get("key", ""))
                if earlier is not None:
                    return None if earlier[0] == order["name"] else "idempotency_key_reused"
                return "name_taken" if self.live("token", name=order["name"]) else None
            case "create_key":
                return "too_many_keys" if len(self.live("key", user=order["user"])) >= MOST_KEYS else None
            case "rotate_key" | "extend_token":
                assert row is not None
                return "key_revoked" if row.revoked else None
        return None

    def apply(self, order: Order, answer: dict[str, Any]) -> None:
        """Take over what an order that succeeded did."""
        match order["do"]:
            case "create_token":
                self._create_token(order, answer)
            case "create_key":
                self._add(row_id(answer["key_id"]), Row("key", order["name"], order["user"], answer["secret"]))
            case "rotate_key":
                row = self.rows[order["target"]]
                self.dead.add(row.secret)
                row.secret = answer["secret"]
                self.done["api_key.rotated"] += 1
            case "revoke_key" | "revoke_token":
                self._revoke(self.rows[order["target"]])
            case "extend_token":
                self.done["service_token.extended"] += 1

    def _create_token(self, order: Order, answer: dict[str, Any]) -> None:
        made = self.remembered.get(order.get("key", ""))
        if made is not None:
            assert (made[1], self.rows[made[1]].secret) == (answer["token_id"], answer["token"])
            return
        self._add(answer["token_id"], Row("token", order["name"], None, answer["token"]))
        if "key" in order:
            self.remembered[order["key"]] = order["name"], answer["token_id"]

    def _add(self, identifier: str, row: Row) -> None:
        assert identifier not in self.rows
        self.rows[identifier] = row
        self.done["service_token.created" if row.kind == "token" else "api_key.created"] += 1

    def _revoke(self, row: Row) -> None:
        if not row.revoked:
            row.revoked = True
            self.done["service_token.revoked" if row.kind == "token" else "api_key.revoked"] += 1


def row_id(key_id: str) -> str:
    return str(UUID(key_id.removeprefix("key_")))


async def contested(service: Service) -> tuple[World, list[str]]:
    """Make three people, and the keys and tokens that there are before."""
    world, users = World(), []
    for _ in range(3):
        person = await service.register()
        users.append(person.id)
        for number in range(10):
            body = {"name": f"old {number}", "scopes": ["read"]}
            made = (await service.client.post("/v1/api-keys", json=body, headers=person.bearer)).json()
            world.apply({"do": "create_key", "name": body["name"], "user": person.id}, made)
    for number in range(20):
        body = {"name": f"old-{number}", "scopes": ["read"]}
        made = (await service.client.post("/auth/tokens", json=body, headers=ADMIN)).json()
        world.apply({"do": "create_token", "name": body["name"]}, made)
    return world, users


def deal(world: World, users: Sequence[str], chance: random.Random) -> list[Order]:
    """Return a thousand orders in random order: many more than there are names, keys and tokens."""
    old_keys = [(name, row.user) for name, row in world.rows.items() if row.kind == "key"]
    tokens = [name for name, row in world.rows.items() if row.kind == "token"]
    orders: list[Order] = [{"do": "create_token", "name": f"contested-{number % 50}"} for number in range(250)]
    for number in range(150):  # each Idempotency-Key five times, once for another request
        body = "other" if number % 5 == 4 else "same"
        orders.append({"do": "create_token", "name": f"once-{number // 5}-{body}", "key": f"key-{number // 5}"})
    orders += [{"do": "create_key", "name": f"key {number}", "user": users[number % 3]} for number in range(200)]
    for number in range(200):
        target, user = old_keys[number % 30]
        orders.append({"do": "rotate_key", "target": target, "user": user})
    for number in range(60):
        target, user = old_keys[number % 15]
        orders.append({"do": "revoke_key", "target": target, "user": user})
    orders += [{"do": "extend_token", "target": tokens[number % 20]} for number in range(100)]
    orders += [{"do": "revoke_token", "target": tokens[number % 10]} for number in range(40)]
    assert len(orders) == COMMANDS
    chance.shuffle(orders)
    return orders


def carry_out(orders: Sequence[Order], environ: dict[str, str]) -> list[tuple[Order, Order]]:
    """Have three processes carry out a third each at the same moment; return each order with what came of it."""
    with ExitStack() as stack:
        hands = [orders[number::PROCESSES] for number in range(PROCESSES)]
        processes = [stack.enter_context(WriterProcess(hand, environ, max_wait=60)) for hand in hands]
        for process in processes:
            process.wait_for("READY")
        for process in processes:
            process.go()
        answers = [process.answers() for process in processes]
    return [pair for hand, told in zip(hands, answers, strict=True) for pair in zip(hand, told, strict=True)]


def check_one_at_a_time(outcomes: Sequence[tuple[Order, Order]]) -> None:
    """The lock was never held twice: whatever ran in one transaction ended before the next one's first command."""
    spans: dict[str, list[float]] = {}
    sizes = Counter(told["transaction"] for _, told in outcomes)
    for _, told in outcomes:
        span = spans.setdefault(told["transaction"], [told["began"], told["ended"]])
        span[:] = [min(span[0], told["began"]), max(span[1], told["ended"])]
    assert max(sizes.values()) <= MAX_GROUP_SIZE
    for (_, ended), (began, _) in pairwise(sorted(spans.values())):
        assert ended < began


async def test_three_processes_and_1000_commands_make_one_serial_history(postgres: EmbeddedPostgres) -> None:
    """In the order in which they ran, every command was answered as if it were the only one."""
    root, url, seed = root_secret(), postgres.create_database("single_writer"), random.randrange(10**6)
    async with serving(url, root) as service:
        world, users = await contested(service)
        orders = deal(world, users, random.Random(seed))
        environ = {"DATABASE_URL": url, "IDP_SECRET_KEY": root, "IDP_API_KEYS__MAX_KEYS_PER_USER": str(MOST_KEYS)}
        outcomes = await asyncio.to_thread(carry_out, orders, environ)
        check_one_at_a_time(outcomes)
        for order, told in sorted(outcomes, key=lambda pair: pair[1]["began"]):
            assert told["code"] == world.expects(order), (order, told, f"seed {seed}")
            if told["code"] is None:
                world.apply(order, told["answer"])
        await check_nothing_is_lost_or_doubled(service, world)
        await check_secrets(service, world)


async def check_nothing_is_lost_or_doubled(service: Service, world: World) -> None:
    """The table and the audit log hold what was answered, once, and nothing else."""
    rows = await service.sql(
        "SELECT id::text, kind, name, user_id, revoked_at IS NOT NULL AS revoked FROM idp.api_keys"
    )
    found = {(row["id"], row["kind"], row["name"], row["user_id"], row["revoked"]) for row in rows}
    kinds = {"token": "service_token", "key": "user_key"}
    assert found == {(name, kinds[row.kind], row.name, row.user, row.revoked) for name, row in world.rows.items()}
    assert len(rows) == len(found)
    names = Counter(row.name for row in world.live("token"))
    assert max(names.values()) == 1
    assert sum(name.startswith("contested-") for name in names) == 50  # one winner each
    audit = await service.sql("SELECT action, count(*) FROM idp.audit_logs WHERE target IS NOT NULL GROUP BY action")
    counts = {row["action"]: row["count"] for row in audit if row["action"] in world.done}
    assert counts == dict(world.done)


async def check_secrets(service: Service, world: World) -> None:
    """Every secret that was answered is the one that counts, and every one that was replaced or revoked is not."""
    expected = {row.secret: not row.revoked for row in world.rows.values()} | dict.fromkeys(world.dead, False)
    assert len(expected) == len(world.rows) + len(world.dead)
    valid = {secret: (await service.validate(secret))["valid"] for secret in expected}
    assert valid == expected


# --- one group -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
async def one(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    async with serving(postgres.create_database("one_group"), root_secret()) as service:
        yield service


@asynccontextmanager
async def queue_on(core: Core) -> AsyncIterator[CommandQueue]:
    queue = CommandQueue(core.database)
    queue.start()
    try:
        yield queue
    finally:
        await queue.stop()


def creation(core: Core, name: str) -> Callable[[AsyncSession], Any]:
    key_factory = KeyFactory(core.settings.api_keys, core.peppers)

    async def make(session: AsyncSession) -> TokenSecret:
        return await keys.create_token(session, key_factory, Origin(actor="system"), NewToken(name, ["read"]))

    return make


async def refuse(session: AsyncSession) -> None:
    await creation_that_is_undone(session)
    raise NameTaken


async def violate(session: AsyncSession) -> None:
    await creation_that_is_undone(session)
    await session.execute(text("INSERT INTO idp.api_keys (id) VALUES (gen_random_uuid())"))


async def crash(session: AsyncSession) -> None:
    await creation_that_is_undone(session)
    raise KeyError("a mistake of ours")


async def creation_that_is_undone(session: AsyncSession) -> None:
    statement = "INSERT INTO idp.idempotent_answers VALUES (gen_random_uuid()::text, '', '', now())"
    await session.execute(text(statement))


async def test_a_failing_command_does_not_fail_its_neighbours_in_the_group(one: Service) -> None:
    """A refusal, a row that PostgreSQL refuses and a defect: each is rolled back alone, in one transaction."""
    core, transactions = one.app.core, set[str]()

    def noted(work: Callable[[AsyncSession], Any]) -> Callable[[AsyncSession], Any]:
        async def work_and_note(session: AsyncSession) -> Any:
            transactions.add(str(await session.scalar(text("SELECT pg_current_xact_id()::text"))))
            return await work(session)

        return work_and_note

    async with queue_on(core) as queue:
        works = [noted(creation(core, f"neighbour-{number}")) for number in range(4)]
        works = [works[0], noted(refuse), works[1], noted(violate), works[2], noted(crash), works[3]]
        outcomes = await asyncio.gather(*(queue.submit("change", work) for work in works), return_exceptions=True)
    made, failed = outcomes[::2], outcomes[1::2]
    assert [type(error) for error in failed] == [NameTaken, InternalError, InternalError]
    rows = await one.sql("SELECT id FROM idp.api_keys WHERE name LIKE 'neighbour-%'")
    assert {row["id"] for row in rows} == {token.token_id for token in made if isinstance(token, TokenSecret)}
    assert (len(rows), len(transactions)) == (4, 1)
    assert await one.sql("SELECT FROM idp.idempotent_answers") == []


async def test_a_command_that_waits_for_a_locked_row_fails_alone(one: Service) -> None:
    """A user's row that another transaction keeps locked stops a key for that user, and nobody else for long."""
    person = await one.register()
    core = one.app.core
    key_factory, origin = KeyFactory(core.settings.api_keys, core.peppers), Origin(actor="system")

    async def key_for_the_locked(session: AsyncSession) -> Any:
        return await keys.create_key(session, key_factory, origin, person.id, NewKey("stuck", ["read"]))

    async with queue_on(core) as queue, core.database.transaction() as holder:
        await holder.execute(text("SELECT FROM idp.users WHERE id = :id FOR UPDATE"), {"id": person.id})
        began = asyncio.get_running_loop().time()
        works = [creation(core, "beside-1"), *[key_for_the_locked] * 10, creation(core, "beside-2")]
        first, *stuck, last = await asyncio.gather(
            *(queue.submit("change", work) for work in works), return_exceptions=True
        )
        took = asyncio.get_running_loop().time() - began
    assert isinstance(first, TokenSecret)
    assert isinstance(last, TokenSecret)
    assert all(isinstance(error, IdpError) and error.status == 503 for error in stuck)
    assert took < 3


# --- marks of use (C-10) ---------------------------------------------------------------------------------------------

_TABLES = "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'idp' AND tablename <> 'audit_chain'"
_MARKS = "SELECT n_tup_upd AS marks FROM pg_stat_user_tables WHERE schemaname = 'idp' AND relname = 'api_keys'"
_MARK = "SELECT last_used_at, xmin::text FROM idp.api_keys WHERE name = 'marked'"


async def contents(service: Service) -> dict[str, tuple[int, int]]:
    """Return how many rows each table has, and which transaction wrote last; the chain, which follows, is left out."""
    found = {}
    for table in await service.sql(_TABLES):
        statement = f"SELECT count(*) AS rows, max(xmin::text::bigint) AS last FROM idp.{table['name']}"
        (row,) = await service.sql(statement)
        found[table["name"]] = (row["rows"], row["last"])
    return found


async def test_validation_writes_nothing_and_300_uses_are_marked_by_one_write(postgres: EmbeddedPostgres) -> None:
    root, url = root_secret(), postgres.create_database("marks")
    async with serving(url, root) as service:
        await service.app.core.keyring.signing_keys()  # they would be created in the background, meanwhile
        body = {"name": "marked", "scopes": ["read"]}
        token = (await service.client.post("/auth/tokens", json=body, headers=ADMIN)).json()["token"]
        before, mark = await contents(service), await service.sql(_MARK)
        for _ in range(300):
            assert (await service.validate(token))["valid"]
        assert await contents(service) == before
        assert await service.sql(_MARK) == mark
        assert mark[0]["last_used_at"] is None
    async with serving(url, root) as service:  # the first one wrote what it had noted when it ended
        (row,) = await service.sql(_MARK)
        assert row["last_used_at"] is not None
        (counted,) = await service.sql(_MARKS)  # its connections have told theirs when they ended
        assert counted["marks"] == 1
