"""compose.yaml, and the three files that replace those of the old services (C-21)."""

import re
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from deploy.deploy_support import ROOT, interpolated, known_names, load, ours, secret_names

FAMILIES = ["amplify", "promptstack", "anomalyze"]
FILES = ["compose.yaml", *(f"deploy/compose/{family}.yaml" for family in FAMILIES)]


@pytest.fixture(params=FILES)
def compose(request: pytest.FixtureRequest) -> Any:
    return load(request.param)


def family(name: str, environment: Mapping[str, str] | None = None) -> Any:
    return interpolated(load(f"deploy/compose/{name}.yaml"), environment)


def mounts(service: Mapping[str, Any], volume: str) -> list[str]:
    return [mount for mount in service.get("volumes", []) if mount.split(":")[0] == volume]


def test_every_variable_is_one_that_the_service_understands(compose: Any) -> None:
    for name, service in ours(compose):
        assert set(service.get("environment", {})) <= known_names(), name


def test_no_secret_of_the_service_is_written_down(compose: Any) -> None:
    for _, service in ours(compose):
        for variable, value in service.get("environment", {}).items():
            if variable in secret_names() - {"DATABASE_URL", "REDIS_URL", "VALKEY_URL"}:
                assert re.fullmatch(r"\$\{\w+:-\}", value), f"{variable} is {value}"


def test_the_main_file_has_no_password_at_all() -> None:
    text = (ROOT / "compose.yaml").read_text()
    assert "DATABASE_URL:" not in text
    assert "POSTGRES_PASSWORD:" not in text


def test_secrets_are_made_before_the_service_starts_and_read_only_to_it(compose: Any) -> None:
    """C-21: an ADMIN_TOKEN made at the first start."""
    for name, service in ours(compose):
        if name == "secrets":
            assert "admin-token" in str(service["command"])
            continue
        environment = service["environment"]
        assert environment["ADMIN_TOKEN_FILE"] == "/var/lib/idp/admin-token"
        assert environment["IDP_SECRET_KEY_FILE"] == "/var/lib/idp/secret-key"
        assert [mount for mount in service["volumes"] if mount.endswith(":/var/lib/idp:ro")]
        assert "secrets" in _needed(compose, name)


def _needed(compose: Any, name: str) -> set[str]:
    direct = set(compose["services"][name].get("depends_on", {}))
    return direct.union(*(_needed(compose, other) for other in direct))


def test_the_database_does_not_see_the_root_secret(compose: Any) -> None:
    volume = "secrets" if "secrets" in compose["volumes"] else "auth_secrets"
    ours_by_name = dict(ours(compose))
    for name, service in compose["services"].items():
        assert name in ours_by_name or not mounts(service, volume), name


def test_databases_are_published_on_loopback_only(compose: Any) -> None:
    ours_by_name = dict(ours(compose))
    for name, service in compose["services"].items():
        if name not in ours_by_name:
            assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name


def test_awaited_services_have_a_health_check(compose: Any) -> None:
    for service in compose["services"].values():
        for needed, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in compose["services"][needed], needed


def test_migrations_run_before_the_service(compose: Any) -> None:
    """S3-42, S1-07: one command brings everything up."""
    one_shot = compose["services"].get("migrate", {}).get("command") == ["idp", "migrate"]
    for name, service in ours(compose):
        if name not in {"secrets", "migrate"}:
            waits = "migrate" in service["depends_on"]
            assert (one_shot and waits) or service["command"] == ["sh", "-c", "idp migrate && exec idp serve"]


def test_images_are_built_for_production(compose: Any) -> None:
    """Rule 7: what only development may run is not in them."""
    assert {service["build"]["target"] for _, service in ours(compose)} == {"production"}


def test_the_main_file_has_the_services_of_c21() -> None:
    services = load("compose.yaml")["services"]
    assert {"idp", "postgres", "valkey", "kafka"} <= set(services)
    assert services["kafka"]["profiles"] == ["kafka"]
    assert all("profiles" not in services[name] for name in services if name != "kafka")


def test_amplify_keeps_its_names() -> None:
    """S2-03, S2-04, S2-42: profile, service, project and network."""
    compose = family("amplify")
    assert compose["name"] == "auth-service"
    assert set(compose["services"]) == {"auth-service", "postgres", "redis", "secrets"}
    assert all(service["profiles"] == ["auth"] for service in compose["services"].values())
    assert "amplify-net" in compose["networks"]
    assert all(
        compose["services"][name]["networks"] == ["amplify-net"] for name in ("auth-service", "postgres", "redis")
    )


def test_amplify_keeps_its_variables_and_their_defaults() -> None:
    """S2-31, S2-32, S2-33, S2-35: the port is the same on both sides."""
    services = family("amplify")["services"]
    environment = services["auth-service"]["environment"]
    assert environment["DATABASE_URL"] == "postgresql://auth_user:auth_pass@postgres:5432/auth_db"
    assert environment["REDIS_URL"] == "redis://redis:6379/0"
    assert environment["TOKEN_CACHE_TTL"] == "1800"
    assert services["auth-service"]["ports"] == ["8000:8000"]
    given = {"AUTH_SERVICE_PORT": "9000", "POSTGRES_PORT": "6000", "REDIS_PORT": "7000", "POSTGRES_DB": "other"}
    services = family("amplify", given)["services"]
    assert services["auth-service"]["ports"] == ["9000:9000"]
    assert services["auth-service"]["environment"]["PORT"] == "9000"
    assert services["postgres"]["ports"] == ["127.0.0.1:6000:5432"]
    assert services["redis"]["ports"] == ["127.0.0.1:7000:6379"]
    assert services["postgres"]["environment"]["POSTGRES_DB"] == "other"
    assert services["auth-service"]["environment"]["DATABASE_URL"].endswith("/other")


