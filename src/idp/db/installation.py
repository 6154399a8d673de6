"""Values of this installation, stored only in its database (migration 0004).

`proof_salt`: salt for the keys of proofs if a shared secret replaces the root secret (decision 0025).
`changes_channel`: name of the notification channel (decision 0026). `development`: set if `idp dev` has used the
database (decision 0027). `last_backup`: when `idp backup` last succeeded.
"""

import secrets
from typing import Any

from idp.db.engine import Database

CHANNEL = "changes_channel"
SALT = "proof_salt"
DEVELOPMENT = "development"
BACKUP = "last_backup"

DEVELOPMENT_DATABASE_MESSAGE = (
    "`idp dev` has used this database: its sessions, keys and cookies would be accepted in production. "
    "Use another database, or revoke them with `idp clear-development-mark`."
)
READ = "SELECT value FROM idp.installation WHERE name = $1"
# Of concurrent starts one adds the row; all read the same value afterwards.
_ADD = "INSERT INTO idp.installation (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING"
_REMOVE = "DELETE FROM idp.installation WHERE name = $1"


async def find(database: Database, name: str) -> str | None:
    """Return a value, None if it is not set.

    Raises:
        DatabaseUnavailable: PostgreSQL is unavailable.
    """
    row = await database.reads.fetchrow(READ, name)
    return None if row is None else str(row["value"])


async def add(database: Database, name: str, value: str) -> None:
    """Set a value unless it is set; raises as `find`."""
    await database.reads.fetch(_ADD, name, value)


async def remove(database: Database, name: str) -> None:
    """Remove a value; raises as `find`."""
    await database.reads.fetch(_REMOVE, name)


async def proof_salt(database: Database) -> bytes:
    """Return the salt; generate it the first time. Raises as `find`."""
    salt = await find(database, SALT)
    if salt is None:
        await add(database, SALT, secrets.token_hex(32))
        salt = await find(database, SALT)
        assert salt is not None
    return salt.encode()


async def read_channel(connection: Any) -> str:
    """Return the name of the notification channel of this database.

    Args:
        connection: an asyncpg connection.
    """
    value = await connection.fetchval(READ, CHANNEL)
    if value is None:
        raise ConnectionError("the notification channel is missing from idp.installation")
    return str(value)
