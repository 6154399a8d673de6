"""Shared code of the tests of commands: runs each command as a process.

`idp`, `auth_cli`, `in_a_terminal` and `running_serve` fork those from one that has the modules loaded
(`command_process.py`). IDP and AUTH_CLI start Python afresh, for tests of what only that shows.
"""

import asyncio
import atexit
import fcntl
import json
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from cli import command_process
from cli.command_process import CommandProcess
from secret_scan import secrets_seen

ROOT = Path(__file__).parents[2]
IDP = [sys.executable, "-m", "idp.cli.main"]
AUTH_CLI = [sys.executable, "-m", "idp.cli.auth_cli"]
# The least a program needs; nothing of ours, whatever the tests run with.
PLAIN = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
if (ROOT / "var/dev/dev.json").exists():
    # A `script/dev` runs in this checkout: commands without an address would find it. They get another checkout.
    _elsewhere = Path(tempfile.mkdtemp(prefix="idp-checkout-"))
    atexit.register(shutil.rmtree, _elsewhere, ignore_errors=True)
    shutil.copytree(ROOT / "config", _elsewhere / "config")
    (_elsewhere / "pyproject.toml").touch()
    PLAIN["IDP_CONFIG_DIR"] = str(_elsewhere / "config")


def root_secret() -> str:
    secret = secrets.token_urlsafe(48)
    secrets_seen.add(secret, "root secret")
    return secret


