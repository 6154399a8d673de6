"""Pages during a PostgreSQL outage: they say so, and work again afterwards."""

import pytest

from factories import OWN_LIMITS, PASSWORD, running
from faults.test_database_away import own_postgres
from idp.dev.embedded import EmbeddedPostgres
from pages.visitor import Visitor, heading

__all__ = ["own_postgres"]  # a fixture
HTML = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
REQUEST = "/login?request=01990c7e-7f3b-7c1e-8a54-0f6f1d5a9a10"


@pytest.mark.alone
async def test_a_page_says_that_the_service_is_unavailable(own_postgres: EmbeddedPostgres) -> None:
    """SEC-77: never "wrong password", and nobody seems to be signed out."""
    url = own_postgres.create_database("away_from_pages")
    async with (
        running(url, environ=OWN_LIMITS, profile="production") as service,
        Visitor(service, Accept=HTML) as visitor,
        Visitor(service, Accept=HTML) as stranger,
    ):
        person = await service.register()
        await visitor.sign_in(person)
        form = await stranger.open("/login")
        own_postgres.stop()
        assert heading(await stranger.open("/")) == "idp is running"
        for answer in (
            *[await visitor.open(path) for path in ("/", "/login", REQUEST, "/consent" + REQUEST[6:])],
            await stranger.send(form, email=person.email, password=PASSWORD),
        ):
            assert (answer.status_code, heading(answer)) == (503, "Temporarily unavailable")
            assert int(answer.headers["Retry-After"]) >= 1
        own_postgres.start()
        assert heading(await visitor.open("/")) == "You are signed in"
        assert (await stranger.post(form, email=person.email, password=PASSWORD)).status_code == 303
