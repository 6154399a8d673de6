"""Writes the report: the targets first, then the raw figures."""

from collections.abc import Iterable, Iterator, Sequence
from statistics import median

from msgspec import Struct

from bench import verdicts
from bench.flood import Flood
from bench.measure import Contestant
from bench.revocation import Revocation
from bench.scenarios import Scenario
from bench.verdicts import Memory, Verdict

_HEAD = """\
# Results

Written by `python -m bench`. **Only ratios are comparable**: absolute times depend on the machine and its load. Every
ratio is the median over rounds in which both sides took turns."""
_FIGURES = """\
## Figures

µs: processor time of the server's process tree per request, the median of the rounds and the extremes. Responses per
second and p50/p99 (milliseconds) with 32 connections; p50/p99 with one."""
_MEMORY = """\
## Memory

Resident MB: the server's process and its process tree when idle, its process after the load."""
_REVOCATION = """\
## Revocation

Three processes on one PostgreSQL and one Valkey, at half of their maximum load: the time from the response of `DELETE
/v1/api-keys/{id}` until the last process refuses the key. Each is polled continuously."""
Row = tuple[str, ...]
Measured = tuple[Scenario, Sequence[Contestant]]


class Results(Struct, frozen=True):
    """All results, and the machine.

    Attributes:
        verification: the cost of a raw ES256 verification (µs), if a scenario is compared with it.
    """

    measured: Sequence[Measured]
    verification: float | None
    floods: Sequence[Flood]
    limits: Sequence[Verdict]
    memory: Sequence[Memory]
    machine: Sequence[str]
    notes: Sequence[str]
    revocation: Revocation | None = None
    events: Sequence[Verdict] = ()


def document(results: Results) -> str:
    """Return the whole report as Markdown."""
    rows = [
        *verdicts.of_scenarios(results.measured, results.verification),
        *results.limits,
        *verdicts.of_floods(results.floods),
        *results.events,
        *verdicts.of_memory(results.memory),
    ]
    if results.revocation is not None:
        rows.append(results.revocation.verdict)
    memory = [(m.name, f"{m.idle:.0f}", f"{m.idle_tree:.0f}", f"{m.loaded:.0f}") for m in results.memory]
    parts = [
        _HEAD,
        "\n".join(f"- {line}" for line in (*results.notes, *results.machine)),
        "## Targets",
        _table(("path", "result", "target", ""), [(v.path, v.found, v.target, _word(v)) for v in rows]),
        _FIGURES,
        _table(("scenario", "server", "µs", "responses/s", "p50/p99 of 32", "of 1"), _figures(results.measured)),
        _MEMORY,
        _table(("server", "idle", "tree", "after"), memory),
    ]
    if results.revocation is not None:
        parts += [_REVOCATION, "\n".join(("```text", *results.revocation.lines(), "```"))]
    return "\n\n".join(parts) + "\n"


def _word(verdict: Verdict) -> str:
    if verdict.met is None:
        return verdict.why.partition("\n")[0]
    return "met" if verdict.met else "**missed**"


def _table(head: Row, rows: Iterable[Row]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _figures(measured: Iterable[Measured]) -> Iterator[Row]:
    for scenario, contestants in measured:
        for contestant in contestants:
            yield scenario.title, contestant.name, *_figure(contestant)


def _figure(contestant: Contestant) -> Row:
    if contestant.error:
        return contestant.error.partition("\n")[0][:100], "", "", ""
    costs, concurrent, alone = contestant.costs, contestant.concurrent, contestant.alone
    return (
        f"{median(costs):.0f} ({min(costs):.0f} to {max(costs):.0f})",
        f"{median(found.rate for found in concurrent):.0f}",
        _milliseconds(median(found.p50 for found in concurrent), median(found.p99 for found in concurrent)),
        _milliseconds(alone.p50, alone.p99) if alone else "",
    )


def _milliseconds(p50: float, p99: float) -> str:
    return f"{p50 / 1000:.2f}/{p99 / 1000:.2f}"
