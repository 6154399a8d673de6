"""Regression tests of attacks that succeeded, or nearly."""

import asyncio
import time

import jwt as pyjwt
import pytest

from factories import PASSWORD, Service, root_secret, running
from flows.test_bad_input import check_problem, raw
from idp.dev.embedded import EmbeddedPostgres
from idp.ops import http_protocol
from idp.ops.rate_limit_rules import RateLimitRules
from idp.settings_schema import RateLimits


@pytest.mark.parametrize("log_format", ["console", "json"])
async def test_a_failing_database_logs_no_password_and_no_hash(
    postgres: EmbeddedPostgres, capfd: pytest.CaptureFixture[str], log_format: str
) -> None:
    """SEC-74: neither local variables, nor statement parameters, nor the row that PostgreSQL quotes."""
    environ = {"IDP_LOGGING__FORMAT": log_format, "LOG_LEVEL": "debug"}
    async with running(postgres.create_database(f"leaks_{log_format}"), environ=environ) as service:
        await service.sql("ALTER TABLE idp.users ADD CONSTRAINT no_eve CHECK (name <> 'Eve')")
        body = {"email": "eve@example.com", "password": "Plain-Text-Secret-42", "name": "Eve"}
        answer = await service.client.post("/auth/register", json=body)
        check_problem(answer, 500, "internal_error")
    said = capfd.readouterr()
    log = said.out + said.err
    assert "no_eve" in log  # enough to find the defect
    for secret in ("Plain-Text-Secret-42", "$argon2id$", "eve@example.com"):
        assert secret not in log, secret


