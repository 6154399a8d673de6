"""Measures every database statement and the pool (S3-69), from SQLAlchemy's events."""

import time
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import QueuePool

from idp import tracing
from idp.ops import metrics

_OPERATIONS = frozenset({"select", "insert", "update", "delete", "with"})


def watch(engine: AsyncEngine) -> None:
    """Report this engine's statements and its connections in use."""
    sync_engine: Engine = engine.sync_engine
    pool = sync_engine.pool
    if isinstance(pool, QueuePool):
        metrics.watch_pool(pool.checkedout)

    @event.listens_for(sync_engine, "before_cursor_execute")
    def _before(_connection: Any, _cursor: Any, _statement: str, _parameters: Any, context: Any, _many: bool) -> None:
        context.idp_started = time.perf_counter()

    @event.listens_for(sync_engine, "after_cursor_execute")
    def _after(_connection: Any, _cursor: Any, statement: str, _parameters: Any, context: Any, _many: bool) -> None:
        word = statement.lstrip().partition(" ")[0].partition("\n")[0].lower()
        seconds = time.perf_counter() - context.idp_started
        operation = word if word in _OPERATIONS else "other"
        metrics.observe_query(operation=operation, seconds=seconds)
        tracing.record(f"db {operation}", time.time_ns() - int(seconds * 1e9), db_system_name="postgresql")
