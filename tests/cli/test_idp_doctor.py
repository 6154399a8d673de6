"""`idp doctor` (S3-48 to S3-58): what is unsafe or missing is found, with what was seen and what to change."""

import base64
import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import Served
from cli.support import idp, in_a_terminal, root_secret, running_serve, without_colours
from client.client_support import Asked, Issuer, Reply, answering
from idp.dev.embedded import EmbeddedPostgres
from idp_client import AuthError, OfflineVerifier

SAFE = {
    "IDP_PUBLIC_URL": "https://id.example.com",
    "IDP_TRUSTED_PROXIES": "10.0.0.0/8",
    "INTERNAL_API_TOKEN": "W7h2Qf0mZpL4xT9cVbN8sKdR3yUjA6eG",
    "IDP_METRICS_PORT": "9100",
    "SMTP_HOST": "smtp.example.org",
    "FROM_EMAIL": "no-reply@example.org",
}
Findings = dict[str, dict[str, str]]


def doctor(*arguments: str, code: int, **environ: str) -> Findings:
    """Run it; return the findings by the name of their check (the last of equal ones)."""
    done = idp("doctor", "-o", "json", *arguments, **environ)
    assert (done.returncode, done.stderr) == (code, ""), done
    return {each["check"]: each for each in json.loads(done.stdout)}


# --- settings and database -------------------------------------------------------------------------------------------


@pytest.fixture
def secret_file(tmp_path: Path) -> str:
    path = tmp_path / "secret_key"
    path.write_text(root_secret())
    return str(path)


def test_safe_settings_have_no_finding_to_change(migrated: str, secret_file: str) -> None:
    """S3-48 to S3-57, as far as settings show."""
    findings = doctor(code=1, DATABASE_URL=migrated, IDP_SECRET_KEY_FILE=secret_file, **SAFE)  # the tests' fsync is off
    settings = [
        "unsafe settings", "root secret", "source of secrets", "public URL", "proxy headers", "CORS",
        "internal routes", "monitoring", "mail", "revocation",
    ]  # fmt: skip
    assert {findings[name]["status"] for name in settings} == {"ok"}
    assert findings["durability"]["status"] == "problem"
    assert findings["durability"]["change"] == "fsync = on in postgresql.conf"


