"""The faults that `test_every_fault.py` causes, each with what clients may see."""

import asyncio
import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
import valkey
from confluent_kafka import Message

from cli.support import post
from db.pgbouncer_support import PGBOUNCER, PgBouncer
from events.kafka_support import read, value_of
from factories import PASSWORD
from faults.load_support import NO_ANSWER, NOT_CONNECTED
from faults.network_support import forwarded, namespace
from faults.nodes_support import Cluster, Node

Block = Callable[[], None]
_FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
_SECONDS = 2.0  # how long a fault lasts
_DEAD = frozenset({NO_ANSWER, NOT_CONNECTED})  # what clients of a killed process see
_SKEWED = frozenset({"401 token_invalid"})  # a token from the other side of the jump seems to be of the future


@dataclass(frozen=True)
class Fault:
    """A fault.

    Attributes:
        title: in the table; how: how it is caused.
        happening: a context manager that prepares it and yields a function that causes it, waits, and ends it; it
            skips the test where this machine cannot cause it.
        longest: seconds that no answer may exceed.
        heals_within: seconds after its end in which the last refusal must have been.
        may_see: what clients may see beside success and 503.
        may_refuse: whether 503 may be seen at all.
        has_settled: whether what waited meanwhile is done.
        unsettled: how much of it is lost.
    """

    title: str
    how: str
    happening: Callable[[Cluster], Iterator[Block]]
    longest: float = 6.0
    heals_within: float = 6.0
    may_see: frozenset[str] = frozenset()
    may_refuse: bool = True
    has_settled: Callable[[Cluster], bool] = lambda _: True
    unsettled: Callable[[Cluster], int] = lambda _: 0


# --- processes -------------------------------------------------------------------------------------------------------


def _process_killed(cluster: Cluster) -> Iterator[Block]:
    def cause() -> None:
        cluster.nodes[0].kill()
        time.sleep(0.5)
        cluster.nodes[0].start().wait()

    yield cause


def _process_paused(cluster: Cluster) -> Iterator[Block]:
    def cause() -> None:
        with cluster.nodes[1].paused():
            time.sleep(_SECONDS)

    yield cause


def _process_apart(cluster: Cluster) -> Iterator[Block]:
    with ExitStack() as stack:
        space = stack.enter_context(namespace())
        host = space.outside if space else "127.0.0.1"
        links = [
            stack.enter_context(forwarded(cluster.loop, url, host))
            for url in (cluster.database_url, cluster.valkey.url)
        ]
        urls = [url for _, url in links]
        environ = cluster.environ | {"DATABASE_URL": urls[0], "VALKEY_URL": urls[1]}
        apart = Node(
            cluster.folder / "apart",
            environ,
            before=space.enter if space else (),
            host=space.inside if space else "127.0.0.1",
        )
        stack.enter_context(cluster.with_nodes({2: apart}))

        def cause() -> None:
            if space is not None:
                space.drop([urlsplit(url).port or 0 for url in urls])
                time.sleep(_SECONDS)
                space.drop_nothing()
                return
            for forwarder, _ in links:
                cluster.loop.call(forwarder.passing.clear)
            time.sleep(_SECONDS)
            for forwarder, _ in links:
                cluster.loop.call(forwarder.passing.set)

        yield cause


