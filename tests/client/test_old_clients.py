"""The documented requests of the old clients, unchanged."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
import httpx2
import pytest
import requests
from fastapi import Depends, FastAPI
from pydantic import BaseModel

from client.client_support import bearer, serving
from client.machines import api_key, revoke, service_token
from factories import Service
from idp_client import AuthClient, SyncAuthClient, TokenInfo


class OldTokenInfo(BaseModel):
    """What S2's client reads (S2-17): `scopes` is a list, the rest optional, extra keys are ignored."""

    valid: bool
    scopes: list[str] = []
    token_id: str | None = None
    name: str | None = None
    error: str | None = None
    detail: str | None = None


async def ask_as_s2(service: Service, token: str, scopes: list[str] | None = None) -> OldTokenInfo:
    """Send what S2's AuthClient sends, nulls included (S2-16), and read the answer as it does."""
    body = {"token": token, "required_scopes": scopes or [], "service_name": None, "action_name": None}
    async with httpx.AsyncClient(timeout=5.0) as client:
        response = await client.post(f"{service.base_url}/auth/validate", json=body)
    assert response.status_code == 200, "S2-15: any other status is an error to this client"
    return OldTokenInfo(**response.json())


async def test_s2s_client_validates_a_service_token(idp: Service) -> None:
    """S2-15 S2-16 S2-17 S2-41."""
    made = await service_token(idp, "read", "write")
    info = await ask_as_s2(idp, made["token"], ["read"])
    assert info.valid is True
    assert set(info.scopes) == {"read", "write"}
    assert (info.token_id, info.name, info.error) == (made["token_id"], made["name"], None)


async def test_s2s_client_gets_the_codes_and_texts_that_it_knows(idp: Service) -> None:
    """S2-18 S2-19: always 200, `scopes` a list, a code that it maps, and the old texts."""
    made = await service_token(idp, "admin")
    missing = await ask_as_s2(idp, made["token"], ["read"])
    assert (missing.valid, missing.scopes, missing.error) == (False, [], "insufficient_scopes")
    assert missing.detail == "Missing scopes: ['read']"
    await revoke(idp, made["token_id"])
    revoked = await ask_as_s2(idp, made["token"])
    assert (revoked.valid, revoked.error, revoked.detail) == (False, "token_revoked", "Token has been revoked")
    unknown = await ask_as_s2(idp, "amp_live_" + "x" * 43)
    assert (unknown.valid, unknown.error, unknown.detail) == (False, "token_not_found", "Invalid token")


async def test_s2s_client_sees_an_expired_token_as_expired(idp: Service) -> None:
    """S2-18: "Token expired at …"."""
    made = await service_token(idp, "read", ttl_days=1)
    await idp.sql(
        "UPDATE idp.api_keys SET expires_at = now() - interval '1 minute' WHERE id::text = $1", made["token_id"]
    )
    info = await ask_as_s2(idp, made["token"])
    assert (info.valid, info.error) == (False, "token_expired")
    assert (info.detail or "").startswith("Token expired")


def ask_as_s3(service: Service, presented: str) -> tuple[bool, Any, Any]:
    """Do what S3's documentation shows a consuming service (S3-38)."""
    response = requests.post(f"{service.base_url}/auth/validate", json={"token": presented}, timeout=5)
    data = response.json()
    return data["valid"], data["user"], data["error"]


async def test_s3s_snippet_reads_a_user(idp: Service) -> None:
    """S3-03 S3-28 S3-29 S3-38: `valid`, `user` and `error` are always there."""
    person = await idp.register(name="Sam Snippet")
    valid, user, error = await asyncio.to_thread(ask_as_s3, idp, person.token)
    assert (valid, error) == (True, None)
    assert {key: user[key] for key in ("id", "email", "name")} == {
        "id": person.id,
        "email": person.email,
        "name": "Sam Snippet",
    }
    assert [team["name"] for team in user["teams"]] == ["General"]
    assert [domain["key"] for domain in user["domains"]] == ["engineering"]


