"""An outbox and an SMTP server for each test."""

import secrets
from collections.abc import AsyncIterator

import pytest

from factories import prepare, root_secret
from idp.dev.embedded import EmbeddedPostgres
from idp.settings import load
from mail.mail_support import Outbox, PostOffice, outbox_of


@pytest.fixture(scope="package")
async def mail_database(postgres: EmbeddedPostgres) -> str:
    url = postgres.create_database(f"mail_{secrets.token_hex(4)}")
    await prepare(load("production", environ={"DATABASE_URL": url, "IDP_SECRET_KEY": root_secret()}))
    return url


@pytest.fixture
async def outbox(mail_database: str) -> AsyncIterator[Outbox]:
    """An empty one."""
    outbox = outbox_of(mail_database)
    await outbox.sql("TRUNCATE idp.mail_outbox, idp.leases")
    yield outbox
    await outbox.database.close()


@pytest.fixture
async def office() -> AsyncIterator[PostOffice]:
    """One that is open."""
    office = PostOffice()
    async with office.open():
        yield office
