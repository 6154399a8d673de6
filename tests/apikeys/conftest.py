"""One deployment for all tests of keys and service tokens."""

from collections.abc import AsyncIterator

import pytest

from apikeys.key_support import ENVIRON
from factories import Person, Service, running
from idp.dev.embedded import EmbeddedPostgres, EmbeddedValkey


@pytest.fixture(scope="session")
async def keyed(postgres: EmbeddedPostgres, valkey: EmbeddedValkey) -> AsyncIterator[Service]:
    """Production with an ADMIN_TOKEN; make keys and people of your own, and look at nobody else's."""
    url = postgres.create_database("keyed")
    async with running(url, valkey_url=valkey.url, profile="production", environ=ENVIRON) as it:
        yield it


@pytest.fixture
async def person(keyed: Service) -> Person:
    """Somebody with an account and no keys."""
    return await keyed.register()