@pytest.mark.parametrize(
    ("change", "check", "status", "seen"),
    [
        ({"IDP_SECRET_KEY_FILE": ""}, "root secret", "problem", "IDP_SECRET_KEY is not set"),
        ({"IDP_PUBLIC_URL": ""}, "public URL", "problem", "IDP_PUBLIC_URL is not set"),
        ({"IDP_PUBLIC_URL": "http://localhost:8000"}, "public URL", "warning", "http://localhost:8000"),
        ({"IDP_TRUSTED_PROXIES": ""}, "proxy headers", "warning", "is not set"),
        ({"INTERNAL_API_TOKEN": ""}, "internal routes", "warning", "INTERNAL_API_TOKEN is not set"),
        ({"IDP_METRICS_PORT": ""}, "monitoring", "warning", "METRICS_TOKEN is set"),
        ({"SMTP_HOST": ""}, "mail", "warning", "SMTP_HOST is not set"),
        ({"AUTH_ALLOW_DEV_HEADERS": "true"}, "unsafe settings", "problem", "AUTH_ALLOW_DEV_HEADERS"),
        ({"AUTH_API_CORS_ORIGINS": "*"}, "unsafe settings", "problem", "AUTH_API_CORS_ORIGINS contains *"),
        ({"IDP_DATABASE__CHANGES": "poll"}, "revocation", "ok", "polled every 250 ms: within 350 ms"),
        ({"DB_POOL_SIZE": "400"}, "connections", "problem", "up to 426 a process"),
        ({"VALKEY_URL": "valkey://127.0.0.1:1/0"}, "Valkey", "problem", "127.0.0.1 does not answer"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_each_setting_that_matters_is_named_with_its_remedy(
    migrated: str, secret_file: str, change: dict[str, str], check: str, status: str, seen: str
) -> None:
    given = {"DATABASE_URL": migrated, "IDP_SECRET_KEY_FILE": secret_file} | SAFE | change
    found = doctor(code=1, **{name: value for name, value in given.items() if value})[check]
    assert found["status"] == status
    assert seen in found["seen"]
    if status != "ok":
        assert found["why"]
        assert found["change"]


def test_a_secret_in_a_variable_is_a_warning(migrated: str) -> None:
    """S3-56: secrets come from files."""
    found = doctor(code=1, DATABASE_URL=migrated, IDP_SECRET_KEY=root_secret())["source of secrets"]
    assert (found["status"], found["seen"]) == ("warning", "env IDP_SECRET_KEY")
    assert found["change"].startswith("IDP_SECRET_KEY_FILE=")


def test_settings_that_cannot_be_read_and_a_dead_database_are_findings() -> None:
    assert "pool_size" in doctor(code=0, DB_POOL_SIZE="many")["settings"]["seen"]
    found = doctor(code=1, DATABASE_URL="postgresql://idp@127.0.0.1:1/idp", IDP_SECRET_KEY=root_secret())
    assert "Nothing answers" in found["PostgreSQL"]["seen"]


async def test_a_superuser_old_keys_and_old_backups_are_problems(postgres: EmbeddedPostgres) -> None:
    import asyncpg

    url = postgres.create_database(f"cli_doctor_{secrets.token_hex(4)}")
    secret = root_secret()
    assert idp("migrate", DATABASE_URL=url).returncode == 0
    found = doctor(code=1, DATABASE_URL=url, IDP_SECRET_KEY=secret)
    assert found["signing keys"]["status"] == "unknown"
    assert found["backups"]["status"] == "warning"
    assert idp("signing-keys", "rotate", "--now", DATABASE_URL=url, IDP_SECRET_KEY=secret).returncode == 0
    connection = await asyncpg.connect(url)
    await connection.execute("UPDATE idp.signing_keys SET signs_from = now() - interval '100 days'")
    await connection.execute(
        "INSERT INTO idp.installation (name, value) VALUES ('last_backup', (now() - interval '3 days')::text),"
        " ('development', 'yes')"
    )
    await connection.close()
    found = doctor(code=1, DATABASE_URL=url, IDP_SECRET_KEY=secret)
    assert found["signing keys"]["status"] == "problem"
    assert "100 days old" in found["signing keys"]["seen"]
    assert (found["backups"]["status"], found["backups"]["seen"]) == ("problem", "the last one is 3 days old")
    assert found["development data"]["status"] == "problem"


def test_findings_are_readable_in_a_terminal(migrated: str) -> None:
    code, shown = in_a_terminal("doctor", columns=100, DATABASE_URL=migrated, IDP_SECRET_KEY=root_secret())
    text = without_colours(shown)
    assert code == 1
    assert "problem   durability" in text
    assert "change                fsync = on in postgresql.conf" in text
    assert text.rstrip().splitlines()[-1].endswith("2 problems, 1 unknown")


def test_warnings_fail_only_with_strict(served: Served) -> None:
    """From outside the service has problems, because it has no TLS."""
    findings = doctor("--url", served.url, code=1)
    assert findings["TLS"]["status"] == "problem"
    assert findings["reachable"]["status"] == "ok"


# --- a deployment from outside ---------------------------------------------------------------------------------------


def test_a_deployment_is_checked_from_outside(migrated: str, tmp_path: Path) -> None:
    environ = {
        "DATABASE_URL": migrated,
        "IDP_SECRET_KEY": root_secret(),
        "INTERNAL_API_TOKEN": SAFE["INTERNAL_API_TOKEN"],
    }
    with running_serve(tmp_path / "out", **environ) as (_, url):
        findings = doctor("--url", url.replace("127.0.0.1", "localhost"), code=1)
    status = {name: each["status"] for name, each in findings.items()}
    assert status == {
        "reachable": "ok", "TLS": "problem", "certificate": "ok", "readiness": "ok", "issuer": "ok", "JWKS": "ok",
        "internal routes": "warning", "metrics": "ok", "dev headers": "ok", "CORS": "ok", "forwarded host": "ok",
        "pages": "ok", "clock": "ok",
    }  # fmt: skip


def careless(asked: Asked) -> Reply:
    """A deployment with everything wrong that a proxy or a command can get wrong."""
    bodies = {
        "/.well-known/openid-configuration": {"issuer": f"https://{asked.headers.get('X-Forwarded-Host')}"},
        "/.well-known/jwks.json": {"keys": [{"kty": "oct", "k": "AAAA"}]},
    }
    cors = {"Access-Control-Allow-Origin": asked.headers.get("Origin", ""), "Access-Control-Allow-Credentials": "true"}
    status = 503 if asked.path == "/readyz" else 200
    return Reply(status, json.dumps(bodies.get(asked.path, {})).encode(), cors)


def test_everything_wrong_with_a_deployment_is_found() -> None:
    """S3-48 to S3-50, C-28, SEC-10, SEC-12, SEC-43, SEC-78."""
    with answering(careless) as server:
        findings = doctor("--url", server.url, code=1)
    problems = {name for name, each in findings.items() if each["status"] == "problem"}
    assert problems == {
        "TLS", "readiness", "issuer", "JWKS", "internal routes", "metrics", "dev headers", "CORS", "forwarded host",
        "pages",
    }  # fmt: skip


def test_a_deployment_that_does_not_answer_is_a_problem() -> None:
    found = doctor("--url", "http://127.0.0.1:1", code=1)
    assert list(found) == ["reachable"]
    assert found["reachable"]["status"] == "problem"


# --- an API ----------------------------------------------------------------------------------------------------------

Check = Callable[[str], bool]


@pytest.fixture
def issuer_with_discovery() -> Iterator[Issuer]:
    """An issuer that a discovery URL describes."""
    issuer = Issuer()
    keys, url = issuer.server.reply, issuer.server.url
    metadata = Reply(body=json.dumps({"issuer": url, "jwks_uri": f"{url}/.well-known/jwks.json"}).encode())
    issuer.server.reply = lambda asked: metadata if asked.path.endswith("openid-configuration") else keys(asked)
    yield issuer
    issuer.server.stop()


@contextmanager
def api(accepts: Check) -> Iterator[str]:
    """An API that answers 200 for tokens that it accepts."""

    def reply(asked: Asked) -> Reply:
        token = asked.headers.get("Authorization", "").removeprefix("Bearer ")
        try:
            return Reply(200 if token and accepts(token) else 401)
        except ZeroDivisionError:
            return Reply(500)

    with answering(reply) as server:
        yield server.url


def claims_of(token: str) -> Any:
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def test_an_api_with_the_client_library_refuses_every_bad_token(issuer_with_discovery: Issuer) -> None:
    issuer = issuer_with_discovery.server.url
    verifier = OfflineVerifier(issuer)
    good = issuer_with_discovery.token(iss=issuer, aud=issuer)

    def accepts(token: str) -> bool:
        try:
            return bool(verifier.verify_sync(token))
        except AuthError:
            return False

    with api(accepts) as url:
        findings = doctor("--api", url, "--issuer", issuer, code=0, IDP_TOKEN=good)
    assert {each["status"] for each in findings.values()} == {"ok"}
    assert int(findings["bad tokens refused"]["seen"].split()[0]) > 25


@pytest.mark.parametrize(
    ("accepts", "let_in"),
    [
        (lambda token: claims_of(token)["iss"].startswith("http"), "signed by another key: an unknown kid"),
        (lambda token: token.endswith(".") and "iss" in claims_of(token), "unsigned: alg is none"),
    ],
    ids=["decodes without verifying", "accepts unsigned tokens"],
)
def test_an_api_that_lets_bad_tokens_in_is_named(issuer_with_discovery: Issuer, accepts: Check, let_in: str) -> None:
    def careless(token: str) -> bool:
        try:
            return accepts(token)
        except (ValueError, IndexError, KeyError, TypeError):
            return False

    with api(careless) as url:
        findings = doctor("--api", url, "--issuer", issuer_with_discovery.server.url, code=1)
    assert findings[f"bad token: {let_in}"]["seen"] == "let in (200)"
    assert findings["good token"]["status"] == "warning"


def test_an_api_that_fails_or_is_public_is_a_problem(issuer_with_discovery: Issuer) -> None:
    with api(lambda token: bool(1 / (len(token) % 2))) as url:
        findings = doctor("--api", url, "--issuer", issuer_with_discovery.server.url, code=1)
    assert "the API fails (500)" in {each["seen"] for each in findings.values()}
    with answering(careless) as server:
        assert (
            doctor("--api", server.url, "--issuer", issuer_with_discovery.server.url, code=1)["no token"]["status"]
            == "problem"
        )


def test_an_issuer_that_is_away_or_missing_is_an_error() -> None:
    assert "Use --issuer" in idp("doctor", "--api", "http://127.0.0.1:1").stderr
    away = idp("doctor", "--api", "http://127.0.0.1:1", "--issuer", "http://127.0.0.1:1")
    assert away.returncode != 0
    assert "No answer" in away.stderr


@pytest.mark.parametrize("keys", [["x", 5, None], [{"kid": "\x1b[2J", "kty": "EC", "x": "\x9b"}]])
def test_a_hostile_key_set_controls_neither_the_terminal_nor_the_check(keys: list[Any]) -> None:
    def reply(asked: Asked) -> Reply:
        if asked.path.endswith("openid-configuration"):
            return Reply(body=json.dumps({"jwks_uri": f"{server.url}/keys"}).encode())
        return Reply(body=json.dumps({"keys": keys}).encode()) if asked.path == "/keys" else Reply(401)

    with answering(reply) as server:
        done = idp("doctor", "--api", f"{server.url}/api", "--issuer", server.url, IDP_TOKEN="a.b.c")
    assert (done.returncode, done.stderr) == (0, ""), done
    assert done.stdout.replace("\n", "").isprintable()


def test_a_hostile_discovery_document_is_an_error() -> None:
    with answering(lambda _asked: Reply(body=json.dumps({"jwks_uri": "\x1b[31m"}).encode())) as server:
        done = idp("doctor", "--api", f"{server.url}/api", "--issuer", server.url)
    assert done.returncode == 5, done
    assert "has no discovery document or keys" in done.stderr
