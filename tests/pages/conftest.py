"""A service of their own for tests that need to know everyone in it."""

from collections.abc import AsyncIterator

import pytest

from factories import Service, running
from idp.dev.embedded import EmbeddedPostgres


@pytest.fixture
async def own_service(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    async with running(postgres.create_database("pages_own")) as service:
        yield service
