"""Checks of a decision that an explanation can show (`authn/explain.py`).

The code that decides calls `holds` or `require` for each check. Without a trace they return or raise only; with one,
which `recording` sets for the current task, they also record what was seen and what was expected. So an explanation is
the decision itself, told, and never a second implementation.

`seen` and `expected` are never secrets: no token, signature, digest, cookie or key.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from idp.plain_text import without_unseen

_MAX_LENGTH = 200  # characters of a value shown; a token's claims may have thousands


class Check(Struct, frozen=True):
    """A check: whether it passed, what was seen and what was expected (null if there is nothing to show)."""

    name: str
    passed: bool
    seen: str | None = None
    expected: str | None = None


class Step(Struct):
    """The checks of one part of a decision, and its outcome."""

    name: str
    outcome: str = ""
    code: str | None = None
    checks: list[Check] = []


class Reading(Struct, frozen=True):
    """What was read, from where (memory, valkey, database), and its age in seconds."""

    what: str
    source: str
    age_seconds: float


class Trace:
    """Records a decision.

    Attributes:
        steps: in the order of the decision.
        readings: what it read.
        proven: to whom the credential belongs by its signature or its row, such as `user:<id>`; also if it is rejected.
        fresh: whether caches are bypassed.
        again: the outcome of the second decision, from the database, if the first one used a cache.
    """

    def __init__(self) -> None:
        self.fresh = False
        self.again: str | None = None
        self.restart()

    def restart(self) -> None:
        """Forget what was recorded: the decision begins again."""
        self.steps: list[Step] = []
        self.readings: list[Reading] = []
        self.proven: set[str] = set()

    def begin(self, name: str) -> Step:
        """Begin a step, to which the next checks belong."""
        step = Step(name, checks=[])
        self.steps.append(step)
        return step

    def add(self, name: str, passed: bool, seen: object, expected: object) -> None:
        """Record a check."""
        if not self.steps:
            self.begin("")
        self.steps[-1].checks.append(Check(name, passed, shown(seen), shown(expected)))


Moment = int | datetime  # an integer is seconds since 1970
_trace: ContextVar[Trace | None] = ContextVar("trace", default=None)
current = _trace.get


@contextmanager
def recording(trace: Trace) -> Iterator[None]:
    """Record the decisions of the block, in this task only."""
    token = _trace.set(trace)
    try:
        yield
    finally:
        _trace.reset(token)


def holds(passed: bool, name: str, seen: object = None, expected: object = None) -> bool:
    """Return `passed`, and record the check.

    Args:
        passed: the result.
        name: of the check, such as `aud`.
        seen: what was found; never a secret.
        expected: what would have passed; never a secret.
    """
    trace = current()
    if trace is not None:
        trace.add(name, passed, seen, expected)
    return passed


def require(passed: bool, name: str, seen: object, expected: object, problem: str) -> None:
    """Record a check as `holds` does.

    Raises:
        ValueError: it did not pass; with this problem as its text.
    """
    trace = current()
    if trace is not None:
        trace.add(name, passed, seen, expected)
    if not passed:
        raise ValueError(problem)


def is_later(passed: bool, name: str, seen: Moment | None, bound: Moment) -> bool:
    """Record that a time (None: never) must be later than a bound, and return `passed`."""
    trace = current()
    if trace is not None:
        trace.add(name, passed, _moment(seen), f"after {_moment(bound)}")
    return passed


def is_earlier(passed: bool, name: str, seen: Moment, bound: Moment) -> bool:
    """Record that a time must not be later than a bound, and return `passed`."""
    trace = current()
    if trace is not None:
        trace.add(name, passed, _moment(seen), f"not after {_moment(bound)}")
    return passed


def failed(error: Exception) -> None:
    """Record a failure that no check of its own recorded, by its text."""
    trace = current()
    if trace is None:
        return
    checks = trace.steps[-1].checks if trace.steps else []
    if not checks or checks[-1].passed:
        trace.add(str(error), False, None, None)


def proves(owner: str) -> None:
    """Record to whom the credential belongs, such as `user:<id>`."""
    trace = current()
    if trace is not None:
        trace.proven.add(owner)


def has_read(what: str, source: str, age_seconds: float = 0.0) -> None:
    """Record where something was read."""
    trace = current()
    if trace is not None:
        trace.readings.append(Reading(what, source, round(max(0.0, age_seconds), 3)))


def bypasses_caches() -> bool:
    """Whether the current decision is to be made from the database."""
    trace = current()
    return trace is not None and trace.fresh


def shown(value: object) -> str | None:
    """Return a value as it is shown: one line of at most 200 visible characters; None for None."""
    if value is None:
        return None
    text = without_unseen(_text(value)).encode("utf-8", "replace").decode()
    return text if len(text) <= _MAX_LENGTH else f"{text[: _MAX_LENGTH - 1]}…"


def _text(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case datetime():
            return _moment(value)
        case frozenset() | set():
            return " or ".join(sorted(str(each) for each in value)) or "none"
        case list() | tuple():
            return ", ".join(str(each) for each in value[:20]) or "none"
    return str(value)


def _moment(moment: Moment | None) -> str:
    if moment is None:
        return "never"
    time = datetime.fromtimestamp(moment, UTC) if isinstance(moment, int) else moment
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")
