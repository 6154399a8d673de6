"""What `idp serve` does with the database before it serves: migrates an empty one, seeds, and looks for mistakes."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from idp.db.engine import Database
    from idp.settings import Secret, Settings

_SEEDING = 0x1D9_5EE2  # the advisory lock of the one process that seeds


def prepare_database(log: Any, settings: "Settings") -> None:
    """Migrate an empty database, or any if RUN_MIGRATIONS asks for it; refuse one that is behind or of `idp dev`.

    One that is away may come back while we serve.

    Raises:
        DatabaseNotReady: with the reason.
    """
    from idp.cli.database import judged, migrate_now, with_database
    from idp.cli.database_trouble import DatabaseAway
    from idp.db.migrate import is_empty

    logging.getLogger("alembic").setLevel(logging.WARNING)  # it lists its plugins, and we say what was done
    try:
        if settings.database.run_migrations or with_database(settings, is_empty):
            for sentence in migrate_now(settings):
                log.info(sentence)
        else:
            exact, sentence = judged(with_database(settings, _revision))
            if not exact:
                log.warning(sentence)
        problem = with_database(settings, lambda database: _finish(database, settings))
    except DatabaseAway as error:
        if settings.database.run_migrations:
            raise
        log.warning("the database does not answer yet; /readyz says 503 until it does", reason=str(error))
        return
    if problem is not None:
        log.error(problem)


async def _revision(database: "Database") -> str | None:
    from idp.db.migrate import current

    return await current(database)


async def _finish(database: "Database", settings: "Settings") -> str | None:
    """Refuse a database of `idp dev`, seed, and return a sentence about signing keys that cannot be opened."""
    await refuse_development(database)
    await seed_database(database, settings)
    return await sealed_keys(database, settings)


async def refuse_development(database: "Database") -> None:
    """Refuse a database that `idp dev` has written to (decision 0027).

    Raises:
        DatabaseNotReady: how to go on.
    """
    from idp.cli.database_trouble import DatabaseNotReady
    from idp.db import installation

    if await installation.find(database, installation.DEVELOPMENT) is not None:
        raise DatabaseNotReady(installation.OF_DEVELOPMENT)


async def seed_database(database: "Database", settings: "Settings") -> int:
    """Add the roles, teams and domains of the seed that are missing; return how many teams and domains those were.

    Of several starters one works at a time, so that none meets another's half-written rows.
    """
    from sqlalchemy import text

    from idp.directory import seed
    from idp.settings import seed_file
    from idp.users import service as users

    planted = seed.read(seed_file(settings))
    async with database.transaction() as session:
        await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SEEDING})
        await users.ensure_roles(session)
        return await seed.plant(session, planted)


async def sealed_keys(database: "Database", settings: "Settings") -> str | None:
    """Return a sentence where there are signing keys and no secret of ours opens any of them, else None."""
    from idp.errors import SigningKeysSealed
    from idp.parts import root_secrets
    from idp.signing.keyring import all_sealed
    from idp.signing.sealing import Sealer

    roots: Sequence[Secret] = root_secrets(settings)
    return f"{SigningKeysSealed.text} {SigningKeysSealed.remedy}" if await all_sealed(database, Sealer(roots)) else None
