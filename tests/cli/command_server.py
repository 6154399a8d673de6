"""Forks a process for each command from one that has every module loaded: to start Python afresh takes a second or two.

A program of its own, driven by `command_process.py`. What runs in the fork has what a process of its own would have:
environment, folder, standard streams, session and exit code.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import signal
import socket
import sys
import threading
import time
import traceback
from typing import Any, NoReturn, TextIO


def main() -> None:
    """Answer requests until the test process closes its end of the socket, whose number is our argument."""
    control = socket.socket(fileno=int(sys.argv[1]))
    _load_everything()
    gc.collect()
    gc.freeze()  # a collection in a fork would copy every page
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the keepers
    while True:
        request, descriptors, _, _ = socket.recv_fds(control, 1 << 20, 4)
        if not request:
            return
        if os.fork() == 0:
            control.close()
            _keep(json.loads(request), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _load_everything() -> None:
    for package in ("idp.cli", "idp.dev"):
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
            importlib.import_module(module.name)
    for name in ("idp.app", "idp.db.migrate", "idp.ops.http_protocol", "uvicorn.lifespan.on", "uvloop"):
        importlib.import_module(name)


def _keep(request: dict[str, Any], reply: int, *streams: int) -> NoReturn:
    """Fork the command, tell its pid and then its exit code, each in a line."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        os.close(reply)
        _become(request, streams)
    for stream in streams:
        os.close(stream)
    with contextlib.suppress(BrokenPipeError):
        os.write(reply, b"%d\n" % pid)
        _, status = os.waitpid(pid, 0)
        os.write(reply, b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def _become(request: dict[str, Any], streams: tuple[int, ...]) -> NoReturn:
    """Be the process of this command, from its first line to its exit code."""
    if request["new_session"]:
        os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environ"])
    time.tzset()
    sys.stdin, sys.stdout, sys.stderr = sys.__stdin__, sys.__stdout__, sys.__stderr__ = _standard_streams()
    module = importlib.import_module(request["module"])
    sys.modules["__main__"] = module  # a process that it spawns loads this one again
    sys.argv = [str(module.__file__), *request["arguments"]]
    code = _run(module.main)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except OSError:
        code = 120  # Python's own
    os._exit(code)


def _standard_streams() -> tuple[TextIO, TextIO, TextIO]:
    """Open the streams as Python does at its start."""
    errors = os.fdopen(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)
    output = os.fdopen(1, "w", buffering=1 if os.isatty(1) else -1, encoding="utf-8", closefd=False)
    return os.fdopen(0, encoding="utf-8", closefd=False), output, errors


def _run(command: Any) -> int:
    try:
        command()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return (end.code or 0) & 0xFF
        sys.stderr.write(f"{end.code}\n")
        return 1
    except BaseException:  # noqa: BLE001  what Python itself does with it
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    main()
