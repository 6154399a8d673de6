"""Tests of the FastAPI service without a running idp.

    pytest examples/fastapi_service

`idp_issuer` and the other fixtures come from `idp_client.testing`; see `docs/client.md`.
"""

import os
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from idp_client.caller import User
from idp_client.testing import Issuer

pytest_plugins = ["idp_client.testing.plugin"]  # only where idp-client is not installed with pip


@pytest.fixture(scope="session")
def client(idp_issuer: Issuer) -> Iterator[TestClient]:
    """The service, configured with the issuer for tests."""
    os.environ["AUTH_SERVICE_URL"] = idp_issuer.url
    from fastapi_service import app

    with TestClient(app) as client:
        yield client


def bearer(credential: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {credential}"}


def test_everyone_sees_the_public_endpoint(client: TestClient) -> None:
    assert client.get("/public").status_code == 200


def test_a_user_sees_its_own_data(client: TestClient, idp_user: User, idp_token: str) -> None:
    me = client.get("/me", headers=bearer(idp_token)).json()
    assert me == {"kind": "user", "name": None, "email": idp_user.email, "scopes": ["openid", "profile", "email"]}


def test_no_credential_is_401(client: TestClient) -> None:
    assert client.get("/me").status_code == 401


def test_a_bad_token_is_refused(client: TestClient, idp_bad_token: str) -> None:
    answer = client.get("/me", headers=bearer(idp_bad_token))
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


def test_echo_needs_the_scope_read(client: TestClient, idp_issuer: Issuer, idp_user: User) -> None:
    key, admin = idp_issuer.api_key(idp_user, "read", name="laptop"), idp_issuer.service_token("admin")
    answer = client.post("/echo", json={"message": "hello"}, headers={"X-API-Key": key})
    assert answer.json() == {"message": "Echo: hello", "authenticated_as": "laptop", "scopes": ["read"]}
    assert client.post("/echo", json={"message": "hello"}, headers=bearer(admin)).status_code == 403


def test_the_report_needs_the_role_admin(client: TestClient, idp_issuer: Issuer, idp_token: str) -> None:
    admin = idp_issuer.token(idp_issuer.user(roles=["user", "admin"]))
    assert client.get("/admin/report", headers=bearer(admin)).status_code == 200
    assert client.get("/admin/report", headers=bearer(idp_token)).status_code == 403


def test_a_revoked_key_is_refused(client: TestClient, idp_issuer: Issuer, idp_user: User) -> None:
    key = idp_issuer.api_key(idp_user, "read")
    assert client.get("/me", headers=bearer(key)).status_code == 200
    idp_issuer.revoke(key)
    assert client.get("/me", headers=bearer(key)).status_code == 401


def test_an_outage_is_503(client: TestClient, idp_issuer: Issuer, idp_user: User) -> None:
    key = idp_issuer.api_key(idp_user, "read")
    with idp_issuer.outage():
        answer = client.get("/me", headers=bearer(key))
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert client.get("/me", headers=bearer(key)).status_code == 200
