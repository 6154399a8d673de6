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
from urllib.parse import urlsplit

import pytest

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
needs_pgbouncer = pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed (Debian's package has it)")


@contextmanager
def pgbouncer(url: str, folder: Path, **settings: str) -> Iterator[str]:
    """Run a PgBouncer; yield the address of the same database through it.

    Args:
        url: of the database itself.
        folder: for its files.
        settings: of PgBouncer, beside those that say where it listens and leads.
    """
    assert PGBOUNCER is not None
    parts = urlsplit(url)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder.mkdir(exist_ok=True)
    users, ini = folder / "users.txt", folder / "pgbouncer.ini"
    users.write_text(f'"{parts.username}" "{parts.password}"\n')
    given = {
        "listen_addr": "127.0.0.1",
        "listen_port": str(port),
        "auth_type": "scram-sha-256",
        "auth_file": str(users),
        "pool_mode": "transaction",
        "unix_socket_dir": "",
        "logfile": str(folder / "log"),
    }
    lines = [f"{name} = {value}" for name, value in (given | settings).items()]
    database = f"* = host={parts.hostname} port={parts.port}"
    ini.write_text("\n".join(["[databases]", database, "[pgbouncer]", *lines, ""]))
    command = [PGBOUNCER, str(ini)]
    if os.geteuid() == 0:  # it refuses to run as root
        nobody = pwd.getpwnam("nobody")
        for path in (folder, users, ini):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        command.insert(1, "--user=nobody")
        for parent in folder.parents:
            with suppress(OSError):
                parent.chmod(parent.stat().st_mode | 0o011)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, "pgbouncer does not listen"
            time.sleep(0.02)
        yield parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{port}").geturl()
    finally:
        process.terminate()
        process.wait(10)
