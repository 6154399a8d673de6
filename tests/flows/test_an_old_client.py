"""A complete flow of a client of the PromptStack service."""

import asyncio

import httpx2

from factories import PASSWORD, Service


async def test_a_service_that_consumes_the_old_api_needs_no_change(service: Service) -> None:
    """S3-01 S3-02 S3-03 S3-06 S3-28 S3-29 S3-35 S3-38: register, log in, be validated, ask who one is."""
    email = service.new_email()
    registered = await service.client.post(
        "/auth/register", json={"email": email, "password": PASSWORD, "name": "Old Client"}
    )
    assert registered.json()["token_type"] == "bearer"
    login = await service.client.post("/auth/login", json={"email": email, "password": PASSWORD})
    token = login.json()["access_token"]

    # The documented snippet of a consuming service, with its five seconds and its three members.
    def validate(presented: str) -> tuple[bool, object, object]:
        response = httpx2.post(f"{service.base_url}/auth/validate", json={"token": presented}, timeout=5)
        data = response.json()
        return data["valid"], data["user"], data["error"]

    valid, user, error = await asyncio.to_thread(validate, token)
    assert (valid, error) == (True, None)
    assert isinstance(user, dict)
    assert {"id", "email", "name", "teams", "domains"} <= user.keys()
    valid, user, error = await asyncio.to_thread(validate, token[:-4] + "AAAA")
    assert (valid, user, error) == (False, None, "token_invalid")
    me = await service.me({"Authorization": f"Bearer {token}"})
    assert me.json()["email"] == email
