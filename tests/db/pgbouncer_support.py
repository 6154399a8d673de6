"""A real PgBouncer in front of the tests' PostgreSQL, in transaction mode, with its own default settings."""

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import pytest

from cli.support import lasting_port

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
needs_pgbouncer = pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed (Debian's package has it)")


class PgBouncer:
    """A PgBouncer on a port that it keeps.

    Args:
        url: of the database itself.
        folder: for its files.
        settings: of PgBouncer, beside those that say where it listens and leads.

    Attributes:
        url: the address of the same database through it.
    """

    def __init__(self, url: str, folder: Path, **settings: str) -> None:
        assert PGBOUNCER is not None
        parts = urlsplit(url)
        self._port = lasting_port()
        self.url = parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{self._port}").geturl()
        self._log = folder / "log"
        self._errors = folder / "errors"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(exist_ok=True)
        users, ini = folder / "users.txt", folder / "pgbouncer.ini"
        users.write_text(f'"{parts.username}" "{parts.password}"\n')
        given = {
            "listen_addr": "127.0.0.1",
            "listen_port": str(self._port),
            "auth_type": "scram-sha-256",
            "auth_file": str(users),
            "pool_mode": "transaction",
            "unix_socket_dir": "",
            "logfile": str(self._log),
        }
        lines = [f"{name} = {value}" for name, value in (given | settings).items()]
        database = f"* = host={parts.hostname} port={parts.port}"
        ini.write_text("\n".join(["[databases]", database, "[pgbouncer]", *lines, ""]))
        self._command = [PGBOUNCER, str(ini)]
        if os.geteuid() == 0:  # it refuses to run as root
            nobody = pwd.getpwnam("nobody")
            for path in (folder, users, ini):
                os.chown(path, nobody.pw_uid, nobody.pw_gid)
            self._command.insert(1, "--user=nobody")

    def start(self) -> None:
        """Start it and wait until it listens."""
        if os.geteuid() == 0:  # each time: every start of pytest closes the folder of all runs to others
            for parent in self._log.parent.parents:
                with suppress(OSError):
                    parent.chmod(parent.stat().st_mode | 0o011)
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=errors)
        deadline = time.monotonic() + 10
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1):
                return
            assert self._process.poll() is None, (self._process.poll(), self._errors.read_text()[-1000:])
            assert time.monotonic() < deadline, "pgbouncer does not listen"
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop it at once: every connection through it is lost."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@contextmanager
def pgbouncer(url: str, folder: Path, **settings: str) -> Iterator[str]:
    """Run a PgBouncer (see there); yield the address of the same database through it."""
    with PgBouncer(url, folder, **settings) as running:
        yield running.url
