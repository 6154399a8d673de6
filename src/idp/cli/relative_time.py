"""Relative times, such as `3 hours ago` and `in 29 days`."""

from datetime import UTC, datetime

from idp import clock
from idp.cli.tables import Cell

_DAY = 86_400
# Smallest number of seconds for a unit, its length in seconds, and its name.
_UNITS = (
    (2 * 365 * _DAY, 365 * _DAY, "year"),
    (120 * _DAY, 30 * _DAY, "month"),
    (_DAY, _DAY, "day"),
    (3600, 3600, "hour"),
    (60, 60, "minute"),
)
_SOON = 7 * _DAY  # seconds; shown in yellow if it ends within this time


def parsed(text: str | None) -> datetime | None:
    """Return the time of an RFC 3339 text as the API sends it, None for null."""
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC)


def ago(text: str | None, *, never: str = "never") -> Cell:
    """Return a past time, such as `3 hours ago`; the full time in a pipe."""
    moment = parsed(text)
    if moment is None:
        return Cell(never, "dim")
    seconds = (clock.now() - moment).total_seconds()
    return Cell(f"{_in_words(seconds)} ago", "", _in_full(moment))


def until(text: str | None, *, matters: bool = True) -> Cell:
    """Return an end time: `never`, `in 29 days`, or `2 days ago`; coloured if it is soon and `matters`."""
    moment = parsed(text)
    if moment is None:
        return Cell("never", "dim")
    seconds = (moment - clock.now()).total_seconds()
    words = f"in {_in_words(seconds)}" if seconds > 0 else f"{_in_words(-seconds)} ago"
    style = "yellow" if seconds < _SOON else ""
    return Cell(words, style if matters else "dim", _in_full(moment))


def exactly(text: str | None, *, never: str = "never") -> Cell:
    """Return the full time, with the relative time on a terminal."""
    moment = parsed(text)
    if moment is None:
        return Cell(never, "dim")
    return Cell(f"{_in_full(moment)} ({until(text).text})", "", _in_full(moment))


def is_past(text: str | None) -> bool:
    """Whether a time is in the past."""
    moment = parsed(text)
    return moment is not None and moment <= clock.now()


def _in_full(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _in_words(seconds: float) -> str:
    for least, size, name in _UNITS:
        if round(seconds) >= least:
            count = round(seconds / size)  # 30 days less a minute are not "29 days"
            return f"{count} {name}{'s' if count > 1 else ''}"
    return "a moment"
