"""Answers a worker that is asked for metrics with those of all workers, the ended ones included (decision 0056)."""

import time
from collections import Counter
from collections.abc import Iterable

from idp.cli.workers.generations import Worker
from idp.ops.merged_metrics import Family, counts_only, gauge, merge

_WAIT_SECONDS = 0.5  # for a worker; then its last known values are used


class Scrapes:
    """The scrapes under way, and the counts of workers that have ended."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Worker, set[Worker], float]] = []
        self._ended: list[Family] = []
        self._exits: Counter[str] = Counter()

    def begin(self, asker: Worker, workers: Iterable[Worker]) -> None:
        """Ask all workers for their metrics, for this one."""
        asked = {each for each in workers if each.state != "starting"}
        for each in asked:
            if not each.is_asked:
                each.is_asked = True
                each.channel.send("collect")
        self._waiting.append((asker, asked, time.monotonic() + _WAIT_SECONDS))

    def remember(self, worker: Worker) -> None:
        """Keep the counts of a worker that has ended, so that no counter goes back."""
        number = str(worker.number)
        self._ended = merge([(number, self._ended), (number, counts_only(worker.families))])

    def count_exit(self, reason: str) -> None:
        """Count a worker that was replaced: it `died`, or did `hang`."""
        self._exits[reason] += 1

    def answer(self, workers: Iterable[Worker]) -> None:
        """Answer the scrapes for which all workers have answered or were waited for long enough."""
        now, known = time.monotonic(), list(workers)
        for scrape in list(self._waiting):
            asker, asked, until = scrape
            silent = [each for each in asked if each.is_asked and each in known]
            if not silent or now >= until:
                self._waiting.remove(scrape)
                if asker in known:
                    asker.channel.send("metrics", families=self._all(known))

    @property
    def next_deadline(self) -> float | None:
        return min((until for _, _, until in self._waiting), default=None)

    def _all(self, workers: list[Worker]) -> list[Family]:
        states = Counter({"starting": 0, "ready": 0, "draining": 0, "unresponsive": 0})
        states.update("unresponsive" if each.is_asked and each.state != "starting" else each.state for each in workers)
        families = merge([("0", self._ended), *((str(each.number), each.families) for each in workers)])
        exits = gauge(
            "idp_worker_exits", "Workers replaced, by reason.", "reason", {"died": 0, "hang": 0} | self._exits
        )
        samples = [("idp_worker_exits_total", labels, value) for _, labels, value in exits.samples]
        return [
            *families,
            gauge(
                "idp_workers", "Worker processes. Those unresponsive: with their last known metrics.", "state", states
            ),
            exits._replace(kind="counter", samples=samples),
        ]
