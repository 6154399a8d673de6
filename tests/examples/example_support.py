"""Starting an example service as its user does, and talking to it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
START_SECONDS = 40
Command = Callable[[int], list[str]]


def asgi_service(name: str) -> Command:
    """Return the command in the first lines of a Python example."""
    uvicorn = [
        sys.executable,
        "-m",
        "uvicorn",
        "--app-dir",
        str(EXAMPLES / name),
        f"{name}:app",
        "--log-level",
        "warning",
    ]
    return lambda port: [*uvicorn, "--port", str(port)]


def flask_service() -> Command:
    """Return the command in the first lines of the Flask example."""
    app = str(EXAMPLES / "flask_service/flask_service.py")
    return lambda port: [sys.executable, "-m", "flask", "--app", app, "run", "--port", str(port)]


def django_service() -> Command:
    """Return the command in the first lines of the Django example."""
    script = str(EXAMPLES / "django_service/django_service.py")
    return lambda port: [sys.executable, script, "runserver", "--noreload", str(port)]


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextmanager
def started(command: Command, *, port: int | None = None, **environ: str) -> Iterator[httpx2.Client]:
    """Run an example service for the length of the block, and talk to it."""
    port = port or free_port()
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    variables = {**kept, "PYTHONPATH": str(ROOT / "clients/python/src"), "PORT": str(port), **environ}
    process = subprocess.Popen(command(port), env=variables, cwd=ROOT)
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            _wait_for(client, process)
            yield client
    finally:
        process.terminate()
        process.wait(timeout=20)


def _wait_for(client: httpx2.Client, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            client.get("/public")
        except httpx2.TransportError:
            assert process.poll() is None, "it ended"
            assert time.monotonic() < deadline, "it did not start"
            time.sleep(0.05)
        else:
            return
