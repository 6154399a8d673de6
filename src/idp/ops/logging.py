"""Structured logs on stdout, one event a line (S3-64), without bodies, headers, queries or secrets (SEC-74)."""

import logging
import sys
import traceback
from contextvars import ContextVar
from typing import Any

import structlog
from structlog.types import EventDict, WrappedLogger

from idp import tracing
from idp.ops.access_log import access_log
from idp.settings_schema import Logging

# The id of the current request, for every line logged meanwhile.
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
_CHAIN_LIMIT, _FRAME_LIMIT = 5, 12
# At debug level they log more than is useful, and some of them headers with tokens and cookies.
_QUIET = ("authlib", "httpx", "httpx2", "httpcore", "httpcore2", "sqlalchemy.engine", "asyncio", "alembic", "urllib3")
_NEVER = frozenset({"password", "token", "access_token", "authorization", "cookie", "secret", "x_api_key"})


def configure(settings: Logging) -> None:
    """Set up structlog and send the standard library's loggers through it."""
    access_log.batches = settings.format == "json" and settings.level in {"debug", "info"}
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        _name_request,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _hide,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = _Stdout()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderer(settings)],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = name != "uvicorn.access"  # replaced by idp.access, which has the request id
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


class _Stdout(logging.StreamHandler[Any]):
    """Writes to the current `sys.stdout`, which a test or a supervisor may have replaced."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:
        return sys.stdout

    @stream.setter
    def stream(self, _value: Any) -> None:
        raise AttributeError("stdout is looked up for every line")


def _renderer(settings: Logging) -> list[Any]:
    if settings.format == "console":
        return [
            structlog.dev.ConsoleRenderer(
                colors=sys.stdout.isatty(),
                exception_formatter=structlog.dev.plain_traceback,  # the default prints local variables
            )
        ]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]


def _name_request(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    if (current := request_id.get()) is not None:
        event["request_id"] = current
    if (trace := tracing.current()) is not None:
        event["trace_id"] = trace.trace_id
        if trace.span_id is not None:
            event["span_id"] = trace.span_id
    return event


def _hide(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    event.pop("color_message", None)  # uvicorn's, with escape codes
    for key in _NEVER & event.keys():
        event[key] = "hidden"
    return event


def describe(error: BaseException) -> dict[str, str]:
    """Return what may be logged of an unexpected exception: its chain and where it was raised.

    Texts of database errors quote whole rows, password hashes among them, so only their class, SQLSTATE and constraint
    are kept.
    """
    chain: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(chain) < _CHAIN_LIMIT:
        chain.append(_name(cause))
        cause = cause.__cause__ or cause.__context__
    at = traceback.extract_tb(error.__traceback__)
    frames = [f"{frame.filename.rpartition('/site-packages/')[2]}:{frame.lineno} {frame.name}" for frame in at]
    return {"error": " <- ".join(chain), "at": "; ".join(frames[-_FRAME_LIMIT:])}


def _name(error: BaseException) -> str:
    kind = f"{type(error).__module__}.{type(error).__name__}"
    if not kind.startswith(("sqlalchemy.", "asyncpg.")):
        return f"{kind}: {str(error)[:200]}"
    facts = [str(fact) for name in ("sqlstate", "constraint_name") if (fact := getattr(error, name, None))]
    return " ".join([kind, *facts])