def idp(
    *arguments: str, seconds: float = 60, typed: str | None = None, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with only these variables of idp in its environment.

    Args:
        seconds: how long it may take.
        typed: what it reads from stdin.
    """
    return command_process.run(IDP[2], arguments, environ=PLAIN | environ, typed=typed, seconds=seconds)


def auth_cli(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `auth-cli` to its end, with only these variables of idp in its environment."""
    return command_process.run(AUTH_CLI[2], arguments, environ=PLAIN | environ)


def in_a_terminal(
    *arguments: str, columns: int, typed: Sequence[str] = (), command: Sequence[str] = IDP, **environ: str
) -> tuple[int, str]:
    """Run `idp` in a terminal of this width; return its exit code and what was shown.

    Args:
        command: what to run instead of `idp`: AUTH_CLI.
        typed: what the person types, a line at each question.
    """
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    process = CommandProcess(
        command[2],
        arguments,
        environ=PLAIN | {"TERM": "xterm-256color"} | environ,
        stdin=theirs, stdout=theirs, stderr=theirs,
        new_session=True,
    )  # fmt: skip
    os.close(theirs)
    shown, answers = b"", iter(typed)
    try:
        with suppress(OSError):  # how the end of a terminal looks to us
            while piece := os.read(ours, 65536):
                shown += piece
                if shown.endswith(b": "):
                    os.write(ours, f"{next(answers)}\n".encode())
        return process.wait(60), shown.decode().replace("\r\n", "\n")
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def without_colours(shown: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", shown)


def refusal(*arguments: str, **environ: str) -> str:
    """Run a command that must refuse: exit code 1, nothing on stdout, no traceback. Return what it said."""
    done = idp(*arguments, **environ)
    assert (done.returncode, done.stdout) == (1, ""), done
    assert "Traceback" not in done.stderr
    return done.stderr


def wait_until(condition: Callable[[], object], seconds: float = 30, what: str = "it") -> None:
    """Poll until `condition()` is true; an AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited too long for {what}"
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def lasting_port() -> int:
    """Return a free port for a server that is restarted: one that outgoing connections do not take meanwhile."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@dataclass
class Answer:
    """What an HTTP request got."""

    status: int
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


def get(url: str, *, token: str | None = None, **headers: str) -> Answer:
    """Send a GET; `token` is a bearer token, an underscore in a header's name a hyphen."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if token is not None:
        sent["Authorization"] = f"Bearer {token}"
    return _send(urllib.request.Request(url, headers=sent))


def post(url: str, body: Mapping[str, Any], *, token: str | None = None) -> Answer:
    """Send a POST with a JSON body; with a bearer token, if there is one."""
    data = json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    return _send(urllib.request.Request(url, data=data, headers=headers))


def _send(request: urllib.request.Request) -> Answer:
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return Answer(answer.status, answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.read().decode())


def log_in(base_url: str, email: str, password: str) -> Answer:
    return post(f"{base_url}/auth/login", {"email": email, "password": password})


def processes_of(session: int) -> dict[int, str]:
    """Return the live processes of a session, whatever group or parent they have: pid to command line (Linux)."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _parent, _group, its_session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(its_session) == session and state != "Z":
                found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
        except OSError:  # it ended while we looked
            continue
    return found


class Running:
    """A command that runs, in a session of its own, with its output in a file."""

    def __init__(self, command: list[str], output: Path, environ: Mapping[str, str], *, forked: bool = False) -> None:
        """Start it; `forked` spares an IDP command the start of Python."""
        self.output = output
        self.began, self.began_at = time.monotonic(), time.time()
        self.process: subprocess.Popen[bytes] | CommandProcess
        with output.open("wb") as stream:
            if forked:
                self.process = CommandProcess(
                    command[2],
                    command[3:],
                    environ=PLAIN | dict(environ),
                    stdout=stream,
                    stderr=stream,
                    new_session=True,
                )
                return
            self.process = subprocess.Popen(
                command,
                env=PLAIN | dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def said(self) -> str:
        return self.output.read_text("utf-8")

    def send(self, number: signal.Signals) -> None:
        """Send a signal as a terminal does: to the whole foreground group."""
        os.killpg(self.process.pid, number)

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        """Send a signal and return the exit code."""
        if self.process.poll() is None:
            self.send(number)
        return self.process.wait(60)

    def left_behind(self) -> dict[int, str]:
        return processes_of(self.process.pid)

    def leaves_nothing(self) -> bool:
        """Say whether all its processes are gone; Python's own resource tracker takes a moment longer than the rest."""
        with suppress(AssertionError):
            wait_until(lambda: not self.left_behind(), 5)
        return not self.left_behind()

    def clean_up(self) -> None:
        """Leave nothing behind, whatever the test found; and no secret in what it said."""
        secrets_seen.search(self.output.read_text("utf-8", "replace"), f"the output in {self.output}")
        if self.process.poll() is None:
            self.end(signal.SIGTERM)
        for pid in self.left_behind():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextmanager
def running_serve(output: Path, *arguments: str, wait: bool = True, **environ: str) -> Iterator[tuple[Running, str]]:
    """Run `idp serve` on a free port; yield it with its address, by default when it is alive."""
    port = free_port()
    base_url = f"http://127.0.0.1:{port}"
    serve = Running(
        [*IDP, "serve", "--host", "127.0.0.1", "--port", str(port), *arguments], output, environ, forked=True
    )
    try:
        if wait:
            wait_until(lambda: serve.process.poll() is not None or _answers(f"{base_url}/healthz"), what="idp serve")
            assert serve.process.poll() is None, serve.said()
        yield serve, base_url
    finally:
        serve.clean_up()


def _answers(url: str) -> bool:
    try:
        return get(url).status == 200
    except OSError:
        return False


class Dev(Running):
    """`idp dev` on a data folder, from the start of the command to its end; `script` runs the real `script/dev`."""

    def __init__(
        self, data_dir: Path, *arguments: str, output: Path | None = None, script: bool = False, **environ: str
    ) -> None:
        self.data_dir = data_dir
        start = [str(ROOT / "script/dev")] if script else [*IDP, "dev"]
        output = output or data_dir.with_name(f"{data_dir.name}.out")
        super().__init__([*start, "--data-dir", str(data_dir), *arguments], output, environ, forked=not script)
        self.facts: dict[str, Any] = {}
        self.seconds = 0.0

    def wait(self, seconds: float = 90) -> "Dev":
        """Wait for `dev.json`, and for the screen."""
        file = self.data_dir / "dev.json"
        wait_until(lambda: self.process.poll() is not None or self._is_new(file), seconds, what="dev.json")
        assert self.process.poll() is None, self.said()
        self.seconds = time.monotonic() - self.began
        self.facts = json.loads(file.read_text("utf-8"))
        wait_until(lambda: "Ctrl-C" in self.said(), what="the screen")
        return self

    def _is_new(self, file: Path) -> bool:
        # A start that was killed leaves its own behind, until the next one takes it away.
        return file.exists() and file.stat().st_mtime > self.began_at

    @property
    def base_url(self) -> str:
        return str(self.facts["base_url"])

    def persona(self, email: str) -> dict[str, Any]:
        return next(person for person in self.facts["personas"] if person["email"] == email)


@contextmanager
def running_dev(data_dir: Path, *arguments: str, script: bool = False, **environ: str) -> Iterator[Dev]:
    """Run `idp dev` until the end of the block; on any free port unless told otherwise. `script`: see `Dev`."""
    if "PORT" not in environ and "--port" not in arguments:
        arguments = ("--port", "0", *arguments)
    dev = Dev(data_dir, *arguments, script=script, **environ)
    try:
        yield dev.wait()
    finally:
        dev.clean_up()


def write(database_url: str, statement: str, *values: object) -> None:
    """Write a row as it may have come from before its text was checked, or by an import."""

    async def run() -> None:
        connection = await asyncpg.connect(database_url)
        try:
            await connection.execute(statement, *values)
        finally:
            await connection.close()

    asyncio.run(run())


def shell(line: str) -> subprocess.CompletedProcess[str]:
    """Paste a line into a shell."""
    return subprocess.run(["/bin/sh", "-c", line], env=PLAIN, capture_output=True, text=True, timeout=30, check=False)


def unquoted(text: str) -> str:
    """Return the one word that a quoted path is."""
    (word,) = shlex.split(text)
    return word