def _clock_jumps(seconds: int) -> Callable[[Cluster], Iterator[Block]]:
    def happening(cluster: Cluster) -> Iterator[Block]:
        if _FAKETIME is None:
            pytest.skip("libfaketime is not installed (Debian's package has it)")
        offset = cluster.folder / f"offset{seconds}"
        offset.write_text("+0")
        variables = {
            "LD_PRELOAD": str(_FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(offset), "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }  # fmt: skip

        def cause() -> None:
            offset.write_text(f"{seconds:+}")
            time.sleep(_SECONDS)
            offset.write_text("+0")

        with cluster.with_nodes({2: Node(cluster.folder / f"clock{seconds}", cluster.environ | variables)}):
            yield cause

    return happening


# --- the database ----------------------------------------------------------------------------------------------------


def _database_restarted(cluster: Cluster) -> Iterator[Block]:
    def cause() -> None:
        cluster.postgres.stop()
        time.sleep(0.5)
        cluster.postgres.start()

    yield cause


def _database_crashes(cluster: Cluster) -> Iterator[Block]:
    def cause() -> None:
        cluster.postgres.kill()
        time.sleep(0.5)
        cluster.postgres.start()

    yield cause


def _database_hangs(cluster: Cluster) -> Iterator[Block]:
    def cause() -> None:
        cluster.postgres.pause()
        time.sleep(_SECONDS)
        cluster.postgres.resume()

    yield cause


def _disk_full(cluster: Cluster) -> Iterator[Block]:
    disk = cluster.disk
    if disk is None:
        pytest.skip("a small file system may not be mounted here")

    def cause() -> None:
        filler, failed = disk / "filler", 0
        until = time.monotonic() + _SECONDS
        with filler.open("wb", buffering=0) as file:
            while time.monotonic() < until:
                with suppress(OSError):
                    while True:
                        file.write(bytes(4096))
                try:
                    _use_up_the_log(cluster)
                except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                    failed += 1
                time.sleep(0.05)
        filler.unlink()
        assert failed
        cluster.postgres.start()  # as an orchestrator does, if it gave up

    yield cause


def _use_up_the_log(cluster: Cluster) -> None:
    """Leave the segments of the write-ahead log that have room, until there is no disk for another."""
    for _ in range(3):
        cluster.sql("SELECT pg_switch_wal()")
        cluster.sql("CREATE TABLE public.growing (content text)")
        cluster.sql("DROP TABLE public.growing")


def _connections_exhausted(cluster: Cluster) -> Iterator[Block]:
    taken: list[asyncpg.Connection] = []

    async def take_one() -> None:
        with suppress(asyncpg.PostgresError, OSError, TimeoutError):
            given = {"application_name": "taker"}
            taken.append(await asyncpg.connect(cluster.database_url, timeout=2, server_settings=given))

    async def take_all() -> None:
        end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name <> 'taker'"
        await take_one()
        until = time.monotonic() + _SECONDS
        while time.monotonic() < until:
            await asyncio.gather(*(take_one() for _ in range(20)))
            await taken[0].execute(f"{end} AND backend_type = 'client backend'")

    async def give_back() -> None:
        for connection in taken:
            connection.terminate()

    def cause() -> None:
        cluster.loop.run(take_all())
        cluster.loop.run(give_back())

    yield cause


# --- a pooler --------------------------------------------------------------------------------------------------------


@contextmanager
def _pooled(cluster: Cluster) -> Iterator[PgBouncer]:
    """Run all processes behind a PgBouncer in transaction mode."""
    if PGBOUNCER is None:
        pytest.skip("pgbouncer is not installed (Debian's package has it)")
    bouncer = PgBouncer(
        cluster.database_url, cluster.folder / "bouncer", default_pool_size="20", server_login_retry="1"
    )
    with bouncer:
        environ = cluster.environ | {"DATABASE_URL": bouncer.url, "DATABASE_DIRECT_URL": cluster.database_url}
        with cluster.with_nodes({number: Node(cluster.folder / f"pooled{number}", environ) for number in range(3)}):
            yield bouncer


def _pooler_in_front(cluster: Cluster) -> Iterator[Block]:
    with _pooled(cluster):
        yield lambda: time.sleep(_SECONDS)


def _pooler_restarted(cluster: Cluster) -> Iterator[Block]:
    with _pooled(cluster) as bouncer:

        def cause() -> None:
            bouncer.stop()
            time.sleep(1)
            bouncer.start()

        yield cause


# --- Valkey, Kafka, SMTP ---------------------------------------------------------------------------------------------


def _valkey_killed(cluster: Cluster) -> Iterator[Block]:
    def cause() -> None:
        cluster.valkey.stop()
        time.sleep(_SECONDS)
        cluster.valkey.start()

    yield cause


def _valkey_paused(cluster: Cluster) -> Iterator[Block]:
    def cause() -> None:
        cluster.valkey.pause()
        time.sleep(_SECONDS)
        cluster.valkey.resume()

    yield cause


def _valkey_read_only(cluster: Cluster) -> Iterator[Block]:
    def cause() -> None:
        with valkey.Valkey.from_url(cluster.valkey.url) as client:
            client.execute_command("REPLICAOF", "127.0.0.1", "1")
            time.sleep(_SECONDS)
            client.execute_command("REPLICAOF", "NO", "ONE")

    yield cause


def _kafka_stopped(cluster: Cluster) -> Iterator[Block]:
    def cause() -> None:
        os.kill(cluster.kafka_pid, signal.SIGSTOP)
        time.sleep(_SECONDS)
        os.kill(cluster.kafka_pid, signal.SIGCONT)

    yield cause


def _all_published(cluster: Cluster) -> bool:
    return not cluster.sql("SELECT FROM idp.outbox_unpublished LIMIT 1")


def _missing_in_kafka(cluster: Cluster) -> int:
    ids = {str(row["id"]) for row in cluster.sql("SELECT id FROM idp.outbox")}

    def has_all(messages: list[Message]) -> bool:
        ids.difference_update(value_of(message)["id"] for message in messages[-1000:])
        return not ids

    with suppress(AssertionError):
        read(cluster.kafka, "users", until=has_all, seconds=10)
    return len(ids)


def _post_office_closed(cluster: Cluster) -> Iterator[Block]:
    def cause() -> None:
        cluster.close_office()
        for node in cluster.nodes:
            email = f"{secrets.token_hex(6)}@example.com"
            registered = post(f"{node.base_url}/auth/register", {"email": email, "password": PASSWORD, "name": "Pat"})
            asked = post(f"{node.base_url}/api/auth/password/reset/request", {"email": email})
            assert (registered.status, asked.status) == (200, 200), (registered, asked)
            cluster.mailed.append(email)
        time.sleep(_SECONDS)
        cluster.open_office()

    yield cause


def _undelivered(cluster: Cluster) -> int:
    return len(set(cluster.mailed) - {recipient for recipient, _ in cluster.office.delivered})


FAULTS = {
    "process killed": Fault(
        "A process is killed", "SIGKILL in the middle of writes; restarted after half a second", _process_killed,
        may_see=_DEAD,
    ),
    "process paused": Fault("A process stands still", "SIGSTOP for 2 s", _process_paused),
    "process apart": Fault(
        "A process is cut off from PostgreSQL and Valkey",
        "for 2 s all packets between them are dropped (iptables in a network namespace, or a proxy where that is not "
        "permitted)",
        _process_apart,
    ),
    "clock ahead": Fault(
        "The clock of a process jumps ahead", "by 10 minutes, for 2 s (libfaketime)", _clock_jumps(600),
        may_see=_SKEWED, may_refuse=False,
    ),
    "clock behind": Fault(
        "The clock of a process jumps back", "by 10 minutes, for 2 s (libfaketime)", _clock_jumps(-600),
        may_see=_SKEWED, may_refuse=False,
    ),
    "database restarted": Fault("PostgreSQL is restarted", "a fast shutdown and a start", _database_restarted),
    "database crashes": Fault("PostgreSQL crashes", "SIGKILL to all its processes, and recovery", _database_crashes),
    "database hangs": Fault("PostgreSQL hangs", "SIGSTOP to all its processes for 2 s", _database_hangs),
    "disk full": Fault(
        "PostgreSQL's disk is full", "the file system of its data (256 MB) is filled for 2 s; its log has to grow",
        _disk_full,
    ),
    "connections exhausted": Fault(
        "PostgreSQL has no connection left", "another client takes all of them, ours included, for 2 s",
        _connections_exhausted,
    ),
    "pooler in front": Fault(
        "PgBouncer is in front", "transaction mode; no fault", _pooler_in_front, may_refuse=False,
    ),
    "pooler restarted": Fault("PgBouncer is restarted", "away for 1 s", _pooler_restarted),
    "valkey killed": Fault("Valkey is killed", "SIGKILL, back after 2 s", _valkey_killed, may_refuse=False),
    "valkey paused": Fault("Valkey hangs", "SIGSTOP for 2 s", _valkey_paused, may_refuse=False),
    "valkey read-only": Fault("Valkey is read-only", "a replica for 2 s", _valkey_read_only, may_refuse=False),
    "kafka stopped": Fault(
        "Kafka hangs", "SIGSTOP for 2 s to a mock cluster of librdkafka; healed when all events are published",
        _kafka_stopped, may_refuse=False, heals_within=12, has_settled=_all_published, unsettled=_missing_in_kafka,
    ),
    "smtp down": Fault(
        "The SMTP server is away", "for 2 s while mails are promised; healed when all are delivered",
        _post_office_closed, may_refuse=False, heals_within=15,
        has_settled=lambda cluster: not _undelivered(cluster), unsettled=_undelivered,
    ),
}  # fmt: skip