async def test_s3s_snippet_reads_a_refusal(idp: Service) -> None:
    """S3-29: false has `user: null` and `error` a text."""
    for presented in ("nonsense", "a.b.c", ""):
        valid, user, error = await asyncio.to_thread(ask_as_s3, idp, presented)
        assert (valid, user) == (False, None)
        assert isinstance(error, str)


# --- code that was written for S2's AuthClient, with ours in its place (S2-41, S2-42) ---------------------------------


def s2_service(auth_client: AuthClient | SyncAuthClient) -> FastAPI:
    """Return S2's example service, as its documentation has it."""
    app = FastAPI()
    app.state.service_name = "authenticated-service"
    reader: Any = Annotated[TokenInfo, Depends(auth_client.require_scopes(["read"]))]
    administrator: Any = Annotated[TokenInfo, Depends(auth_client.require_scopes(["admin"]))]

    @app.get("/public")
    async def public() -> dict[str, str]:
        return {"message": "for everyone"}

    @app.get("/echo")
    async def echo(token_info: reader) -> dict[str, Any]:
        return {"authenticated_as": token_info.name, "scopes": token_info.scopes}

    @app.get("/admin/secret")
    async def secret(token_info: administrator) -> dict[str, Any]:
        return {"secret": "of admins", "authenticated_as": token_info.name}

    return app


@pytest.fixture(params=["AuthClient", "SyncAuthClient"])
async def s2(request: pytest.FixtureRequest, idp: Service) -> AsyncIterator[httpx2.AsyncClient]:
    """S2's example service on a socket, with each of our clients."""
    if request.param == "AuthClient":
        client = AuthClient(auth_service_url=idp.base_url, timeout=5.0)
        async with client, serving(s2_service(client)) as http:
            yield http
    else:
        with SyncAuthClient(idp.base_url, timeout=5.0) as sync_client:
            async with serving(s2_service(sync_client)) as http:
                yield http


async def test_s2s_example_service_needs_another_import_and_nothing_else(idp: Service, s2: httpx2.AsyncClient) -> None:
    """S2-41 S2-42: `Depends(auth_client.require_scopes([…]))` gives the token's info, or 401 or 403."""
    reads, rules = await service_token(idp, "read"), await service_token(idp, "admin")
    assert (await s2.get("/public")).status_code == 200
    answer = await s2.get("/echo", headers=bearer(reads["token"]))
    assert answer.json() == {"authenticated_as": reads["name"], "scopes": ["read"]}
    answer = await s2.get("/admin/secret", headers=bearer(reads["token"]))
    assert (answer.status_code, answer.json()["detail"]) == (403, "Insufficient permissions. Required: admin")
    assert (await s2.get("/admin/secret", headers=bearer(rules["token"]))).status_code == 200
    assert (await s2.get("/echo", headers=bearer(rules["token"]))).status_code == 403, "admin implies nothing"
    answer = await s2.get("/echo")
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    for bad in ("Bearer amp_live_nobody", "Bearer", "Basic cGF0OnB3", "Bearer " + "x" * 9000):
        answer = await s2.get("/echo", headers={"Authorization": bad})
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, 'Bearer error="invalid_token"')
    await revoke(idp, reads["token_id"])
    answer = await s2.get("/echo", headers=bearer(reads["token"]))
    assert (answer.status_code, answer.json()["detail"]) == (401, "Token has been revoked")


async def test_s2s_example_service_takes_keys_in_their_own_header(idp: Service, s2: httpx2.AsyncClient) -> None:
    """C-24: X-API-Key as well as Bearer; two that differ are 400."""
    person = await idp.register()
    key = await api_key(idp, person, "read")
    assert (await s2.get("/echo", headers={"X-API-Key": key["secret"]})).status_code == 200
    answer = await s2.get("/echo", headers={"X-API-Key": key["secret"], **bearer("another")})
    assert answer.status_code == 400


async def test_s2s_example_service_is_unavailable_when_the_service_is(idp: Service) -> None:
    """S2-15: 503, never 401."""
    async with AuthClient("http://127.0.0.1:9", timeout=0.5) as client, serving(s2_service(client)) as http:
        answer = await http.get("/echo", headers=bearer("amp_live_x"))
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert (await http.get("/public")).status_code == 200
