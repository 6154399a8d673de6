"""What a generation loads before it forks: settings, modules and a prepared database."""

import importlib
import os
import socket
from typing import Any

import msgspec
import structlog
from sqlalchemy.orm import configure_mappers

from idp.app import create_app
from idp.cli import http_server  # noqa: F401  workers share its pages
from idp.cli.preparation_process import prepare_in_fork
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
    prepare_in_fork(log, loaded.settings)
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
