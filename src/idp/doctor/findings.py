"""The result of a check."""

from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

Status = Literal["ok", "warning", "problem", "unknown"]


class Finding(Struct, frozen=True):
    """What a check found.

    Attributes:
        check: its name, stable for scripts.
        status: `problem` for what is unsafe or does not work, `warning` for what is advisable, `unknown` if it could
            not be checked.
        seen: what was seen.
        why: why it matters; "" if all is well.
        change: the line to change, or what to do; "" if all is well.
    """

    check: str
    status: Status
    seen: str
    why: str = ""
    change: str = ""


def ok(check: str, seen: str) -> Finding:
    """Return a finding without a remedy."""
    return Finding(check, "ok", seen)


def warning(check: str, seen: str, *, why: str, change: str) -> Finding:
    """Return advice."""
    return Finding(check, "warning", seen, why, change)


def problem(check: str, seen: str, *, why: str, change: str) -> Finding:
    """Return what must be changed."""
    return Finding(check, "problem", seen, why, change)


def unknown(check: str, seen: str, *, why: str, change: str = "") -> Finding:
    """Return that a check could not run."""
    return Finding(check, "unknown", seen, why, change)


def has_problem(findings: Iterable[Finding], *, or_warning: bool = False) -> bool:
    """Whether there is a problem, or also a warning."""
    bad = {"problem", "warning"} if or_warning else {"problem"}
    return any(each.status in bad for each in findings)
