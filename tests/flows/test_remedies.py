"""Every error has a `remedy`, and common mistakes with a credential are named."""

import pytest

from factories import Service
from idp.errors import catalogue

XML = {"Content-Type": "application/xml"}


async def test_a_refusal_carries_the_remedy_of_its_code(service: Service) -> None:
    """C-16: the sentence that stood on the documentation page alone is in the answer."""
    for method, path, code in (
        ("GET", "/auth/me", "unauthenticated"),
        ("GET", "/nowhere", "not_found"),
        ("POST", "/auth/login", "unsupported_media_type"),
    ):
        answer = await service.client.request(method, path, content=b"<x/>" if method == "POST" else None, headers=XML)
        problem = answer.json()
        assert (problem["code"], problem["remedy"]) == (code, catalogue()[code].remedy)


async def test_an_oauth_error_carries_the_remedy_too(service: Service) -> None:
    answer = await service.client.post("/oauth2/introspect", data={"token": "x"})
    assert answer.json()["error"] == "invalid_token"
    assert answer.json()["remedy"] == catalogue()["unauthenticated"].remedy


@pytest.mark.parametrize("scheme", ["Token", "ApiKey", "Basic", "token", "JWT"])
async def test_an_unsupported_scheme_is_named(service: Service, scheme: str) -> None:
    """SEC-14: still a refusal, and one that says what to send."""
    answer = await service.client.get("/auth/me", headers={"Authorization": f"{scheme} sk_live_something"})
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (401, "credential_unrecognised")
    assert problem["detail"].lower() == f"unsupported scheme `{scheme.lower()}`; send `authorization: bearer …`."
    assert "sk_live_something" not in answer.text


@pytest.mark.parametrize("value", ["sk_live_secretsecret", "secret words", "eyJhbGciOi.e30.c2ln", "Bearersecret x"])
async def test_the_error_for_a_token_without_scheme_says_so_and_does_not_repeat_it(
    service: Service, value: str
) -> None:
    answer = await service.client.get("/auth/me", headers={"Authorization": value})
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (401, "credential_unrecognised")
    assert problem["detail"].startswith("The Authorization header has no supported scheme; send `Authorization: Bear")
    assert value not in answer.text


@pytest.mark.parametrize("header", [
    "Api-Key", "X-Auth-Token", "x-access-token", "X-ApiKey", "X_API_KEY", "X-Authorization", "Access-Token", "Token",
])  # fmt: skip
async def test_a_credential_in_a_header_that_is_not_read_is_pointed_out(service: Service, header: str) -> None:
    answer = await service.client.get("/auth/me", headers={header: "sk_live_something"})
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (401, "unauthenticated")
    assert f"`{header.lower()}` is not read" in problem["detail"].lower()
    for accepted in ("Authorization: Bearer", "X-API-Key"):
        assert accepted in problem["detail"]
    assert "sk_live_something" not in answer.text


async def test_such_a_header_beside_a_good_credential_changes_nothing(service: Service) -> None:
    person = await service.register()
    answer = await service.client.get("/auth/me", headers=person.bearer | {"Api-Key": "x"})
    assert answer.status_code == 200
