"""A database for each test that wants one: empty, or as `idp migrate` leaves it."""

import secrets

import pytest

from cli.support import idp
from idp.dev.embedded import EmbeddedPostgres


@pytest.fixture
def empty(postgres: EmbeddedPostgres) -> str:
    """The address of a database without anything in it."""
    return postgres.create_database(f"cli_{secrets.token_hex(4)}")


@pytest.fixture(scope="session")
def _migrated(postgres: EmbeddedPostgres) -> str:
    url = postgres.create_database("cli_migrated")
    done = idp("migrate", DATABASE_URL=url)
    assert done.returncode == 0, done.stderr
    return url


@pytest.fixture
def migrated(_migrated: str) -> str:
    """The address of a database at this version, shared by the tests that change nothing in it."""
    return _migrated
