"""Processor time and memory of a process and all its descendants, from /proc (Linux; proc(5))."""

import os
from pathlib import Path

from msgspec import Struct

_TICKS = os.sysconf("SC_CLK_TCK")  # per second, usually 100: two seconds are measured to half a per cent
_PAGE = os.sysconf("SC_PAGE_SIZE")  # bytes
_PROC = Path("/proc")


class _Stat(Struct, frozen=True):
    parent: int
    ticks: int
    pages: int


def seconds_of(root: int) -> float:
    """Return the processor time of a process tree so far (seconds, user and system).

    Exited children are included once their parent has waited for them (cutime, cstime).
    """
    return sum(stat.ticks for stat in _tree(root).values()) / _TICKS


def resident_megabytes(root: int) -> tuple[float, float]:
    """Return the resident memory of a process and of its tree (MB); shared pages count in each process."""
    megabytes = {pid: stat.pages * _PAGE / 1e6 for pid, stat in _tree(root).items()}
    return megabytes.get(root, 0.0), sum(megabytes.values())


def tree_of(root: int) -> set[int]:
    """Return the process ids of a process and its descendants."""
    return set(_tree(root))


def _tree(root: int) -> dict[int, _Stat]:
    processes = _all_processes()
    found: dict[int, _Stat] = {}
    layer = {root} & processes.keys()
    while layer:
        found |= {pid: processes[pid] for pid in layer}
        layer = {pid for pid, stat in processes.items() if stat.parent in layer and pid not in found}
    return found


def _all_processes() -> dict[int, _Stat]:
    stats = {}
    for folder in _PROC.glob("[0-9]*"):
        try:
            stats[int(folder.name)] = _parse((folder / "stat").read_text())
        except (OSError, ValueError):  # the process exited meanwhile
            continue
    return stats


def _parse(stat: str) -> _Stat:
    # The name in brackets may contain spaces and brackets: parse after the last bracket (proc_pid_stat(5)).
    fields = stat.rpartition(")")[2].split()
    return _Stat(parent=int(fields[1]), ticks=sum(map(int, fields[11:15])), pages=int(fields[21]))
