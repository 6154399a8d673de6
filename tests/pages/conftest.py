"""A service of their own for tests that need to know everyone in it."""

import secrets
from collections.abc import AsyncIterator

import pytest

from factories import Service, running
from idp.dev.embedded import EmbeddedPostgres


@pytest.fixture
async def own_service(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    async with running(postgres.create_database(f"pages_own_{secrets.token_hex(4)}")) as service:
        yield service
