"""Values that belong to this installation and stand in its database alone (migration 0004).

`proof_salt` is mixed into the keys of proofs where a shared secret stands in for the root secret (decision 0025).
`changes_channel` is the name of the channel on which changes are announced (decision 0026).
`development` is there once `idp dev` has written to the database (decision 0027).
"""

import secrets
from typing import Any

from idp.db.engine import Database

CHANNEL = "changes_channel"
SALT = "proof_salt"
DEVELOPMENT = "development"

OF_DEVELOPMENT = (
    "`idp dev` has written to this database: sessions, keys and cookies that were made in development would be "
    "accepted in production. Use a database of its own, or revoke them with `idp clear-development-mark`."
)
READ = "SELECT value FROM idp.installation WHERE name = $1"
# Of several starters at once one adds the row; all of them read the same value afterwards.
_ADD = "INSERT INTO idp.installation (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING"
_REMOVE = "DELETE FROM idp.installation WHERE name = $1"


async def find(database: Database, name: str) -> str | None:
    """Return a value, None where there is none.

    Raises:
        DatabaseUnavailable: PostgreSQL is away.
    """
    row = await database.reads.fetchrow(READ, name)
    return None if row is None else str(row["value"])


async def add(database: Database, name: str, value: str) -> None:
    """Add a value, unless there is one already; raises as `find` does."""
    await database.reads.fetch(_ADD, name, value)


async def remove(database: Database, name: str) -> None:
    """Remove a value; raises as `find` does."""
    await database.reads.fetch(_REMOVE, name)


async def proof_salt(database: Database) -> bytes:
    """Return the salt; draw it the first time. Raises as `find` does."""
    salt = await find(database, SALT)
    if salt is None:
        await add(database, SALT, secrets.token_hex(32))
        salt = await find(database, SALT)
        assert salt is not None
    return salt.encode()


async def read_channel(connection: Any) -> str:
    """Return the name of the channel on which this database announces changes.

    Args:
        connection: of asyncpg.
    """
    value = await connection.fetchval(READ, CHANNEL)
    if value is None:
        raise ConnectionError("the database names no channel for changes: idp.installation was emptied by hand")
    return str(value)
