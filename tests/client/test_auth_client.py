"""AuthClient and SyncAuthClient: verdicts of the real service, and every other response."""

import asyncio
import json
import time

import pytest

from client.client_support import Reply, Server, answering
from client.machines import api_key, revoke, service_token
from factories import Service
from idp_client import AuthClient, AuthUnavailable, InsufficientScopes, SyncAuthClient, TokenInfo
from idp_client.token_info import caller_of, error_of

GOOD = json.dumps({"valid": True, "scopes": ["read"], "token_id": "t", "name": "n"}).encode()


async def test_a_service_token_is_valid_with_its_scopes_and_name(idp: Service) -> None:
    """S2-17 S2-19: all scopes must be held; `admin` implies nothing."""
    made = await service_token(idp, "read", "admin")
    async with AuthClient(idp.base_url) as client:
        info = await client.validate_token(made["token"], ["read"], "billing", "/echo")
        assert (info.valid, info.scopes, info.error) == (True, ["read", "admin"], None)
        assert (info.kind, info.token_id, info.name) == ("service_token", made["token_id"], made["name"])
        info = await client.validate_token(made["token"], ["read", "write"])
        assert (info.valid, info.scopes, info.error) == (False, [], "insufficient_scopes")
        caller = caller_of(await client.validate_token(made["token"]))
        assert (caller.kind, caller.source, caller.user) == ("service_token", "online", None)


async def test_an_api_key_names_the_person_behind_it(idp: Service) -> None:
    person = await idp.register(name="Kay Key")
    made = await api_key(idp, person, "ingest:write")
    async with AuthClient(idp.base_url) as client:
        caller = caller_of(await client.validate_token(made["secret"]))
    assert (caller.kind, caller.scopes) == ("api_key", ("ingest:write",))
    assert caller.user is not None
    assert (caller.user.id, caller.user.email, caller.user.name) == (person.id, person.email, "Kay Key")
    assert caller.user.roles == ("user",)
    assert [team.name for team in caller.user.teams or ()] == ["General"]
    assert [domain.key for domain in caller.user.domains or ()] == ["engineering"]


async def test_a_revoked_token_is_refused_at_the_next_question(idp: Service) -> None:
    """S2-18: nothing is remembered here, so a revocation counts at once."""
    made = await service_token(idp, "read")
    async with AuthClient(idp.base_url) as client:
        assert (await client.validate_token(made["token"])).valid
        await revoke(idp, made["token_id"])
        info = await client.validate_token(made["token"])
    assert (info.valid, info.error, error_of(info).detail) == (False, "token_revoked", "Token has been revoked")


async def test_the_synchronous_client_says_the_same(idp: Service) -> None:
    made = await service_token(idp, "read")

    def ask(token: str, scopes: list[str]) -> TokenInfo:
        with SyncAuthClient(idp.base_url) as client:
            return client.validate_token(token, scopes)

    async with AuthClient(idp.base_url) as client:
        for token in (made["token"], "amp_live_nobody", "a.b.c", ""):
            for scopes in (["read"], ["write"]):
                assert await asyncio.to_thread(ask, token, scopes) == await client.validate_token(token, scopes)


@pytest.mark.parametrize(
    ("code", "status", "detail"),
    [
        ("token_expired", 401, "Token expired"),
        ("token_revoked", 401, "Token has been revoked"),
        ("token_not_found", 401, "Invalid token"),
        ("insufficient_scopes", 403, "Insufficient permissions. Required: read, write"),
        ("user_inactive", 401, "Authentication failed"),
        ("a_code_of_next_year", 401, "Authentication failed"),
        (None, 401, "Authentication failed"),
    ],
)
def test_every_code_means_what_it_means_to_s2(code: str | None, status: int, detail: str) -> None:
    """S2-18: expired, revoked and not found are 401, missing scopes are 403, anything else is 401."""
    error = error_of(TokenInfo(valid=False, error=code, detail="secret detail"), ["read", "write"])
    assert (error.status, error.detail, error.reason) == (status, detail, "secret detail")
    challenge = {401: 'error="invalid_token"', 403: 'error="insufficient_scope", scope="read write"'}[status]
    assert error.headers == {"WWW-Authenticate": f"Bearer {challenge}"}


