"""Regression tests of attacks on sessions and accounts."""

import asyncio
import json
import secrets
from typing import Any

import httpx2
import pytest

from factories import PASSWORD, Service, running
from flows.mail_support import ask_for_reset, reset
from idp.dev.embedded import EmbeddedPostgres, EmbeddedValkey

KEY = {"name": "laptop", "scopes": ["read"]}
ADMIN_USERS = "/api/auth/admin/users"


class HeldBack:
    """A request whose last byte is held back, on a connection of its own."""

    def __init__(self, service: Service, method: str, path: str, body: Any, headers: dict[str, str]) -> None:
        self._service = service
        content = json.dumps(body).encode()
        head = [f"{method} {path} HTTP/1.1", f"host: {service.base_url.removeprefix('http://')}", "connection: close"]
        head += [f"content-length: {len(content)}", "content-type: application/json"]
        head += [f"{name}: {value}" for name, value in headers.items()]
        self._start = "\r\n".join(head).encode() + b"\r\n\r\n" + content[:-1]
        self._end = content[-1:]

    async def __aenter__(self) -> "HeldBack":
        host, port = self._service.base_url.removeprefix("http://").split(":")
        self._reader, self._writer = await asyncio.open_connection(host, int(port))
        self._writer.write(self._start)
        await self._writer.drain()
        await asyncio.sleep(0.2)  # until the service has decided who calls
        return self

    async def finish(self) -> tuple[int, dict[str, Any]]:
        self._writer.write(self._end)
        head, _, body = (await self._reader.read()).partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body)

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()


async def test_a_request_that_is_held_back_does_not_outlive_its_session(service: Service) -> None:
    """SEC-19 SEC-59: who calls is decided again when the body is complete."""
    person = await service.register()
    async with HeldBack(service, "POST", "/v1/api-keys", KEY, person.bearer) as request:
        assert (await service.client.post("/auth/logout", headers=person.bearer)).status_code == 200
        status, answer = await request.finish()
    assert (status, answer["code"]) == (401, "token_revoked")
    async with HeldBack(service, "DELETE", "/v1/me", {"confirm": person.email}, person.bearer) as request:
        status, answer = await request.finish()
    assert (status, answer["code"]) == (401, "token_revoked")


async def test_an_administrator_disabled_meanwhile_changes_nothing(service: Service) -> None:
    """SEC-19: held back requests of theirs neither make a service token nor make them an administrator again."""
    admin, other = await service.register_admin(), await service.register_admin()
    token = {"name": secrets.token_hex(8), "scopes": ["idp:manage"]}
    again = {"is_active": True, "roles": ["user", "admin"]}
    async with (
        HeldBack(service, "POST", "/auth/tokens", token, admin.bearer) as making,
        HeldBack(service, "PATCH", f"{ADMIN_USERS}/{admin.id}", again, admin.bearer) as rising,
    ):
        ended = await service.client.patch(
            f"{ADMIN_USERS}/{admin.id}", json={"is_active": False, "roles": ["user"]}, headers=other.bearer
        )
        assert ended.status_code == 200
        assert (await making.finish())[0] == 401
        assert (await rising.finish())[0] == 401
    assert (await service.me(admin.bearer)).json()["code"] == "user_inactive"


async def test_no_key_survives_the_claim_of_its_account(service: Service) -> None:
    """C-11: a stranger who registered my address makes keys while I claim it; those that waited for it are refused."""
    survivors = 0
    for _ in range(4):
        stranger = await service.register()
        token = await ask_for_reset(service, stranger.email)
        making = [service.client.post("/v1/api-keys", json=KEY, headers=stranger.bearer) for _ in range(12)]
        claimed, *made = await asyncio.gather(reset(service, token, "my own good password"), *making)
        assert claimed.status_code == 200
        for answer in made:
            assert answer.status_code in {201, 401}, answer.text
            if answer.status_code == 201:
                survivors += (await service.validate(answer.json()["secret"]))["valid"]
    assert survivors == 0


@pytest.mark.parametrize("device_info", [
    {"a": "\x00"},
    {"\x00": 1},
    "a\x00b",
    {"a": "x" * 5000},
    [],
    7,
])  # fmt: skip
async def test_device_info_that_cannot_be_kept_is_422(service: Service, device_info: Any) -> None:
    """SEC-76: NUL, too large, or neither an object nor a text."""
    person = await service.register()
    body = {"email": person.email, "password": PASSWORD, "device_info": device_info}
    for path in ("/auth/login", "/auth/register"):
        more = {"name": "Pat"} if path == "/auth/register" else {}
        email = service.new_email() if more else person.email
        answer = await service.client.post(path, json=body | more | {"email": email})
        assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed"), path


