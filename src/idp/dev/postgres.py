"""PostgreSQL as a child process."""

import os
import subprocess
import time
from pathlib import Path
from signal import SIGCONT, SIGINT, SIGKILL, SIGSTOP, Signals
from typing import Self
from urllib.parse import quote

from idp.dev import binaries
from idp.dev.child import choose_port, processes_tagged, run, send, spawn
from idp.dev.cluster import Home, acquire, find_home
from idp.dev.errors import EmbeddedError
from idp.dev.initdb import ensure_cluster, last_lines, major_version
from idp.dev.orphaned_processes import stop_orphaned_processes
from idp.dev.server_user import ServerUser

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # their paths have a length limit and need a folder
    "fsync": "off",  # development data: survives a crash of PostgreSQL, not of the machine
    "full_page_writes": "off",
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
_CREATE = """\
CREATE DATABASE :"name" TEMPLATE template0;
ALTER DATABASE :"name" SET search_path = idp, public;
"""
_START_SECONDS = 60.0  # including crash recovery
_POLL_SECONDS = 0.01


class EmbeddedPostgres:
    """One PostgreSQL server on 127.0.0.1, with its data in `data_dir`.

    `port` None means any free one, chosen at the first start and kept. `bin_dir` contains `initdb`, `postgres` and
    `psql`; None means the wheel's.
    """

    def __init__(self, data_dir: Path, *, port: int | None = None, bin_dir: Path | None = None) -> None:
        self._data_dir = data_dir
        self._wanted_port = port
        self._port = port
        self._bin_dir = bin_dir
        self._home: Home | None = None
        self._lock: int | None = None
        self._password = ""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Create the data folder if needed, start the server and wait until it accepts connections.

        Call it from the main thread. Raises EmbeddedError with the remedy.
        """
        if self._process is not None and self._process.poll() is None:
            return
        server_user = ServerUser.for_servers()
        self._bin_dir = self._bin_dir or binaries.postgres_folder()
        major = major_version(self._bin_dir, server_user)
        self._home = find_home(self._data_dir, server_user)
        if self._lock is None:
            self._lock = acquire(self._home)
        try:
            stop_orphaned_processes(self._home.cluster, self._home.tag, server_user.uid)
            self._password = ensure_cluster(self._home, self._bin_dir, major)
            self._launch(self._home, self._bin_dir)
        except BaseException:
            self.stop()
            raise

    def _launch(self, home: Home, bin_dir: Path) -> None:
        for attempts_left in (2, 1, 0):
            self._port = choose_port(self._port)
            settings = _SETTINGS | {"port": str(self._port), "cluster_name": home.tag}
            options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
            home.log.unlink(missing_ok=True)
            with open(home.log, "wb", opener=_private) as log:
                self._process = spawn(
                    [bin_dir / "postgres", "-D", home.cluster, *options],
                    server_user=home.server_user,
                    cwd=home.cluster,
                    log=log,
                    death_signal=SIGINT,  # "fast" shutdown: no recovery at the next start
                )
            if self._is_ready(home, self._process):
                return
            said = home.log.read_text(errors="replace")
            if self._wanted_port is not None or "could not bind" not in said or not attempts_left:
                raise EmbeddedError(f"PostgreSQL did not start. The end of {home.log}:\n{last_lines(said)}")
            self._port = None  # another program took the free port meanwhile

    @staticmethod
    def _is_ready(home: Home, process: subprocess.Popen[bytes]) -> bool:
        deadline = time.monotonic() + _START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            if _says_ready(home.cluster, process.pid):
                return True
            time.sleep(_POLL_SECONDS)
        return False

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The postmaster. Raises EmbeddedError before the first start."""
        if self._process is None:
            raise EmbeddedError("PostgreSQL has not been started.")
        return self._process

    @property
    def url(self) -> str:
        """The URL of the database `idp`. Raises EmbeddedError before the first start."""
        return self._url_of("idp")

    def _url_of(self, database: str) -> str:
        if self._process is None:
            raise EmbeddedError("PostgreSQL has not been started.")
        return f"postgresql://idp:{self._password}@127.0.0.1:{self._port}/{quote(database, safe='')}"

    def create_database(self, name: str) -> str:
        """Create an empty database, owned by `idp`, and return its URL. Raises EmbeddedError."""
        if self._bin_dir is None:
            raise EmbeddedError("PostgreSQL has not been started.")
        made = run(
            [self._bin_dir / "psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-v", f"name={name}", "-d", "postgres"],
            server_user=ServerUser.own(),
            text=_CREATE,
            environment={
                "PGHOST": "127.0.0.1",
                "PGPORT": str(self._port),
                "PGUSER": "idp",
                "PGPASSWORD": self._password,
                "PGPASSFILE": os.devnull,
                "PGCONNECT_TIMEOUT": "10",
            },
            dies_with_parent=False,  # it ends soon, and threads may run already
        )
        if made.returncode != 0:
            raise EmbeddedError(f"The database {name!r} could not be created: {last_lines(made.stdout)}")
        return self._url_of(name)

    def pause(self) -> None:
        """Stop the server with all its connections (SIGSTOP): clients see a dead network."""
        self._send_to_all(SIGSTOP)

    def resume(self) -> None:
        """Resume a paused server."""
        self._send_to_all(SIGCONT)

    def kill(self) -> None:
        """Kill the server, like a crash. `start` restarts it on the same port."""
        self._send_to_all(SIGKILL)
        self.process.wait()

    def _send_to_all(self, number: Signals) -> None:
        # Every backend has its own process group, so a signal to the group would reach only the postmaster. It goes
        # first, so that it starts no new backend meanwhile.
        if self._home is not None:
            send([self.process.pid], number)
            send(processes_tagged(self._home.tag, self._home.server_user.uid), number)

    def stop(self) -> None:
        """Stop the server if it runs: connections are cut, data is kept. Safe to call again."""
        if self._home is not None and self._process is not None:
            stop_orphaned_processes(self._home.cluster, self._home.tag, self._home.server_user.uid)
            self._process.wait()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _says_ready(cluster: Path, pid: int) -> bool:
    # The eighth line of postmaster.pid is what pg_ctl waits for.
    try:
        lines = (cluster / "postmaster.pid").read_text().splitlines()
    except OSError:
        return False
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"


def _private(path: str, flags: int) -> int:
    """Open a private file, because PostgreSQL's errors contain rows."""
    return os.open(path, flags | os.O_EXCL | os.O_NOFOLLOW, 0o600)
