"""Positions after a database was restored into another cluster, whose transaction ids start again (`pg_restore`).

The restored events have ids that this cluster has not reached: readers would wait for them for years, and new events
would come before them.
"""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

# In the cluster that wrote them, no event that a statement sees has an id of its `xmax` or more.
_IS_RESTORED = text("""
SELECT max(transaction) >= (pg_snapshot_xmax(pg_current_snapshot())::text)::bigint FROM idp.outbox
""")
_LOCK = text("LOCK TABLE idp.outbox IN SHARE ROW EXCLUSIVE MODE")
_EVENTS = text("UPDATE idp.outbox SET transaction = 0")
_WEBHOOKS = text("UPDATE idp.webhooks SET transaction = 0")


async def adapt_positions(session: AsyncSession) -> bool:
    """Order restored events by their number, before all new ones; False if there are none.

    Webhooks continue at the number of their last event. Cursors of the feed are 410 from then on.

    Args:
        session: the caller's transaction.
    """
    if not await session.scalar(_IS_RESTORED):
        return False
    await session.execute(_LOCK)
    await session.execute(_EVENTS)
    await session.execute(_WEBHOOKS)
    return True
