"""Metrics of several processes as one: counters and histograms are added, gauges by their rule.

Imports nothing, because the supervisor of workers uses it (`cli/workers`), which has none of the libraries loaded.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

Rule = Literal["sum", "newest", "worker"]


class Family(NamedTuple):
    """A metric with its samples, as JSON carries it.

    Attributes:
        name: without the suffix of its samples.
        kind: `counter`, `histogram` or `gauge`.
        help: its documentation.
        rule: of gauges: `sum`; `newest`, for facts of the whole deployment that one process measures; or `worker`, for
            those of a process, which get a label.
        set_at: when a `newest` was set, by the machine's monotonic clock.
        samples: name, labels, value.
    """

    name: str
    kind: str
    help: str
    rule: Rule
    set_at: float
    samples: list[tuple[str, dict[str, str], float]]


def merge(by_worker: Iterable[tuple[str, Iterable[Any]]]) -> list[Family]:
    """Return one family for each name.

    Args:
        by_worker: the worker's number and its families; the same number may come twice.
    """
    merged: dict[str, _Merged] = {}
    for worker, families in by_worker:
        for each in families:
            family = Family(*each)
            merged.setdefault(family.name, _Merged(family)).add(worker, family)
    return [each.result() for each in merged.values()]


def counts_only(families: Iterable[Any]) -> list[Family]:
    """Return what stays true of a process that has ended: counters and histograms."""
    known = (Family(*each) for each in families)
    return [each for each in known if each.kind != "gauge" and each.rule == "sum"]


def gauge(name: str, documentation: str, label: str, values: Mapping[str, float]) -> Family:
    """Return a gauge with one label."""
    samples = [(name, {label: key}, value) for key, value in values.items()]
    return Family(name, "gauge", documentation, "sum", 0.0, samples)


class _Merged:
    def __init__(self, first: Family) -> None:
        self._first = first
        self._set_at = -1.0
        self._values: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}

    def add(self, worker: str, family: Family) -> None:
        if family.rule == "newest":
            if family.set_at < self._set_at:
                return
            self._set_at, self._values = family.set_at, {}
        for name, labels, value in family.samples:
            given = {**labels, "worker": worker} if family.rule == "worker" else labels
            key = name, tuple(given.items())
            if key not in self._values:
                self._values[key] = value
            elif name.endswith("_created"):
                self._values[key] = min(self._values[key], value)
            else:
                self._values[key] += value

    def result(self) -> Family:
        samples = [(name, dict(labels), value) for (name, labels), value in self._values.items()]
        return self._first._replace(samples=samples)
