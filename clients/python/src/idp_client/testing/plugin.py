"""The pytest plugin: fixtures for the tests of a service. See `docs/client.md` of idp.

pytest loads it if `idp-client` is installed, otherwise `pytest_plugins = ["idp_client.testing.plugin"]` does.
"""

from collections.abc import Iterator

import pytest

from idp_client.caller import User
from idp_client.testing.bad_tokens import KINDS, bad_token
from idp_client.testing.issuer import Issuer


@pytest.fixture(scope="session")
def idp_issuer() -> Iterator[Issuer]:
    """An issuer for all tests of a session: configure the service with its `url`."""
    with Issuer() as issuer:
        yield issuer


@pytest.fixture
def idp_user(idp_issuer: Issuer) -> User:
    """A user of one test, with the role `user`."""
    return idp_issuer.user()


@pytest.fixture
def idp_token(idp_issuer: Issuer, idp_user: User) -> str:
    """An access token of `idp_user`."""
    return idp_issuer.token(idp_user)


@pytest.fixture(params=list(KINDS))
def idp_bad_token(request: pytest.FixtureRequest, idp_issuer: Issuer) -> str:
    """A token that the service must refuse with 401; the test runs once for each kind."""
    return bad_token(idp_issuer, request.param)