def test_amplify_keeps_its_database_and_cache() -> None:
    """S2-44: PostgreSQL 15, 2 GB of cache that forgets the least used, curl as health check."""
    services = family("amplify")["services"]
    assert services["postgres"]["image"] == "postgres:15-alpine"
    assert {"2gb", "allkeys-lru"} <= set(services["redis"]["command"])
    assert "curl -f" in services["auth-service"]["healthcheck"]["test"][1]
    assert "/health" in services["auth-service"]["healthcheck"]["test"][1]


def test_promptstack_keeps_its_services_and_ports() -> None:
    """S3-08, S3-15, S3-38, S3-44: `auth` on 8001, `db` on 5433, and the host name that siblings call."""
    services = family("promptstack")["services"]
    assert services["auth"]["ports"] == ["8001:8001"]
    assert services["auth"]["environment"]["PORT"] == "8001"
    assert services["db"]["ports"] == ["127.0.0.1:5433:5432"]
    assert services["auth"]["networks"]["default"]["aliases"] == ["auth-service"]
    assert services["auth"]["image"] == "promptstack-auth:latest"


def test_promptstack_keeps_its_variables() -> None:
    """S3-17 to S3-21; dev headers are off unless asked for."""
    environment = family("promptstack")["services"]["auth"]["environment"]
    assert environment["DATABASE_URL"] == "postgresql://promptstack:promptstack@db:5432/promptstack"
    assert environment["AUTH_JWT_ACCESS_TOKEN_EXPIRE_MINUTES"] == "30"
    assert environment["AUTH_ALLOW_DEV_HEADERS"] == "false"
    assert environment["AUTH_API_CORS_ORIGINS"].split(",")[0] == "http://localhost:5173"
    names = [
        "AUTH_JWT_SECRET_KEY",
        "AUTH_JWT_ALGORITHM",
        "AUTH_OIDC_ISSUER",
        "AUTH_OIDC_AUDIENCE",
        "AUTH_OIDC_JWKS_URL",
    ]
    given = family("promptstack", dict.fromkeys(names, "theirs"))["services"]["auth"]["environment"]
    assert {given[name] for name in names} == {"theirs"}


def test_anomalyze_keeps_its_services_and_ports() -> None:
    """S1-07, S1-09, S1-12, S1-13: `postgres` can be started alone; the service listens on 3002."""
    services = family("anomalyze")["services"]
    assert "depends_on" not in services["postgres"]
    assert "profiles" not in services["postgres"]
    assert services["postgres"]["ports"] == ["127.0.0.1:5432:5432"]
    assert services["postgres"]["environment"]["POSTGRES_DB"] == "anomalyze"
    assert services["auth-service"]["ports"] == ["3002:3002"]
    assert services["auth-service"]["environment"]["PORT"] == "3002"
    assert services["auth-service"]["environment"]["KAFKA_CLIENT_ID"] == "auth-service"


def test_anomalyze_passes_on_clerks_keys() -> None:
    """S1-10, S1-11."""
    names = ["CLERK_PUBLISHABLE_KEY", "CLERK_SECRET_KEY", "CLERK_WEBHOOK_SECRET"]
    given = family("anomalyze", dict.fromkeys(names, "theirs"))["services"]["auth-service"]["environment"]
    assert {given[name] for name in names} == {"theirs"}


def test_make_secrets_makes_each_once_and_for_its_owner_only(tmp_path: Path) -> None:
    def run() -> dict[str, str]:
        script = ROOT / "deploy/container/make-secrets"
        subprocess.check_call([script, "secret-key", "admin-token"], env={"IDP_SECRETS_DIR": str(tmp_path)})
        return {path.name: path.read_text() for path in tmp_path.iterdir()}

    first = run()
    assert set(first) == {"secret-key", "admin-token"}
    assert first["secret-key"] != first["admin-token"]
    assert all(re.fullmatch(r"[\w-]{64}", text) for text in first.values())
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}
    assert run() == first


@pytest.mark.parametrize("name", ["amplify", "promptstack", "anomalyze"])
def test_each_family_passes_on_mail_and_the_shared_secret(name: str) -> None:
    """SMTP, FROM_EMAIL and JWT_SECRET_KEY."""
    wanted = [
        "SMTP_HOST",
        "SMTP_PORT",
        "SMTP_USERNAME",
        "SMTP_PASSWORD",
        "FROM_EMAIL",
        "FRONTEND_URL",
        "JWT_SECRET_KEY",
    ]
    services = family(name, dict.fromkeys(wanted, "theirs"))["services"]
    environment = services["auth" if name == "promptstack" else "auth-service"]["environment"]
    assert {environment[each] for each in wanted} == {"theirs"}


def test_the_documented_env_of_anomalyze_does_not_point_the_container_at_itself() -> None:
    """S1's .env says localhost; the file wins for the database that it starts."""
    theirs = {"DATABASE_URL": "postgresql://user:password@localhost:5432/anomalyze"}
    environment = family("anomalyze", theirs)["services"]["auth-service"]["environment"]
    assert environment["DATABASE_URL"] == "postgresql://user:password@postgres:5432/anomalyze"
