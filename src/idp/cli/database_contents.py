"""Required contents of a database: seed data, and signing keys that can be decrypted."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from idp.db.engine import Database
    from idp.settings import Secret, Settings

_SEEDING = 0x1D9_5EE2  # advisory lock for seeding


async def seed_database(database: "Database", settings: "Settings") -> int:
    """Create missing roles, teams and domains of the seed; return the number of new teams and domains.

    An advisory lock serializes concurrent starts.
    """
    from sqlalchemy import text

    from idp.directory import seed
    from idp.settings import seed_file
    from idp.users import service as users

    content = seed.read(seed_file(settings))
    async with database.transaction() as session:
        await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SEEDING})
        await users.ensure_roles(session)
        return await seed.apply(session, content)


async def sealed_keys(database: "Database", settings: "Settings") -> str | None:
    """Return a sentence if there are signing keys and no root secret decrypts any of them, else None."""
    from idp.deployment import root_secrets
    from idp.errors import SigningKeysSealed
    from idp.signing.keyring import all_sealed
    from idp.signing.sealing import Sealer

    roots: Sequence[Secret] = root_secrets(settings)
    return f"{SigningKeysSealed.text} {SigningKeysSealed.remedy}" if await all_sealed(database, Sealer(roots)) else None