async def test_deep_device_info_is_422(service: Service) -> None:
    """SEC-28 SEC-76: at every depth."""
    person = await service.register()
    for depth in (9, 500, 900, 960, 965, 970, 990, 1100, 5000):
        nested = '{"a":' * depth + "1" + "}" * depth
        body = f'{{"email":"{person.email}","password":"{PASSWORD}","device_info":{nested}}}'
        answer = await service.client.post("/auth/login", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422, depth
    surrogate = f'{{"email":"{person.email}","password":"{PASSWORD}","device_info":"\\ud800"}}'
    answer = await service.client.post("/auth/login", content=surrogate, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422


async def test_a_user_has_a_bounded_number_of_sessions(postgres: EmbeddedPostgres) -> None:
    """SEC-76: beginning one more ends the one that was not used for longest, so a list stays a list."""
    environ = {"IDP_ACCOUNTS__MAX_SESSIONS_PER_USER": "3"}
    async with running(postgres.create_database("many_sessions"), environ=environ) as service:
        person = await service.register()
        later = [await service.sign_in(person) for _ in range(4)]
        listed = (await service.client.get("/api/auth/sessions", headers=later[-1].bearer)).json()["sessions"]
        assert [each["session_id"] for each in listed] == [each.session_id for each in reversed(later[1:])]
        for ended in (person, later[0]):
            assert (await service.me(ended.bearer)).json()["code"] == "token_revoked"
        reasons = await service.sql("SELECT DISTINCT ended_reason FROM idp.user_sessions WHERE ended_at IS NOT NULL")
        assert [row["ended_reason"] for row in reasons] == ["too_many_sessions"]


@pytest.mark.parametrize("shared", [True, False])
async def test_registrations_at_once_do_not_pass_the_limit(
    postgres: EmbeddedPostgres, valkey: EmbeddedValkey, shared: bool
) -> None:
    """S4-36 SEC-8: of 20 at the same moment five are let through, counted in Valkey and in the process."""
    environ = {"IDP_RATE_LIMITS__REGISTRATIONS_PER_ADDRESS_PER_HOUR": "5"}
    url = postgres.create_database(f"at_once_{shared}")
    async with running(url, valkey_url=valkey.url if shared else None, environ=environ) as service:
        bodies = [{"email": service.new_email(), "password": PASSWORD, "name": "Pat"} for _ in range(20)]
        async with httpx2.AsyncClient(base_url=service.base_url, timeout=30) as client:
            if shared:  # the counters of other tests are in this Valkey too
                await forget_addresses(service)
            answers = await asyncio.gather(*(client.post("/auth/register", json=body) for body in bodies))
        codes = [answer.status_code for answer in answers]
        assert (codes.count(200), codes.count(429)) == (5, 15)


async def forget_addresses(service: Service) -> None:
    storage = service.app.dependencies["limiter"].dependency()._shared.storage  # type: ignore[operator,union-attr]
    await storage.reset()


async def test_a_malformed_foreign_cookie_hides_none_of_ours(service: Service) -> None:
    """RFC 6265bis section 5.8.3: a sibling host can plant such cookies."""
    person = await service.register()
    body = {"email": person.email, "password": PASSWORD}
    answer = await service.client.post("/auth/login?mode=cookie", json=body)
    ours = f"idp_session={answer.cookies['idp_session']}"
    for odd in ('pref={"a":1}', "x[]=1", "é=1", "=", ";;", "a", '"', "idp_session_=1"):
        for cookie in (f"{odd}; {ours}", f"{ours}; {odd}"):
            answer = await service.client.get("/auth/me", headers={"Cookie": cookie.encode("latin-1")})
            assert answer.status_code == 200, cookie


async def test_one_responses_limits_do_not_appear_in_the_next(service: Service) -> None:
    """Requests sent at once over one connection share a context of the server."""
    person = await service.register()
    login = json.dumps({"email": person.email, "password": "wrong password"}).encode()
    host, port = service.base_url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"host: a\r\ncontent-type: application/json\r\ncontent-length: {len(login)}\r\n\r\n"
    first = f"POST /auth/login HTTP/1.1\r\n{head}"
    writer.write(first.encode() + login + b"GET /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    said = (await reader.read()).decode().lower()
    writer.close()
    assert said.count("ratelimit-policy:") == 1
    assert "ratelimit" not in said[said.rindex("http/1.1 ") :]


async def test_a_shared_secret_token_takes_no_copy_of_a_persons_data(postgres: EmbeddedPostgres) -> None:
    """C-06b: holders of the secret can issue one for every known session."""
    environ = {"AUTH_JWT_SECRET_KEY": secrets.token_urlsafe(40)}
    async with running(postgres.create_database("no_copy"), environ=environ) as service:
        person = await service.register()
        answer = await service.client.get("/v1/me/export", headers=person.bearer)
        assert (answer.status_code, answer.json()["code"]) == (403, "shared_secret_token")
