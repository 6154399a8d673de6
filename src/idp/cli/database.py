"""`idp migrate` and `idp check-db`."""

from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import rich_click as click

from idp.cli.failure import Failure
from idp.cli.service_options import with_output

if TYPE_CHECKING:
    from idp.db.engine import Database
    from idp.settings import Secret, Settings

T = TypeVar("T")
_MOST_MISFILED = 20  # addresses that `check-db` names
_NO_LIMIT = 3600.0  # seconds; a migration may take longer than any request


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; exit 1 if the database is not at this version.")
@with_output
def migrate(check: bool, output: str) -> None:
    """Run migrations, and create the teams, domains and roles of the seed that are missing."""
    from idp.cli.production import load_for_database

    settings = load_for_database().settings
    if check:
        from idp.db.migrate import current

        _print_messages([judged(with_database(settings, current))[1]], output)
        return
    _print_messages(migrate_now(settings), output)


def _print_messages(messages: list[str], output: str) -> None:
    if output == "json":
        from idp.cli.tables import print_json

        print_json({"messages": messages})
        return
    for sentence in messages:
        print(sentence)


def migrate_now(settings: "Settings") -> list[str]:
    """Migrate and seed.

    Returns:
        Sentences about what was done.

    Raises:
        DatabaseNotReady: with the reason.
    """

    async def work(database: "Database") -> list[str]:
        from idp.cli.database_contents import seed_database
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
@with_output
def check_db(output: str) -> None:
    """Check the connection, the version of the tables, and that the signing keys can be opened."""
    from idp.cli.production import load_for_database
    from idp.cli.tables import print_json

    settings = load_for_database().settings
    facts = with_database(settings, _look)
    messages = _findings(settings, facts)
    if output == "table":
        for sentence in messages:
            print(sentence)
        return
    print_json({**facts._asdict(), "messages": list(messages)})


class _Facts(NamedTuple):
    """What a database says of itself; `revision` is None where it was never migrated."""

    server_version: str
    database: str
    tls: bool
    revision: str | None


async def _look(database: "Database") -> _Facts:
    from sqlalchemy import text

    from idp.db.migrate import current

    async with database.engine.connect() as connection:
        version = (await connection.execute(text("SHOW server_version"))).scalar_one()
        name = (await connection.execute(text("SELECT current_database()"))).scalar_one()
        tls = (await connection.execute(text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))).scalar()
    return _Facts(str(version).split()[0], str(name), bool(tls), await current(database))


def _findings(settings: "Settings", facts: _Facts) -> Iterator[str]:
    """Yield a sentence about each thing that is in order or not.

    Raises:
        Failure: the service cannot work with this database.
    """
    from idp.settings import root_secret

    yield f"PostgreSQL {facts.server_version}, database {facts.database}, {'with' if facts.tls else 'without'} TLS."
    if int(facts.server_version.split(".")[0]) < 15:
        from idp.cli.database_errors import DatabaseNotReady

        raise DatabaseNotReady(f"PostgreSQL {facts.server_version} is too old: use 15 to 18.")
    yield judged(facts.revision)[1]
    if root_secret(settings) is not None:
        from idp.cli.database_contents import sealed_keys
        from idp.db import installation

        if with_database(settings, lambda database: installation.find(database, installation.DEVELOPMENT)):
            yield installation.OF_DEVELOPMENT
        if problem := with_database(settings, lambda database: sealed_keys(database, settings)):
            raise Failure(problem)
    yield from with_database(settings, _misfiled)


async def _misfiled(database: "Database") -> list[str]:
    """Return a sentence about each account that its own address does not find, and one that says what to do."""
    from idp.users.address_check import misfiled_addresses

    async with database.transaction() as session:
        found = await misfiled_addresses(session, most=_MOST_MISFILED)
    if not found:
        return []
    lines = [f"Warning: {each}" for each in found]
    return [*lines, "Give each of these users another address: docs/operations.md#addresses-reported-by-check-db."]


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

    from idp.cli.database_errors import explained

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
    from idp.cli.database_errors import DatabaseNotReady
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