NO_VERDICTS = {
    **{f"status {status}": Reply(status, GOOD) for status in (201, 204, 302, 400, 401, 403, 404, 422, 500, 502, 503)},
    "a web page": Reply(body=b"<html>"),
    "nothing": Reply(body=b""),
    "a list": Reply(body=b"[]"),
    "without valid": Reply(body=b'{"scopes":[]}'),
    "valid is a text": Reply(body=b'{"valid":"true","scopes":[]}'),
    "valid is 1": Reply(body=b'{"valid":1,"scopes":[]}'),
    "scopes are null": Reply(body=b'{"valid":true,"scopes":null}'),
    "scopes are a text": Reply(body=b'{"valid":true,"scopes":"read"}'),
    "not UTF-8": Reply(body=b'{"valid":true,"scopes":["\xff"]}'),
}


@pytest.mark.parametrize("name", NO_VERDICTS)
async def test_an_unexpected_response_is_unavailable_and_never_invalid(name: str) -> None:
    """S2-15: any status but 200 is an error, and so is a body that is no verdict."""
    with answering(lambda _: NO_VERDICTS[name]) as server:
        async with AuthClient(server.url) as client:
            with pytest.raises(AuthUnavailable) as refusal:
                await client.validate_token("amp_live_x")
        assert refusal.value.status == 503
        with SyncAuthClient(server.url) as sync_client, pytest.raises(AuthUnavailable):
            await asyncio.to_thread(sync_client.validate_token, "amp_live_x")


async def test_members_added_later_are_ignored() -> None:
    """S2-17: extra keys are ignored, so the service can grow."""
    body = json.dumps({"valid": True, "scopes": ["read"], "new": {"a": 1}, "user": {"id": "u", "new": 1}}).encode()
    with answering(lambda _: Reply(body=body)) as server:
        async with AuthClient(server.url) as client:
            info = await client.validate_token("amp_live_x")
    assert info.user is not None
    assert (info.scopes, info.user.id) == (["read"], "u")


async def test_a_service_that_hangs_is_given_up_after_the_timeout() -> None:
    """Rule 1: a dead dependency is 503, in the time that was agreed."""
    with answering(lambda _: Reply(body=GOOD, wait=2)) as server:
        async with AuthClient(server.url, timeout=0.3) as client:
            started = time.perf_counter()
            with pytest.raises(AuthUnavailable, match="Time"):
                await client.validate_token("amp_live_x")
            assert time.perf_counter() - started < 1.0
        with SyncAuthClient(server.url, timeout=0.3) as sync_client, pytest.raises(AuthUnavailable):
            await asyncio.to_thread(sync_client.validate_token, "amp_live_x")


async def test_an_unreachable_service_is_unavailable_and_reconnected() -> None:
    """Rule 1: recovery without a restart."""
    server = Server(lambda _: Reply(body=GOOD))
    async with AuthClient(server.url) as client:
        server.stop()
        with pytest.raises(AuthUnavailable):
            await client.validate_token("amp_live_x")
        server.start()
        assert (await client.validate_token("amp_live_x")).valid
        server.stop()
    with pytest.raises(AuthUnavailable):
        async with AuthClient("http://nowhere.invalid") as nowhere:
            await nowhere.validate_token("amp_live_x")


async def test_a_rate_limit_names_the_time_to_retry() -> None:
    """A service that sheds a flood has decided nothing; its Retry-After reaches the caller."""
    with answering(lambda _: Reply(429, headers={"Retry-After": "42"})) as server:
        async with AuthClient(server.url) as client:
            with pytest.raises(AuthUnavailable) as refusal:
                await client.validate_token("amp_live_x")
    assert refusal.value.headers == {"Retry-After": "42"}


@pytest.mark.parametrize("token", ["", "x" * 8193, "two words", "\x00Basic abc", "ä", "\ud800", "line\nbreak"])
async def test_a_malformed_credential_is_refused_without_a_request(token: str) -> None:
    """SEC-28: and cannot pass for an outage, which a 422 of the service would."""
    with answering(lambda _: Reply(body=GOOD)) as server:
        async with AuthClient(server.url) as client:
            info = await client.validate_token(token)
        assert (info.valid, error_of(info).status, server.asked) == (False, 401, [])


async def test_a_long_path_does_not_break_the_question(idp: Service) -> None:
    """Callers choose the length of a path; the service reads names of at most 1000 characters."""
    made = await service_token(idp, "read")
    async with AuthClient(idp.base_url + "/") as client:
        assert (await client.validate_token(made["token"], None, "s" * 5000, "/" * 5000)).valid


def test_scopes_that_cannot_stand_in_a_header_are_left_out_of_it() -> None:
    """RFC 6750 section 3: nothing from a configuration breaks out of the quotes."""
    assert InsufficientScopes(['read"\r\nSet-Cookie: x']).headers == {
        "WWW-Authenticate": 'Bearer error="insufficient_scope"'
    }
