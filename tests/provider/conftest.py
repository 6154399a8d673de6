"""Browsers at the service of the test's own module: one where a person has signed in, one where nobody has."""

from collections.abc import AsyncIterator

import pytest

from factories import Person, Service
from provider_apps import Browser


@pytest.fixture
async def person(service: Service) -> Person:
    return await service.register(name="Grace Hopper")


@pytest.fixture
async def browser(service: Service, person: Person) -> AsyncIterator[Browser]:
    async with Browser(service) as browser:
        await browser.sign_in(person)
        yield browser


@pytest.fixture
async def stranger(service: Service) -> AsyncIterator[Browser]:
    async with Browser(service) as browser:
        yield browser
