"""Checks the source of verdicts with the service's metrics: memory, the shared cache, or the database."""

import re

import httpx2
from msgspec import Struct

from bench.service import METRICS_BEARER

_LINE = re.compile(r'^idp_cache_requests_total\{result="(\w+)"\} (\S+)', re.MULTILINE)


class Source(Struct, frozen=True):
    """The required source of at least this part of the verdicts: `memory`, `shared` (Valkey) or `database`."""

    name: str
    part: float = 0.95


class Sources:
    """The counts of a process during a load."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._before = self._read()

    def problem(self, wanted: Source) -> str:
        """Return a message if the verdicts came from another source than required, else an empty text."""
        now = self._read()
        counts = {name: now[name] - self._before.get(name, 0) for name in now}
        total = sum(counts.values())
        if total and counts.get(wanted.name, 0) >= wanted.part * total:
            return ""
        found = ", ".join(f"{name} {count / total:.0%}" for name, count in counts.items()) if total else "nowhere"
        return f"verdicts should come from {wanted.name}, but came from {found}"

    def _read(self) -> dict[str, float]:
        text = httpx2.get(self._base_url + "/metrics", headers=METRICS_BEARER, timeout=10).text
        return {name: float(count) for name, count in _LINE.findall(text)}
