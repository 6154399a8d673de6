"""One deployment for all tests of keys and service tokens."""

from collections.abc import AsyncIterator

import pytest

from apikeys.key_support import ENVIRON
from factories import Person, Service, running
from idp.dev.embedded import EmbeddedPostgres, EmbeddedValkey


@pytest.fixture(scope="session")
async def keyed(postgres: EmbeddedPostgres, valkey: EmbeddedValkey) -> AsyncIterator[Service]:
    """Production with an ADMIN_TOKEN; create your own keys and users, and do not use others."""
    url = postgres.create_database("keyed")
    async with running(url, valkey_url=valkey.url, profile="production", environ=ENVIRON) as it:
        yield it


@pytest.fixture
async def person(keyed: Service) -> Person:
    """A user without keys."""
    return await keyed.register()
