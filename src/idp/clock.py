"""The only source of the current time, which tests can move."""

import time
from datetime import UTC, datetime


def now() -> datetime:
    """Return the current time in UTC, timezone-aware."""
    return datetime.fromtimestamp(time.time(), UTC)


def seconds() -> float:
    """Return the current time as seconds since 1970, with fractions."""
    return time.time()


def timestamp() -> int:
    """Return the current time as whole seconds since 1970 (RFC 7519 NumericDate)."""
    return int(time.time())
