"""Migrated and seeded databases: created once for each server, then copied."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import asyncpg
import msgspec

from event_triggers import install
from idp.db.engine import Database
from idp.db.migrate import upgrade
from idp.directory import seed
from idp.settings import LoadedSettings, Secret, seed_file
from idp.users import service as users

_OBJECTS = "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname !~ '^(pg_|info)'"
# What migration 0004 draws at random: no two databases have the same.
_RENEW = """
UPDATE idp.installation SET value = CASE name WHEN 'changes_channel' THEN 'idp_' || left(random, 48) ELSE random END
  FROM (SELECT replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', '') AS random) drawn
"""
_templates: dict[tuple[str, str], str | None] = {}


async def prepare(loaded: LoadedSettings) -> None:
    """Leave a database as `idp migrate` does: migrated and seeded.

    The first one on a server is migrated. At the second a template is made, of which this and the later ones are
    copies. A database that has anything in it is migrated as it is.
    """
    url = _url(loaded)
    server = urlsplit(url).netloc, str(seed_file(loaded.settings))
    if server not in _templates:
        _templates[server] = None
        await migrate(loaded)
        return
    name = urlsplit(url).path[1:]
    async with _connected(url) as connection:
        is_empty = await connection.fetchval(_OBJECTS) == 0
    if not is_empty:
        await migrate(loaded)
        return
    async with _connected(_beside(url, "idp")) as connection:
        template = _templates[server] or await _make_template(connection, loaded)
        _templates[server] = template
        await connection.execute(f'DROP DATABASE "{name}"')
        await _create(connection, name, template)
    async with _connected(url) as connection:
        await connection.execute(_RENEW)


async def migrate(loaded: LoadedSettings) -> None:
    """Migrate and seed a database step by step, as `idp migrate` does, and let it check that changes publish."""
    database = Database(loaded.settings.database)
    await upgrade(database)
    async with database.transaction() as session:
        await users.ensure_roles(session)
        await seed.apply(session, seed.read(seed_file(loaded.settings)))
    await database.close()
    async with _connected(_url(loaded)) as connection:
        await install(connection)


async def _make_template(connection: asyncpg.Connection, loaded: LoadedSettings) -> str:
    """Make a database that is migrated and seeded, and used for nothing else; return its name."""
    name = f"template_{secrets.token_hex(4)}"
    await _create(connection, name, "template0")
    address = Secret(_beside(_url(loaded), name))
    settings = msgspec.structs.replace(loaded.settings.database, url=address, migration_url=None)
    everything = msgspec.structs.replace(loaded.settings, database=settings)
    await migrate(msgspec.structs.replace(loaded, settings=everything))
    return name


async def _create(connection: asyncpg.Connection, name: str, template: str) -> None:
    """Create a database as `EmbeddedPostgres.create_database` does."""
    await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    await connection.execute(f'ALTER DATABASE "{name}" SET search_path = idp, public')


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


def _url(loaded: LoadedSettings) -> str:
    url = loaded.settings.database.url
    assert url is not None
    return url.reveal()


def _beside(url: str, name: str) -> str:
    """Return the address of another database of the same server."""
    return urlsplit(url)._replace(path=f"/{name}", query="").geturl()
