"""One deployment with Clerk for all tests of this folder: create your own users."""

from collections.abc import AsyncIterator

import pytest

from clerk.clerk_support import World, running_world
from idp.dev.embedded import EmbeddedPostgres


@pytest.fixture(scope="session")
async def clerk(postgres: EmbeddedPostgres) -> AsyncIterator[World]:
    async with running_world(postgres.create_database("clerk")) as world:
        yield world
