"""A database for each test that wants one: empty, or as `idp migrate` leaves it; and a service to talk to."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli.support import idp, root_secret, running_serve
from idp.dev.embedded import EmbeddedPostgres


@pytest.fixture
def empty(postgres: EmbeddedPostgres) -> str:
    """The address of a database without anything in it."""
    return postgres.create_database(f"cli_{secrets.token_hex(4)}")


@pytest.fixture(scope="module")
def _migrated(postgres: EmbeddedPostgres) -> str:
    url = postgres.create_database(f"cli_migrated_{secrets.token_hex(4)}")  # of one module, with its root secret
    done = idp("migrate", DATABASE_URL=url)
    assert done.returncode == 0, done.stderr
    return url


@pytest.fixture
def migrated(_migrated: str) -> str:
    """The address of a database at this version, shared by the tests that change nothing in it."""
    return _migrated


@dataclass(frozen=True)
class Served:
    """`idp serve` with an ADMIN_TOKEN, as the commands meet it."""

    url: str
    admin_token: str
    database_url: str

    @property
    def environ(self) -> dict[str, str]:
        """What a person sets to manage it."""
        return {"IDP_URL": self.url, "ADMIN_TOKEN": self.admin_token}


@pytest.fixture(scope="session")
def served(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A production service, shared by the tests of the commands that talk to one."""
    url, admin_token = postgres.create_database("cli_served"), secrets.token_urlsafe(40)
    output: Path = tmp_path_factory.mktemp("served") / "out"
    environ = {"DATABASE_URL": url, "IDP_SECRET_KEY": root_secret(), "ADMIN_TOKEN": admin_token}
    with running_serve(output, **environ, RUN_MIGRATIONS="true") as (_, base_url):
        yield Served(base_url, admin_token, url)
