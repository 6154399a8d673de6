"""The one source of the current time, so that every expiry can be tested by moving it."""

import time
from datetime import UTC, datetime


def now() -> datetime:
    """Return the current time, aware, in UTC."""
    return datetime.fromtimestamp(time.time(), UTC)


def seconds() -> float:
    """Return the current time as seconds since 1970, with their fractions: for ends that are exact."""
    return time.time()


def timestamp() -> int:
    """Return the current time as whole seconds since 1970 (RFC 7519 NumericDate)."""
    return int(time.time())
