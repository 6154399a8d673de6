"""Health, metrics, logs without secrets, body limits, CORS."""

import re

import pytest

from factories import PASSWORD, Service, root_secret, running
from idp.dev.embedded import EmbeddedPostgres, EmbeddedValkey


async def test_health_is_the_old_services_json(service: Service) -> None:
    """S2-40 S3-22 S3-63 S1-15 C-02."""
    for path in ("/health", "/"):
        answer = await service.client.get(path)
        assert answer.status_code == 200
        assert answer.json() == {
            "status": "healthy",
            "version": "1.0.0",
            "service": "auth-service",
            "components": {"database": "healthy", "redis": "healthy", "command_processor": "running"},
        }


async def test_liveness_and_readiness(service: Service) -> None:
    """S4-41."""
    for path in ("/healthz", "/api/auth/healthz"):
        assert (await service.client.get(path)).json() == {"status": "ok", "service": "auth"}
    assert (await service.client.get("/readyz")).json() == {"status": "ok"}


async def test_health_says_disabled_without_valkey(postgres: EmbeddedPostgres) -> None:
    """C-02 C-12: one node needs none."""
    async with running(postgres.create_database("alone")) as service:
        health = (await service.client.get("/health")).json()
        assert (health["status"], health["components"]["redis"]) == ("healthy", "disabled")


async def test_metrics_count_requests_by_template_and_authentication_by_outcome(service: Service) -> None:
    """S3-53 S3-65 S3-66 S3-67 S3-68 S3-69 S4-43."""
    person = await service.register()
    await service.validate(person.token)
    await service.me({"Authorization": "Bearer nonsense"})
    await service.client.get("/teams/7d1f1b3e-0000-4000-8000-000000000000/members", headers=person.bearer)
    await service.client.get("/no/such/path")
    answer = await service.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")

    def value(pattern: str) -> float:
        found = re.search(rf"^{pattern} ([0-9.e+-]+)$", answer.text, re.MULTILINE)
        assert found, pattern
        return float(found[1])

    assert value(r'auth_request_total\{endpoint="/auth/register",http_status="200",method="POST"\}') >= 1
    assert value(r'auth_request_total\{endpoint="/teams/\{team_id\}/members",http_status="403",method="GET"\}') >= 1
    assert value(r'auth_request_total\{endpoint="\(none\)",http_status="404",method="GET"\}') >= 1
    assert value(r'auth_request_latency_seconds_count\{endpoint="/auth/me"\}') >= 1
    assert value(r'idp_auth_attempts_total\{method="local_jwt",outcome="authenticated"\}') >= 1
    assert value(r'idp_auth_attempts_total\{method="unknown",outcome="credential_unrecognised"\}') >= 1
    assert value(r'idp_token_validations_total\{kind="user",result="valid"\}') >= 1
    assert value(r'idp_token_validation_seconds_count\{kind="user",source="database"\}') >= 1
    assert value(r'idp_db_query_seconds_count\{operation="select"\}') >= 1
    assert value("idp_db_pool_in_use") >= 0
    assert "/no/such/path" not in answer.text


async def test_logs_hold_no_secrets(
    postgres: EmbeddedPostgres, valkey: EmbeddedValkey, capfd: pytest.CaptureFixture[str]
) -> None:
    """SEC-74 S3-64: after a full run, the log has every request and no password, token or root secret."""
    environ = {"LOG_LEVEL": "debug", "IDP_LOGGING__FORMAT": "json"}
    url = postgres.create_database("logs")
    async with running(url, valkey_url=valkey.url, environ=environ) as service:
        person = await service.register(name="Logged Person")
        body = {"email": person.email, "password": PASSWORD}
        await service.client.post("/auth/login", json=body)
        await service.client.post("/auth/login", json={**body, "password": "a wrong password"})
        await service.me(person.bearer)
        await service.client.get(f"/auth/me?token={person.token}")
        await service.me({"X-API-Key": "sk_live_something_secret"})
        await service.validate(person.token)
        await service.client.post("/auth/login", content=b'{"password": "half a passw')
        secret = service.loaded.settings.secrets.secret_key
    assert secret is not None
    log = capfd.readouterr().out
    lines = [line for line in log.splitlines() if '"event":"request"' in line]
    assert len(lines) >= 8
    assert all('"request_id":"' in line for line in lines)
    database_password = url.split(":")[2].split("@")[0]
    for hidden in (
        PASSWORD,
        "a wrong password",
        "half a passw",
        person.token,
        person.token.split(".")[2],
        "sk_live_something_secret",
        secret.reveal(),
        database_password,
        person.email,
    ):
        assert hidden not in log, hidden[:12]


async def test_security_headers_are_on_every_answer_and_hsts_only_over_https(
    service: Service, postgres: EmbeddedPostgres
) -> None:
    """S3-49 S4-46."""
    plain = await service.client.get("/health")
    assert "strict-transport-security" not in plain.headers
    environ = {"IDP_PUBLIC_URL": "https://id.example.com"}
    async with running(postgres.create_database("https"), profile="production", environ=environ) as secure:
        answer = await secure.client.get("/health")
        assert answer.headers["strict-transport-security"] == "max-age=31536000; includeSubDomains"


async def test_cors_knows_the_named_origins_only(service: Service, production: Service) -> None:
    """S3-19 S3-50 C-22 SEC-78."""
    ask = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
    allowed = await service.client.options("/auth/me", headers={"Origin": "http://localhost:5173", **ask})
    assert allowed.headers["access-control-allow-origin"] == "http://localhost:5173"
    assert allowed.headers["access-control-allow-credentials"] == "true"
    for where, origin in ((service, "https://evil.example"), (production, "http://localhost:5173")):
        refused = await where.client.options("/auth/me", headers={"Origin": origin, **ask})
        assert "access-control-allow-origin" not in refused.headers


async def test_forwarded_addresses_count_only_from_trusted_proxies(postgres: EmbeddedPostgres) -> None:
    """The client's address in audit and limits is the peer's, unless the peer is a named proxy."""
    url, secret = postgres.create_database("proxies"), root_secret()
    for networks, expected in (("", "127.0.0.1"), ("10.0.0.0/8", "127.0.0.1"), ("127.0.0.0/8", "203.0.113.7")):
        async with running(url, environ={"IDP_TRUSTED_PROXIES": networks, "IDP_SECRET_KEY": secret}) as service:
            body = {"email": service.new_email(), "password": PASSWORD, "name": "Pat"}
            answer = await service.client.post(
                "/auth/register", json=body, headers={"X-Forwarded-For": "198.51.100.1, 203.0.113.7"}
            )
            rows = await service.sql(
                "SELECT ip_address FROM idp.audit_logs WHERE user_id = $1", answer.json()["user_id"]
            )
            assert {row["ip_address"] for row in rows} == {expected}


async def test_docs_load_nothing_from_elsewhere(service: Service) -> None:
    """C-17: bundled assets, a policy of their own, at both addresses (S4-44, S4-45)."""
    for root in ("", "/api/auth"):
        page = await service.client.get(f"{root}/docs")
        assert page.status_code == 200
        assert "script-src 'self';" in page.headers["content-security-policy"]
        links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert links
        assert not [link for link in links if link.startswith(("http", "//"))]
        for link in links:
            if "/assets/" in link:
                assert link.startswith(f"{root}/docs/assets/")
                assert (await service.client.get(link)).status_code == 200, link
