"""Prepares the database in a process of its own, so that its memory is given back."""

import os
import signal
import sys
import traceback
from typing import TYPE_CHECKING, Any

from idp.cli.failure import Failure, explain
from idp.cli.preparation import prepare_database

if TYPE_CHECKING:
    from idp.settings import Settings


class NotPrepared(Failure):
    """The database cannot be used; message and exit code are those of the process that tried."""

    def __init__(self, message: str, *, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def prepare_in_fork(log: Any, settings: "Settings") -> None:
    """Prepare the database as `prepare_database`, in a process of its own.

    What that needs and nothing later (Alembic, connections, threads) ends with it. The caller has no event loop yet.

    Raises:
        NotPrepared: with the reason.
    """
    reading, writing = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _end_with_parent()
        os._exit(_prepare(log, settings, writing))
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as answer:
        reason = answer.read()
    _, status = os.waitpid(pid, 0)
    if status:
        code = os.waitstatus_to_exitcode(status)
        raise NotPrepared(reason or "The process that prepares the database was killed.", exit_code=max(1, code))


def _prepare(log: Any, settings: "Settings", writing: int) -> int:
    try:
        prepare_database(log, settings)
    except Exception as error:  # noqa: BLE001  the parent reports it
        sentence = explain(error)
        if sentence is None:
            traceback.print_exc()
        os.write(writing, (sentence or f"{type(error).__name__}: see above.").removeprefix("idp: ").encode())
        return int(getattr(error, "exit_code", 1))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def _end_with_parent() -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
