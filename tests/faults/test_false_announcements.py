"""A role with only CONNECT sends forged change notifications (rule 5, decision 0026)."""

import itertools
from urllib.parse import quote, urlsplit

import asyncpg
import pytest

from factories import PASSWORD, postgres_bin, running
from idp.db.changes import Changes
from idp.db.snapshot import Snapshot, Stamp
from idp.dev import initdb
from idp.dev.embedded import EmbeddedPostgres
from idp.settings import load
from prepared_databases import migrate

LARGEST = 2**63 - 1


async def channel_of(connection: asyncpg.Connection) -> str:
    name = await connection.fetchval("SELECT value FROM idp.installation WHERE name = 'changes_channel'")
    assert isinstance(name, str)
    return name


async def test_a_false_announcement_leaves_every_verdict_as_it_is(postgres: EmbeddedPostgres) -> None:
    """Even on the right channel, a number that no transaction has had stops nothing."""
    async with running(postgres.create_database("false_announcements")) as service:
        connection = await asyncpg.connect(service.database_url)
        channels = ("idp_changes", await channel_of(connection))
        for transaction, what in itertools.product(
            (str(LARGEST), "9" * 40, "-1", "x", "²"), ("directory", "signing", "user:x", "")
        ):
            person = await service.register()
            for channel in channels:
                for _ in range(20):
                    await connection.execute("SELECT pg_notify($1, $2)", channel, f"{transaction} {what}")
            await service.app.core.change_listener.catch_up()
            assert (await service.me(person.bearer)).status_code == 200, (transaction, what)
            assert (await service.validate((await service.sign_in(person)).token))["valid"] is True
            assert (await service.client.get("/readyz")).status_code == 200
            # And real changes are heard as before.
            await connection.execute("UPDATE idp.users SET is_active = false WHERE id = $1", person.id)
            await service.app.core.change_listener.catch_up()
            assert (await service.me(person.bearer)).status_code in {401, 403}
        await connection.close()


async def test_a_transaction_that_is_held_open_and_announced_stops_nothing(postgres: EmbeddedPostgres) -> None:
    """Rule 5: a read that began after the announcement was heard needs no test."""
    async with running(postgres.create_database("held_open")) as service:
        person = await service.register()
        holder = await asyncpg.connect(service.database_url)
        async with holder.transaction():
            number = await holder.fetchval("SELECT pg_current_xact_id()::text")
            other = await asyncpg.connect(service.database_url)
            await other.execute("SELECT pg_notify($1, $2)", await channel_of(other), f"{number} directory")
            await other.close()
            await service.app.core.change_listener.catch_up()
            for _ in range(5):
                assert (await service.me(person.bearer)).status_code == 200
        await holder.close()


async def test_a_role_that_may_only_connect_learns_no_name_to_announce_on(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Neither the table nor the text of a function tells it, and the name is another one in each database."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("one_more_role"), bin_dir=postgres_bin())
    with pytest.MonkeyPatch.context() as patch:
        more = f"CREATE ROLE merely_connects LOGIN PASSWORD '{PASSWORD}'\n"
        patch.setattr(initdb, "_BOOTSTRAP", initdb._BOOTSTRAP + more)
        server.start()
    names = []
    try:
        for database in ("channel_one", "channel_two"):
            url = server.create_database(database)
            await migrate(load("production", environ={"DATABASE_URL": url}))
            owner = await asyncpg.connect(url)
            names.append(await channel_of(owner))
            await owner.close()
            parts = urlsplit(url)
            guest = await asyncpg.connect(
                parts._replace(netloc=f"merely_connects:{quote(PASSWORD)}@{parts.hostname}:{parts.port}").geturl()
            )
            for statement in (
                "SELECT * FROM idp.installation",
                "SELECT idp.announce('directory')",
                "INSERT INTO idp.change_log VALUES (1, 'directory')",
                "DELETE FROM idp.change_log",
            ):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await guest.fetch(statement)
            texts = await guest.fetch("SELECT prosrc FROM pg_proc WHERE proname LIKE 'announce_%'")
            assert texts
            assert not any(names[-1] in row["prosrc"] for row in texts)
            await guest.close()
    finally:
        server.stop()
    assert names[0] != names[1]
    assert all(len(name) >= 36 for name in names)


def test_false_announcements_are_dropped_and_true_ones_kept() -> None:
    """Transaction ids beyond the newest snapshot are ignored."""
    changes, old = Changes(), Stamp("here", Snapshot(100, 100))
    changes.reset()
    changes.set_first_floor(old)
    changes.record_change("user:a", 150)
    changes.record_change("user:b", LARGEST)
    assert not changes.still_holds(old, ("user:a",))
    assert not changes.still_holds(old, ("user:b",))
    changes.discard_forged_notifications(changes.version, 160)
    assert not changes.still_holds(old, ("user:a",)), "this transaction has been"
    assert changes.still_holds(old, ("user:b",)), "this one cannot have been"


def test_a_read_that_began_after_a_change_notice_needs_no_check() -> None:
    """Rule 5, as it is written; a read that began before, or another process's, is compared as ever."""
    changes, stamp = Changes(), Stamp("here", Snapshot(100, 100))
    changes.reset()
    changes.set_first_floor(stamp)
    before = changes.version
    changes.record_change("user:a", 150)
    assert changes.contradicts(stamp, ("user:a",), before)
    assert changes.contradicts(stamp, ("user:a",))
    assert not changes.contradicts(stamp, ("user:a",), changes.version)
