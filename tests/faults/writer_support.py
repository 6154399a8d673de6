"""Processes that change keys concurrently, each with a command queue."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from cli.support import PLAIN

_PROGRAM = Path(__file__).with_name("writer_process_support.py")
Order = dict[str, Any]


class WriterProcess:
    """A process that carries out orders once it is told to.

    Args:
        orders: what to do, all at the same moment.
        environ: DATABASE_URL and IDP_SECRET_KEY.
        max_wait: seconds that a command may wait.
    """

    def __init__(self, orders: Sequence[Order], environ: Mapping[str, str], *, max_wait: float) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(_PROGRAM)],
            env=PLAIN | dict(environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._tell(json.dumps({"orders": orders, "max_wait": max_wait}))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def wait_for(self, word: str) -> None:
        """Wait until it says READY, or HOLDING in the middle of a group; between the lines of its log."""
        assert self._process.stdout is not None
        assert f"{word}\n" in self._process.stdout

    def go(self) -> None:
        """Let it begin."""
        self._tell("GO")

    def answers(self) -> list[Order]:
        """Wait for its end, and return what came of each order."""
        said, _ = self._process.communicate(timeout=90)
        return list(json.loads(said.splitlines()[-1]))
