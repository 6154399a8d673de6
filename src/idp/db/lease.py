"""Leadership of one process by a leased row, with fencing (docs/decisions/0040).

A process that has the lease may still be paused, and continue after another one took over. So every transaction of a
leader calls `take` or `check`, which locks the row until the commit: either the transaction commits before a takeover,
or it is refused. Times are those of the database's clock. Nothing depends on a session, so a pooler may be in between.
"""

import contextlib
import secrets

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from idp.db.engine import Database
from idp.errors import DatabaseUnavailable

# Locks the row only if it is ours: FOR SHARE makes a takeover wait until the commit.
_CHECK = text("""
SELECT token, extract(epoch FROM expires_at - clock_timestamp())::float AS remaining
  FROM idp.leases WHERE name = :name AND holder = :holder FOR SHARE
""")
_RENEW = text("""
UPDATE idp.leases SET expires_at = clock_timestamp() + make_interval(secs => :seconds)
 WHERE name = :name AND holder = :holder AND token = :token RETURNING token
""")
_IS_FREE = "expires_at <= clock_timestamp()"
_TAKE = text(f"""
INSERT INTO idp.leases AS l (name, holder, token, expires_at)
SELECT :name, :holder, 1, clock_timestamp() + make_interval(secs => :seconds)
 WHERE NOT EXISTS (SELECT FROM idp.leases WHERE name = :name AND NOT {_IS_FREE})
    ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, token = l.token + 1, expires_at = excluded.expires_at
 WHERE l.{_IS_FREE} RETURNING token
""")  # noqa: S608  constants
_RELEASE = text("UPDATE idp.leases SET expires_at = clock_timestamp() WHERE name = :name AND holder = :holder")


class LeaseLost(Exception):
    """Another process took over: nothing of this transaction may be committed."""


class Lease:
    """The lease of a name, as one holder sees it.

    Args:
        name: of what only one process does.
        seconds: how long another process waits after this one stopped renewing.
    """

    def __init__(self, name: str, *, seconds: float) -> None:
        self.name = name
        self._seconds = seconds
        self._ours = {"name": name, "holder": secrets.token_hex(16)}

    async def take(self, session: AsyncSession) -> int | None:
        """Take the lease or keep it, and hold it until the transaction ends.

        Args:
            session: the transaction; after the commit the lease runs on.

        Returns:
            The fencing token, which rises with every change of the holder; None if another process has the lease.
        """
        held = (await session.execute(_CHECK, self._ours)).first()
        if held is not None:
            if held.remaining < self._seconds / 2:
                await session.execute(_RENEW, self._ours | {"token": held.token, "seconds": self._seconds})
            return int(held.token)
        taken = await session.scalar(_TAKE, self._ours | {"seconds": self._seconds})
        return None if taken is None else int(taken)

    async def check(self, session: AsyncSession, token: int) -> None:
        """Fence a transaction: it may commit only if nobody took over since `take` returned this token.

        Raises:
            LeaseLost: another process did.
        """
        held = (await session.execute(_CHECK, self._ours)).first()
        if held is None or held.token != token:
            raise LeaseLost(self.name)

    async def release(self, database: Database) -> None:
        """Let another process take over at once; if the database is unavailable, when the lease ends."""
        with contextlib.suppress(DatabaseUnavailable):
            async with database.transaction() as session:
                await session.execute(_RELEASE, self._ours)
