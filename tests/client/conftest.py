"""Fixtures of the tests of `idp-client`."""

from collections.abc import AsyncIterator, Iterator

import pytest

from client.client_support import Issuer
from client.machines import managed
from factories import Service
from idp.dev.embedded import EmbeddedPostgres, EmbeddedValkey


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    """An issuer of one's own, with one ES256 key, behind a socket."""
    issuer = Issuer()
    yield issuer
    issuer.server.stop()


@pytest.fixture(scope="session")
async def idp(postgres: EmbeddedPostgres, valkey: EmbeddedValkey) -> AsyncIterator[Service]:
    """The service as `idp serve` runs it, with a token to make service tokens with."""
    async with managed(postgres, "client", valkey=valkey) as service:
        yield service
