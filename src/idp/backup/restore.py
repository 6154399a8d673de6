"""Restores a backup: the schema by its migrations, then its rows, then the migrations since."""

from collections.abc import Iterator

from sqlalchemy import text

from idp.backup.dump import Summary
from idp.backup.load import load, read_head
from idp.backup.records import Record
from idp.backup.sealed_file import UnreadableBackup
from idp.db import migrate
from idp.db.base import SCHEMA
from idp.db.engine import Database

KEPT = f"{SCHEMA}_before_restore"
_EXISTS = text("SELECT to_regnamespace(:name) IS NOT NULL")
_HAS_LEASES = text("SELECT to_regclass('idp.leases') IS NOT NULL")
_IS_LED = text("SELECT EXISTS (SELECT FROM idp.leases WHERE expires_at > clock_timestamp())")
# Nothing that a process or Valkey read before the restore may be used: see rule 5.
_ANNOUNCE = text("SELECT idp.announce('directory'), idp.announce('signing')")
_END_SESSIONS = text("UPDATE idp.user_sessions SET ended_at = now(), ended_reason = 'restored' WHERE ended_at IS NULL")


class ServiceRunning(Exception):
    """A process of the service uses the database; the message says what to do."""


class NotEmpty(Exception):
    """The database has data of idp, or what an earlier restore kept; the message says what to do."""


async def restore(database: Database, records: Iterator[Record], *, replace: bool, end_sessions: bool) -> Summary:
    """Restore a backup.

    Args:
        database: connected as the owner of the tables.
        records: of the backup.
        replace: keep present data as the schema `idp_before_restore`, instead of refusing.
        end_sessions: end all sessions, because those that ended after the backup would be valid again.

    Raises:
        NotEmpty: there is data, and `replace` is false; or an earlier restore kept some.
        ServiceRunning: the service runs on this database.
        UnreadableBackup: the backup cannot be used; the database is as before.
        DatabaseUnavailable: PostgreSQL is unavailable.
    """
    head = read_head(records)
    if head.revision > migrate.head():
        raise UnreadableBackup(f"The backup is of a newer version of idp (schema {head.revision}): use that one.")
    kept = await _make_room(database, replace=replace)
    try:
        await migrate.upgrade(database, to=head.revision)
        summary = await load(database, records, head)
    except BaseException:
        await _undo(database, kept=kept)
        raise
    await migrate.upgrade(database)
    async with database.transaction() as session:
        if end_sessions:
            await session.execute(_END_SESSIONS)
        await session.execute(_ANNOUNCE)
    return summary


async def _make_room(database: Database, *, replace: bool) -> bool:
    """Rename the schema, if there is one; return whether there was."""
    async with database.transaction() as session:
        if not await session.scalar(_EXISTS, {"name": SCHEMA}):
            return False
        if not await migrate.is_empty(database):
            if not replace:
                raise NotEmpty(
                    f"The database has data of idp. Use another one, or --replace, which keeps it as {KEPT}."
                )
            if await session.scalar(_EXISTS, {"name": KEPT}):
                raise NotEmpty(f"An earlier restore kept {KEPT}: drop it first (DROP SCHEMA {KEPT} CASCADE).")
            if await session.scalar(_HAS_LEASES) and await session.scalar(_IS_LED):
                raise ServiceRunning("The service runs on this database: stop it, and try again half a minute later.")
            await session.execute(text(f"ALTER SCHEMA {SCHEMA} RENAME TO {KEPT}"))
            return True
        return False


async def _undo(database: Database, *, kept: bool) -> None:
    async with database.transaction() as session:
        await session.execute(text(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE"))
        if kept:
            await session.execute(text(f"ALTER SCHEMA {KEPT} RENAME TO {SCHEMA}"))


async def drop(database: Database) -> None:
    """Drop the schema of a restore that was only a check."""
    await _undo(database, kept=False)
