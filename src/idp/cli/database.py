"""`idp migrate` and `idp check-db`."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

from idp.cli.failure import Failure

if TYPE_CHECKING:
    from idp.db.engine import Database
    from idp.settings import Secret, Settings

T = TypeVar("T")
_MOST_MISFILED = 20  # addresses that `check-db` names
_NO_LIMIT = 3600.0  # seconds; a migration may take longer than any request


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; exit 1 if the database is not at this version.")
def migrate(check: bool) -> None:
    """Bring the database to this version, and make the teams, domains and roles of the seed that are missing."""
    from idp.settings import load

    settings = load("production").settings
    if check:
        from idp.db.migrate import current

        _, sentence = judged(with_database(settings, current))
        print(sentence)
        return
    for sentence in migrate_now(settings):
        print(sentence)


def migrate_now(settings: "Settings") -> list[str]:
    """Migrate and seed.

    Returns:
        Sentences about what was done.

    Raises:
        DatabaseNotReady: with the reason.
    """

    async def work(database: "Database") -> list[str]:
        from idp.cli.preparation import seed_database
        from idp.db.migrate import current, upgrade
        from idp.directory import seed
        from idp.settings import seed_file

        seed.read(seed_file(settings))  # what is wrong with it is told before anything is changed
        if is_newer(await current(database)):
            return ["The database is newer than this version: nothing was changed."]
        changed = await upgrade(database)
        made = await seed_database(database, settings)
        remark = await _grant(database, settings)
        return [
            "The database was migrated." if changed else "The database is up to date.",
            *([f"Made {made} of the seed's teams and domains."] if made else []),
            *([remark] if remark else []),
        ]

    return with_database(settings, work, as_owner=True)


async def _grant(database: "Database", settings: "Settings") -> str | None:
    """Give the service's role what it needs, where an owner's migrates; return a sentence about what is in the way."""
    from idp.db.grants import grant, role_of

    service = settings.database.url
    role = role_of(service.reveal()) if service and settings.database.migration_url else None
    return await grant(database, role) if role else None


@click.command("check-db")
def check_db() -> None:
    """Check the connection, the version of the tables, and that the signing keys can be opened."""
    from idp.settings import load, root_secret

    async def look(database: "Database") -> tuple[str, str, bool, str | None]:
        from sqlalchemy import text

        from idp.db.migrate import current

        async with database.engine.connect() as connection:
            version = (await connection.execute(text("SHOW server_version"))).scalar_one()
            name = (await connection.execute(text("SELECT current_database()"))).scalar_one()
            tls = (await connection.execute(text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))).scalar()
        return str(version), str(name), bool(tls), await current(database)

    settings = load("production").settings
    version, name, tls, revision = with_database(settings, look)
    print(f"PostgreSQL {version.split()[0]}, database {name}, {'with' if tls else 'without'} TLS.")
    if int(version.split(".")[0]) < 15:
        from idp.cli.database_trouble import DatabaseNotReady

        raise DatabaseNotReady(f"PostgreSQL {version.split()[0]} is too old: use 15 to 18.")
    print(judged(revision)[1])
    if root_secret(settings) is not None:
        from idp.cli.preparation import sealed_keys
        from idp.db import installation

        if with_database(settings, lambda database: installation.find(database, installation.DEVELOPMENT)):
            print(installation.OF_DEVELOPMENT)
        if problem := with_database(settings, lambda database: sealed_keys(database, settings)):
            raise Failure(problem)
    for line in with_database(settings, _misfiled):
        print(line)


async def _misfiled(database: "Database") -> list[str]:
    """Return a sentence about each account that its own address does not find, and one that says what to do."""
    from idp.users.address_check import misfiled_addresses

    async with database.transaction() as session:
        found = await misfiled_addresses(session, most=_MOST_MISFILED)
    if not found:
        return []
    lines = [f"Warning: {each}" for each in found]
    return [*lines, "Give each of these users another address: docs/operations.md#addresses-that-check-db-names."]


def with_database(
    settings: "Settings", work: "Callable[[Database], Coroutine[Any, Any, T]]", *, as_owner: bool = False
) -> T:
    """Run work on a pool of its own.

    Args:
        as_owner: use DATABASE_MIGRATION_URL, an owner's, where the service's own role may not change tables.

    Raises:
        DatabaseUrlError: the address cannot be one.
        DatabaseAway: it does not answer.
        DatabaseNotReady: it refuses, or was never migrated.
    """
    import msgspec

    from idp.db.engine import Database

    limits, variable = settings.database, "DATABASE_URL"
    if as_owner:
        variable, url = _owners_url(settings)
        limits = msgspec.structs.replace(limits, url=url, statement_timeout_seconds=_NO_LIMIT)
    if limits.url is None:
        raise Failure("DATABASE_URL is not set: put postgresql://user:password@host:5432/database there.")
    database = Database(limits)
    return run(database, work(database), url=limits.url, variable=variable)


def _owners_url(settings: "Settings") -> "tuple[str, Secret | None]":
    """Return the address to migrate by, and the variable that it stands in."""
    database = settings.database
    if database.migration_url:
        return "DATABASE_MIGRATION_URL", database.migration_url
    return ("DATABASE_DIRECT_URL", database.direct_url) if database.direct_url else ("DATABASE_URL", database.url)


def run(database: "Database", work: Coroutine[Any, Any, T], *, url: "Secret", variable: str = "DATABASE_URL") -> T:
    """Run work that uses this pool, close it, and put what the database says into a sentence; raises as above."""
    import asyncio

    from idp.cli.database_trouble import explained

    _log_to_stderr()

    async def closing() -> T:
        try:
            return await work
        finally:
            await database.close()

    try:
        return asyncio.run(closing())
    except Exception as error:
        failure = explained(error, url.reveal(), variable=variable)
        if failure is None:
            raise
        raise failure from None


def _log_to_stderr() -> None:
    """Keep what the service would log out of a command's output, and warnings away: the failure says it all."""
    import logging
    import sys

    import structlog

    if not structlog.is_configured():
        structlog.configure(
            wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
            logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        )


def is_newer(revision: str | None) -> bool:
    """Say whether a later version of idp migrated this database (revisions are numbered: 0001, 0002)."""
    from idp.db.migrate import head

    return revision is not None and revision > head()


def judged(revision: str | None) -> tuple[bool, str]:
    """Return whether the database is exactly at this version, and the sentence that says so.

    Raises:
        DatabaseNotReady: it is behind.
    """
    from idp.cli.database_trouble import DatabaseNotReady
    from idp.db.migrate import head

    if revision is None:
        raise DatabaseNotReady("The database was never migrated: run `idp migrate`.")
    if is_newer(revision):
        return False, f"The database is at revision {revision}, newer than this version, which knows {head()}."
    if revision != head():
        raise DatabaseNotReady(
            f"The database is at revision {revision}, this version needs {head()}: run `idp migrate`."
        )
    return True, f"The database is at revision {revision}, as this version needs."