@pytest.mark.alone
async def test_a_silent_connection_is_closed(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that say nothing, or stop in the middle of a head, do not stay for ever."""
    monkeypatch.setattr(http_protocol, "_HEAD_SECONDS", 0.3)
    loop = asyncio.get_running_loop()
    started = loop.time()
    assert await raw(service) == b""
    assert (await raw(service, b"GET / HTTP/1.1\r\nhost:")).startswith(b"HTTP/1.1 408 ")
    # Answered before the body came: the sender gets a while, and then no connection.
    unread = b"POST /nowhere HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n"
    assert (await raw(service, unread)).startswith(b"HTTP/1.1 404 ")
    assert loop.time() - started < 4


async def test_trailers_are_not_headers(service: Service) -> None:
    """RFC 9110 section 6.5: a trailer cannot be a credential, a dev header or a Host."""
    person = await service.register()
    head = b"GET /auth/me HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n0\r\n"
    for trailer in (f"authorization: Bearer {person.token}", f"x-user-email: {person.email}"):
        answer = await raw(service, head + trailer.encode() + b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 401 "), trailer[:20]


async def test_two_host_headers_are_refused(service: Service) -> None:
    """RFC 9112 section 3.2."""
    answer = await raw(service, b"GET /auth/me HTTP/1.1\r\nhost: evil.example\r\nhost: localhost\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_guesses_at_once_do_not_pass_the_limit(service: Service) -> None:
    """SEC-8: of 60 wrong passwords at the same moment ten are checked; right ones at once all pass."""
    person = await service.register()
    right = {"email": person.email, "password": PASSWORD}
    answers = await asyncio.gather(*(service.client.post("/auth/login", json=right) for _ in range(24)))
    assert {answer.status_code for answer in answers} == {200}
    wrong = {**right, "password": "wrong password"}
    answers = await asyncio.gather(*(service.client.post("/auth/login", json=wrong) for _ in range(60)))
    codes = [answer.status_code for answer in answers]
    assert (codes.count(401), codes.count(429)) == (10, 50)


def test_an_ipv6_client_is_its_network() -> None:
    """SEC-8: a client with one IPv6 address has 2^64 of them."""
    rules = RateLimitRules(RateLimits())

    def counted_by(address: str) -> tuple[str, ...]:
        return rules.registration(address)[1]

    assert counted_by("2001:db8:1:2:3:4:5:6") == counted_by("2001:db8:1:2::1") == ("2001:db8:1:2::/64",)
    assert counted_by("2001:db8:1:3::1") != counted_by("2001:db8:1:2::1")
    assert counted_by("::ffff:192.0.2.7") == counted_by("192.0.2.7")


async def test_a_forged_shared_secret_token_does_not_last(postgres: EmbeddedPostgres) -> None:
    """SEC-33 C-06b: holders of the secret can issue tokens, but not with a longer lifetime."""
    secret = root_secret()
    async with running(postgres.create_database("forged"), environ={"AUTH_JWT_SECRET_KEY": secret}) as service:
        person = await service.register()

        def forged(life: int) -> str:
            claims = {"sub": person.email, "uid": person.id, "jti": "x", "exp": int(time.time()) + life}
            return pyjwt.encode(claims | {"sid": person.session_id}, secret, algorithm="HS256")

        for life, status in ((600, 200), (3700, 401), (10 * 365 * 86_400, 401)):
            answer = await service.me({"Authorization": f"Bearer {forged(life)}"})
            assert answer.status_code == status, life


async def test_names_that_no_file_system_or_database_takes_are_404(service: Service) -> None:
    """SEC-76: NUL, line breaks and endless names in a path."""
    admin = await service.register_admin()
    (team,) = (await service.client.get("/teams", headers=admin.bearer)).json()
    members = f"/teams/{team['id']}/members"
    for path in (
        "/docs/assets/%00",
        "/docs/assets/" + "n" * 300,
        "/docs/assets/" + "n" * 5000,
        f"{members}/%00",
        f"{members}/a%0ab",
        f"/teams/%0a{team['id'].replace('-', '')[:31]}/members?limit=1&offset=1",
    ):
        answer = await service.client.get(path, headers=admin.bearer)
        assert answer.status_code == 404, path[:60]
        assert answer.headers["content-type"] == "application/problem+json"


async def test_a_client_that_disconnects_is_not_a_server_error(
    service: Service, capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    head = b"POST /auth/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{"
    await raw(service, head, wait=0.2)
    await asyncio.sleep(0.2)
    assert "unexpected error" not in capfd.readouterr().out


async def test_the_jwks_is_for_everyone_and_carries_no_credentials(service: Service) -> None:
    """SEC-78."""
    for origin in ("https://evil.example", "http://localhost:5173"):
        answer = await service.client.get("/.well-known/jwks.json", headers={"Origin": origin})
        allowed = answer.headers["access-control-allow-origin"]
        assert allowed == "*" or (allowed, origin) == ("http://localhost:5173", "http://localhost:5173")
        if allowed == "*":
            assert "access-control-allow-credentials" not in answer.headers


async def test_dev_headers_are_not_accepted_through_a_tunnel(service: Service) -> None:
    """docs/decisions/0010: what a proxy says of where the request came from must be this machine."""
    person = await service.register()
    email = {"X-User-Email": person.email}
    for extra, status in (
        ({}, 200),
        ({"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "localhost:5173"}, 200),
        ({"X-Forwarded-For": "203.0.113.9"}, 401),
        ({"X-Forwarded-Host": "abc.tunnel.example"}, 401),
        ({"Host": "evil.example"}, 401),
    ):
        assert (await service.me({**email, **extra})).status_code == status, extra


@pytest.mark.parametrize("password", ["password123", "qwertyui", "        ", "aaaaaaaaaaaa", "Password"])
async def test_common_passwords_are_refused_in_production(production: Service, password: str) -> None:
    """C-07 SEC-4: on in production; S3-26's example registers in development."""
    body = {"email": production.new_email(), "password": password, "name": "Pat"}
    answer = await production.client.post("/auth/register", json=body)
    check_problem(answer, 422, "password_rejected")
    assert "most common" in answer.json()["detail"]
