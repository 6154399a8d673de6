"""What a generation loads before it forks: settings, modules and a prepared database."""

import importlib
import os
import signal
import socket
import sys
import traceback
from typing import Any

import msgspec
import structlog
from sqlalchemy.orm import configure_mappers

from idp.app import create_app
from idp.cli import http_server  # noqa: F401  workers share its pages
from idp.cli.failure import Failure, explain
from idp.cli.preparation import prepare_database
from idp.cli.production import load_production
from idp.cli.start_warnings import log_warnings
from idp.ops import logging
from idp.settings import LoadedSettings
from idp.users.passwords import check_shared_memory

log = structlog.get_logger("idp.serve")
# What libraries import when the first request or process needs it. Memory of modules is shared only if the import
# precedes the fork.
_IMPORTED_LATE = (
    "anyio._backends._asyncio",
    "multiprocessing.popen_spawn_posix",
    "multiprocessing.resource_tracker",
    "uvicorn.lifespan.on",
    "uvicorn.loops.auto",
    "zxcvbn.frequency_lists",
)


class NotPrepared(Failure):
    """The database cannot be used; the message is that of the process that tried."""


def load(overrides: dict[str, Any], listeners: list[socket.socket]) -> LoadedSettings:
    """Load and check everything, so that what is wrong is found before a worker runs.

    Args:
        overrides: settings that are options of the command.
        listeners: the sockets, which stay as they are.

    Raises:
        SettingsError: unsafe or invalid settings.
        NotPrepared: the database cannot be used.
    """
    loaded = load_production(overrides)
    logging.configure(loaded.settings.logging)
    log_warnings(log, loaded)
    check_shared_memory()
    _warn_of_other_addresses(loaded, listeners)
    loaded = _with_shared_processors(loaded)
    # It finds mistakes and imports what workers need. Each worker builds its own, because names of lease holders and
    # other random values must differ.
    create_app(loaded)
    for name in _IMPORTED_LATE:
        importlib.import_module(name)
    configure_mappers()
    _prepare_in_fork(loaded)
    return loaded


def _warn_of_other_addresses(loaded: LoadedSettings, listeners: list[socket.socket]) -> None:
    server = loaded.settings.server
    wanted = [server.port, *([server.metrics_port] if server.metrics_port is not None else [])]
    bound = [each.getsockname()[1] for each in listeners]
    if len(wanted) != len(bound) or any(port not in (0, has) for port, has in zip(wanted, bound, strict=True)):
        log.warning("a changed port takes effect after a restart, not after a reload", ports=bound)


def _with_shared_processors(loaded: LoadedSettings) -> LoadedSettings:
    """Return the settings with at most as many password processes as there are processors, one for each worker."""
    settings = loaded.settings
    workers, wanted = settings.server.workers, settings.passwords.workers
    allowed = max(1, len(os.sched_getaffinity(0)) // workers)
    if wanted <= allowed:
        return loaded
    log.warning("fewer password processes, for the processors of this machine", wanted=wanted, for_each_worker=allowed)
    passwords = msgspec.structs.replace(settings.passwords, workers=allowed)
    return msgspec.structs.replace(loaded, settings=msgspec.structs.replace(settings, passwords=passwords))


def _prepare_in_fork(loaded: LoadedSettings) -> None:
    """Prepare the database in a process of its own: connections and threads end with it.

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
        os._exit(_prepare(loaded, writing))
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as answer:
        reason = answer.read()
    _, status = os.waitpid(pid, 0)
    if status:
        raise NotPrepared(reason or "The process that prepares the database was killed.")


def _prepare(loaded: LoadedSettings, writing: int) -> int:
    try:
        prepare_database(log, loaded.settings)
    except Exception as error:  # noqa: BLE001  the parent reports it
        sentence = explain(error)
        if sentence is None:
            traceback.print_exc()
        os.write(writing, (sentence or f"{type(error).__name__}: see above.").removeprefix("idp: ").encode())
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def _end_with_parent() -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
