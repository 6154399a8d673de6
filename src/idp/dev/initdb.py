"""Create a cluster atomically: initdb, the role `idp` and the database `idp`."""

import os
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from idp.dev.child import run
from idp.dev.cluster import Home
from idp.dev.errors import EmbeddedError
from idp.dev.server_user import ServerUser

# `idp` is not a superuser, as in production.
_BOOTSTRAP = """\
CREATE ROLE idp LOGIN CREATEDB PASSWORD '{password}'
CREATE DATABASE idp OWNER idp TEMPLATE template0
ALTER DATABASE idp SET search_path = idp, public
"""


def major_version(bin_dir: Path, server_user: ServerUser) -> int:
    """Return PostgreSQL's major version, by running it as its later user.

    Raises EmbeddedError if that user cannot run the binaries.
    """
    closed = server_user.first_closed(bin_dir)
    if closed is not None:
        raise EmbeddedError(
            f"PostgreSQL must not run as root, so it runs as `{server_user.name}`, who may not enter {closed}:"
            " move the project and its .venv to a folder that all users may enter, or run as an ordinary user."
        )
    try:
        answer = run([bin_dir / "postgres", "--version"], server_user=server_user)
    except OSError as error:
        raise EmbeddedError(f"{bin_dir}/postgres cannot be run here ({error.strerror}).") from error
    digits = answer.stdout.rpartition(") ")[2].split(".")[0].strip()
    if answer.returncode != 0 or not digits[:2].isdigit():
        raise EmbeddedError(f"{bin_dir}/postgres does not work here: {answer.stdout.strip()}")
    return int(digits[:2])


def ensure_cluster(home: Home, bin_dir: Path, major: int) -> str:
    """Create the cluster unless it exists, and return the password of the role `idp`.

    It is created in a temporary folder and renamed when complete, so an interrupted start leaves only a
    `postgres.partial-…` folder, which the next start removes. Raises EmbeddedError.
    """
    for partial in home.folder.glob("postgres.partial-*"):
        shutil.rmtree(partial, ignore_errors=True)
    if home.location is not None and not home.location.exists() and home.cluster.exists():
        shutil.rmtree(home.cluster)  # the data folder with the password was removed by hand
    if home.cluster.exists():
        _check_owner(home)
        return _saved_password(home)
    password = secrets.token_urlsafe(24)
    partial = Path(tempfile.mkdtemp(prefix="postgres.partial-", dir=home.folder))
    _initdb(home.server_user, bin_dir, partial, major)
    _bootstrap(home.server_user, bin_dir, partial / "cluster", password)
    _save_password(home, password)
    (partial / "cluster").rename(home.cluster)
    if home.location is not None:
        home.location.write_text(f"{home.folder}\n")
    shutil.rmtree(partial)
    return password


def _check_owner(home: Home) -> None:
    if home.cluster.stat().st_uid != home.server_user.uid:
        raise EmbeddedError(
            f"{home.cluster} does not belong to {home.server_user.name}, who runs PostgreSQL here:"
            " run as its owner, or choose another --data-dir."
        )


def _initdb(server_user: ServerUser, bin_dir: Path, partial: Path, major: int) -> None:
    password_file = partial / "password"
    password_file.touch(mode=0o600, exist_ok=False)
    password_file.write_text(secrets.token_urlsafe(32))  # the superuser's password, which is not stored
    server_user.adopt(password_file)
    server_user.adopt(partial)  # last, so that no other user can write into it before
    # macOS has no C.UTF-8; from version 17 PostgreSQL has a builtin one.
    system_locale = "C" if sys.platform == "darwin" else "C.UTF-8"
    builtin = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if major >= 17 else []
    made = run(
        [
            *(str(bin_dir / "initdb"), "--no-sync", "--encoding=UTF8", f"--locale={system_locale}", *builtin),
            *("--username=postgres", "--auth=scram-sha-256", f"--pwfile={password_file}"),
            *("-D", str(partial / "cluster")),
        ],
        server_user=server_user,
        cwd=partial,
    )
    _check(made.returncode, made.stdout)


def _bootstrap(server_user: ServerUser, bin_dir: Path, cluster: Path, password: str) -> None:
    single_user = [str(bin_dir / "postgres"), "--single", "-D", str(cluster)]
    options = ["-c", "exit_on_error=true", "-c", "fsync=off", "postgres"]
    statements = _BOOTSTRAP.format(password=password)
    made = run([*single_user, *options], server_user=server_user, cwd=cluster, text=statements)
    _check(made.returncode, made.stdout.replace(password, "…"))


def _check(code: int, output: str) -> None:
    if code != 0:
        raise EmbeddedError("The database folder could not be created. PostgreSQL's output:\n" + last_lines(output))


def last_lines(output: str) -> str:
    """Return the last ten non-empty lines."""
    return "\n".join([line for line in output.splitlines() if line.strip()][-10:])


def _saved_password(home: Home) -> str:
    try:
        return (home.data_dir / "postgres.password").read_text().strip()
    except OSError as error:
        raise EmbeddedError(
            f"{error.filename}, the password of the database beside it, cannot be read ({error.strerror}):"
            " put it back, or start afresh with --fresh."
        ) from error


def _save_password(home: Home, password: str) -> None:
    path = home.data_dir / "postgres.password"
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(password + "\n")
