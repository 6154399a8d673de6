"""Compares results with targets."""

from collections.abc import Iterable, Iterator, Sequence
from statistics import median

from msgspec import Struct

from bench.flood import Flood
from bench.measure import CEILING, SERVICE, Contestant
from bench.scenarios import Scenario

_KEPT, _P99 = 0.65, 2.5  # during a flood of logins: minimum of validate's relative rate, maximum of its relative p99
_IDLE_MEGABYTES = 125.0  # the libraries alone take 107 when imported


class Verdict(Struct, frozen=True):
    """A target and its result.

    Attributes:
        path: its description.
        found: the result.
        target: the target.
        met: None without a result or a target.
        why: the reason for a missing result.
    """

    path: str
    found: str
    target: str
    met: bool | None = None
    why: str = ""


class Memory(Struct, frozen=True):
    """Resident memory of a server (MB): of the process and of its tree when idle, of the process after the load."""

    name: str
    idle: float
    idle_tree: float
    loaded: float


def of_scenarios(
    measured: Iterable[tuple[Scenario, Sequence[Contestant]]], verification: float | None
) -> Iterator[Verdict]:
    """Yield the verdicts of scenarios: relative to the ceiling, and to peers.

    Args:
        measured: scenarios with their results.
        verification: the cost of a raw ES256 verification (µs), if it was measured.
    """
    for scenario, contestants in measured:
        by_name = {contestant.name: contestant for contestant in contestants}
        service = by_name[SERVICE]
        if scenario.of_ceiling is not None:
            what = f"{scenario.title}: of the ceiling"
            yield _compared(what, service, by_name.get(CEILING), scenario.of_ceiling)
        if scenario.of_verification is not None and verification is not None:
            what = f"{scenario.title}: of the ceiling and a raw verification together"
            yield _compared(what, service, by_name.get(CEILING), scenario.of_verification, more=verification)
        for comparison in scenario.comparisons:
            if comparison.times is not None:
                title = f"{scenario.title}: times {comparison.peer}"
                yield _compared(title, service, by_name[comparison.peer], comparison.times)


def _compared(path: str, service: Contestant, other: Contestant | None, target: float, *, more: float = 0.0) -> Verdict:
    wanted = f"at least {target:g}"
    why = service.error or (other.error if other else "")
    if why or other is None:
        return Verdict(path, "", wanted, why=why)
    ratio = ratio_of(other, service, more=more)
    return Verdict(path, f"{ratio:.2f}", wanted, ratio >= target)


def ratio_of(other: Contestant, service: Contestant, *, more: float = 0.0) -> float:
    """Return the cost of another contestant, and more µs, relative to the service's: the median over rounds."""
    return median((theirs + more) / ours for theirs, ours in zip(other.costs, service.costs, strict=True))


def of_floods(floods: Iterable[Flood]) -> Iterator[Verdict]:
    """Yield the verdicts of floods of logins."""
    for flood in floods:
        what = f"login flood, {flood.title}"
        yield Verdict(
            f"{what}: validate's rate",
            f"{flood.kept:.2f}",
            f"at least {_KEPT}",
            flood.kept >= _KEPT,
        )
        yield Verdict(
            f"{what}: validate's p99, times",
            f"{flood.p99:.1f}",
            f"at most {_P99}",
            flood.p99 <= _P99,
        )
        found = f"{flood.logins:.0f} in, {flood.turned_away:.0f} refused"
        target, met = ("some in", flood.logins > 0) if flood.may_pass else ("", None)
        yield Verdict(f"{what}: logins a second", found, target, met)


def of_memory(memory: Iterable[Memory]) -> Iterator[Verdict]:
    """Yield the verdict of a worker's memory."""
    service = next((entry for entry in memory if entry.name == SERVICE), None)
    if service is not None:
        wanted = f"at most {_IDLE_MEGABYTES:.0f} MB"
        yield Verdict("memory of a worker, idle", f"{service.idle:.0f} MB", wanted, service.idle <= _IDLE_MEGABYTES)
