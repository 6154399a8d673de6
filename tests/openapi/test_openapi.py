"""The OpenAPI document, compared with the running service."""

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from factories import Service, running
from idp.dev.clerk_instance import new_state
from idp.dev.embedded import EmbeddedPostgres
from idp.errors import catalogue
from idp.pages.operations import ALIASES
from idp.principal.guards import policies
from idp.signing.jwt import TokenUser

HERE = Path(__file__).parent
SCHEMATHESIS = Path(sys.executable).with_name("st")


@pytest.fixture(scope="module")
async def document(service: Service) -> dict[str, Any]:
    return (await service.client.get("/openapi.json")).json()


async def test_both_addresses_serve_the_same_document(service: Service, document: dict[str, Any]) -> None:
    """C-17 S4-44 S3-71: one document, version 1.0.0."""
    assert (await service.client.get("/api/auth/openapi.json")).json() == document
    assert document["openapi"].startswith("3.1")
    assert document["info"]["version"] == "1.0.0"


async def test_every_route_is_documented_or_a_page(service: Service, document: dict[str, Any]) -> None:
    lines = [line for line in policies(service.app) if not line.path.startswith(("/account", "/admin"))]
    served = {(re.sub(r":\w+}", "}", line.path), line.method.lower()) for line in lines}
    documented = {(path, method) for path, item in document["paths"].items() for method in item}
    pages = {path for path, _ in served - documented if not path.startswith("/docs/htmx")}
    assert pages == {
        "/docs",
        "/api/auth/docs",
        "/docs/assets/{file_path}",
        "/api/auth/docs/assets/{file_path}",
        "/openapi.json",
        "/docs/openapi.json",
        "/docs/{path}",
        "/api/auth/openapi.json",
        "/errors",
        "/errors/{code}",
        "/verify-email",
        "/reset-password",
        "/change-email",
        "/login",
        "/login/passkey",
        "/second-factor",
        "/second-factor/set-up",
        "/support/stop",
        "/register",
        "/consent",
        "/oauth2/authorize",
        "/oauth2/continue",
        "/oauth2/logout",
        "/oauth2/logout/confirm",
        "/signed-out",
        "/federation/{provider}/start",
        "/federation/{provider}/callback",
        "/federation/{provider}/signed-out",
        "/link-account",
        "/dev/sign-in",
        "/brand/logo",
        "/brand/theme.css",
        "/dev/mailbox",
        "/dev/mailbox/{letter_id}",
        "/dev/mailbox/{letter_id}/body",
        "/dev/assets/{file_path}",
    }
    assert documented <= served


VERBS = {
    "act", "add", "begin", "change", "confirm", "create", "deactivate", "delete", "edit", "end", "exchange", "explain",
    "export", "extend", "follow", "get", "introspect", "invite", "list", "login", "logout", "prove", "receive",
    "refresh", "register", "remove", "rename", "renew", "replace", "replay", "request", "resend", "reset", "revoke",
    "rotate", "set", "step", "try", "unlink", "validate", "verify", "withdraw",
}  # fmt: skip


async def test_operation_ids_are_verbs_that_a_generated_client_can_use(document: dict[str, Any]) -> None:
    ids = {
        (method.upper(), path): operation["operationId"]
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }
    for name in ids.values():
        assert re.fullmatch(r"[a-z]+([A-Z][a-z0-9]*)*", name), name
        assert re.match(r"[a-z]+", name)[0] in VERBS, name  # type: ignore[index]
    assert len(set(ids.values())) == len(ids)
    assert ids["POST", "/auth/logout-all"] == "logoutAll"
    assert ids["POST", "/api/auth/logout-all"] == "logoutAllAtApiAuthLogoutAll"


async def test_aliases_name_the_route_to_prefer_and_are_deprecated_where_they_differ(document: dict[str, Any]) -> None:
    """The document and the page say the same."""
    page = (HERE.parents[1] / "docs/routes.md").read_text()
    operations = {(method.upper(), path): op for path, item in document["paths"].items() for method, op in item.items()}
    assert ALIASES.keys() <= operations.keys()
    for route, alias in ALIASES.items():
        assert alias.preferred in operations
        assert alias.preferred not in ALIASES
        assert f"`{' '.join(alias.preferred)}`" in operations[route]["description"]
        row = next(line for line in page.splitlines() if f"`{' '.join(route)}`" in line.partition(" | ")[2])
        assert f"`{' '.join(alias.preferred)}`" in row.partition(" | ")[0], row
    deprecated = {route for route, operation in operations.items() if operation.get("deprecated")}
    assert deprecated == {route for route, alias in ALIASES.items() if alias.differs}


async def test_every_operation_says_who_may_call_and_what_can_go_wrong(document: dict[str, Any]) -> None:
    ids = []
    for path, item in document["paths"].items():
        for method, operation in item.items():
            where = f"{method} {path}"
            ids.append(operation["operationId"])
            assert operation["summary"], where
            assert operation["description"], where
            assert operation["tags"], where
            assert "security" in operation, where
            problems = {s: a for s, a in operation["responses"].items() if s[0] in "45"}
            if path == "/readyz":
                problems.pop("503")  # S4-41: its body is the readiness document
            if path == "/webhooks/clerk":
                assert list(problems.pop("400")["content"]) == ["text/plain"]  # S0-09
            assert problems, where
            if operation["security"]:
                assert {"401", "403", "503"} <= problems.keys(), where
            for status, answer in problems.items():
                if path.startswith("/oauth2/") or path.endswith(
                    "/backchannel-logout"
                ):  # C-16: the errors of RFC 6749, and 400 where others say 422
                    content = answer["content"]["application/json"]
                    assert {"error", "error_description"} <= set(content["schema"]["properties"]), where
                    for code, example in content["examples"].items():
                        assert catalogue()[code].status in {int(status), 422}, where
                        assert example["value"]["error"], where
                    continue
                content = answer["content"]["application/problem+json"]
                assert content["schema"] == {"$ref": "#/components/schemas/Problem"}, where
                for code, example in content["examples"].items():
                    assert catalogue()[code].status == int(status) == example["value"]["status"], where
    assert len(ids) == len(set(ids))


async def test_every_body_has_an_example(document: dict[str, Any]) -> None:
    shapes = document["components"]["schemas"]
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if body := operation.get("requestBody"):
                (content,) = body["content"].values()
                schema = content["schema"]
                optional = [each for each in schema.get("oneOf", [schema]) if "$ref" in each]
                name = optional[0]["$ref"].rpartition("/")[2]
                required = shapes[name].get("required", [])
                for member in required:
                    assert shapes[name]["properties"][member].get("examples"), f"{method} {path}: {name}.{member}"


async def test_security_schemes_are_those_that_work_here(service: Service, production: Service) -> None:
    here = (await service.client.get("/openapi.json")).json()["components"]["securitySchemes"]
    there = (await production.client.get("/openapi.json")).json()["components"]["securitySchemes"]
    assert here["bearer"]["scheme"] == "bearer"
    assert here["devEmail"]["name"] == "X-User-Email"
    assert there.keys() == {"bearer"}


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_the_service_keeps_what_the_document_says_under_fuzzing(
    postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    """SEC-76: schemathesis with all its checks; no 5xx, and every answer is a documented one."""
    environ = {"CLERK_WEBHOOK_SECRET": new_state().webhook_secret}  # without one the webhook is 503
    async with running(postgres.create_database("fuzzed"), environ=environ) as service:
        admin = await service.register_admin()
        # Of no session, which the fuzzing would end.
        about = TokenUser(id=admin.id, email=admin.email, email_verified=False)
        token = (await service.app.core.tokens.issue_asymmetric(about)).token
        process = await asyncio.create_subprocess_exec(
            str(SCHEMATHESIS),
            "--config-file",
            str(HERE / "schemathesis.toml"),
            "run",
            f"{service.base_url}/openapi.json",
            "--header",
            f"Authorization: Bearer {token}",
            "--phases",
            "examples,coverage,fuzzing,stateful",
            "--no-color",
            cwd=tmp_path,
            env={**os.environ, "HYPOTHESIS_STORAGE_DIRECTORY": str(tmp_path)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
    report = output.decode()
    assert process.returncode == 0, report[-15000:]
    assert re.search(r"\d+ generated, \d+ passed", report), report[-3000:]
