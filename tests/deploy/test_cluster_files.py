"""The plain manifests, and the task definition of ECS."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from deploy.deploy_support import ROOT, known_names, load_all
from deploy.helm_support import containers_of, pod_of
from idp.app import create_app
from idp.settings import load

MANIFESTS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "deploy/kubernetes").glob("*.yaml"))


def objects() -> dict[tuple[str, str], Any]:
    found = [document for path in MANIFESTS for document in load_all(path)]
    return {(document["kind"], document["metadata"]["name"]): document for document in found}


PODS = {name: pod_of(document) for name, document in objects().items() if name[0] in {"Deployment", "CronJob"}}


@pytest.fixture
def deployment() -> Any:
    return objects()["Deployment", "auth-service"]


@pytest.fixture
def containers(deployment: Any) -> list[Any]:
    return containers_of(deployment)


def by_name(containers: list[Any], name: str) -> Any:
    return next(container for container in containers if container["name"] == name)


def test_the_deployment_is_valid_and_named_as_promised(deployment: Any) -> None:
    """S3-46: auth-service, three replicas, port 8001; the promised manifest lacked selector and labels."""
    assert deployment["apiVersion"] == "apps/v1"
    assert deployment["spec"]["replicas"] == 3
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    service = deployment["spec"]["template"]["spec"]["containers"][0]
    assert [port["containerPort"] for port in service["ports"]] == [8001, 9464]


def test_its_secrets_have_the_promised_names(containers: list[Any]) -> None:
    """S3-46: db-credentials/url and auth-secrets/jwt-secret."""
    by_variable = {entry["name"]: entry for entry in by_name(containers, "auth")["env"]}
    assert by_variable["PORT"]["value"] == "8001"
    wanted = {"DATABASE_URL": ("db-credentials", "url"), "AUTH_JWT_SECRET_KEY": ("auth-secrets", "jwt-secret")}
    for variable, (name, key) in wanted.items():
        reference = by_variable[variable]["valueFrom"]["secretKeyRef"]
        assert (reference["name"], reference["key"]) == (name, key)


def test_every_variable_is_one_that_the_service_understands(containers: list[Any]) -> None:
    for container in containers:
        assert {entry["name"] for entry in container["env"]} <= known_names()
        assert len({entry["name"] for entry in container["env"]}) == len(container["env"])


def test_an_init_container_migrates(deployment: Any) -> None:
    """S4-42."""
    first = deployment["spec"]["template"]["spec"]["initContainers"][0]
    assert first["args"] == ["idp", "migrate"]
    assert first["image"] == deployment["spec"]["template"]["spec"]["containers"][0]["image"]


def test_probes_ask_the_right_routes(containers: list[Any]) -> None:
    """S4-40: start and life by /healthz, which does no I/O; readiness by /readyz."""
    service = by_name(containers, "auth")
    asked = {kind: service[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
    assert asked == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}


def test_more_than_one_replica_shares_a_valkey(containers: list[Any]) -> None:
    """C-12: it is required for more than one."""
    url = next(entry["value"] for entry in by_name(containers, "auth")["env"] if entry["name"] == "VALKEY_URL")
    host = re.match(r"valkey://([\w-]+):6379/", url)
    assert host
    assert ("Service", host[1]) in objects()


@pytest.mark.parametrize("name", PODS, ids=lambda name: name[1])
def test_every_pod_is_confined(name: tuple[str, str]) -> None:
    pod = PODS[name]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    for container in containers_of(objects()[name]):
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"]
        assert not container["image"].endswith(":latest")
        assert ":" in container["image"]


def test_every_service_finds_its_pods() -> None:
    for (kind, name), document in objects().items():
        if kind == "Service":
            selector = document["spec"]["selector"].items()
            pods = [pod for pod in PODS.values() if selector <= pod["metadata"]["labels"].items()]
            assert len(pods) == 1, name
            ports = {port.get("name") for container in pods[0]["spec"]["containers"] for port in container["ports"]}
            assert {port["targetPort"] for port in document["spec"]["ports"]} <= ports


def test_the_service_has_the_name_and_port_that_siblings_call() -> None:
    """S3-38: http://auth-service:8001."""
    assert [port["port"] for port in objects()["Service", "auth-service"]["spec"]["ports"]] == [8001]


CLOSED = {"/", "/health", "/healthz", "/readyz", "/metrics"}


@pytest.fixture
def ingress_paths() -> list[Any]:
    document = objects()["Ingress", "auth-service"]
    assert "defaultBackend" not in document["spec"]
    return [path for rule in document["spec"]["rules"] for path in rule["http"]["paths"]]


def lets_in(ingress_paths: list[Any], path: str) -> bool:
    prefixes = [entry["path"] for entry in ingress_paths if entry["pathType"] == "Prefix"]
    exact = [entry["path"] for entry in ingress_paths if entry["pathType"] == "Exact"]
    assert len(prefixes) + len(exact) == len(ingress_paths)
    return path in exact or any(f"{path}/".startswith(prefix.rstrip("/") + "/") for prefix in prefixes)


def test_the_ingress_blocks_internal_paths(ingress_paths: list[Any]) -> None:
    """C-28: /internal has no credential. A prefix lets in what is below it, so `/` would let in everything."""
    for path in ("/internal", "/internal/validate-key", *CLOSED):
        assert not lets_in(ingress_paths, path), path
    assert {entry["backend"]["service"]["name"] for entry in ingress_paths} == {"auth-service"}


def test_the_ingress_lets_in_every_other_route(ingress_paths: list[Any]) -> None:
    environ = {"DATABASE_URL": "postgresql://idp@localhost/idp", "IDP_SECRET_KEY": "0123456789abcdefghijklmnopqrstuv"}
    routes = {route.path for route in create_app(load("production", environ=environ)).routes}
    assert len(routes) > 20
    public = {path for path in routes - CLOSED if not path.startswith("/internal/")}
    assert {path for path in public if not lets_in(ingress_paths, path)} == set()


def test_the_database_is_dumped_every_night() -> None:
    """S3-58: a dump that was read back before it counts, under its own name only when complete."""
    job = objects()["CronJob", "auth-service-backup"]
    assert re.fullmatch(r"\d+ \d+ \* \* \*", job["spec"]["schedule"])
    container = pod_of(job)["spec"]["containers"][0]
    script = container["args"][0]
    assert script.index("pg_dump") < script.index("pg_restore --list") < script.index('mv "$file.part" "$file"')
    assert container["command"][-1].startswith("-e"), "a failing step fails the job"
    claim = pod_of(job)["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"]
    assert ("PersistentVolumeClaim", claim) in objects()


@pytest.fixture
def task() -> Any:
    return json.loads((ROOT / "deploy/ecs/task-definition.json").read_text())


def test_the_task_definition_is_for_fargate_on_port_8001(task: Any) -> None:
    """S3-45."""
    assert task["requiresCompatibilities"] == ["FARGATE"]
    assert task["networkMode"] == "awsvpc"
    service = by_name(task["containerDefinitions"], "auth")
    assert [port["containerPort"] for port in service["portMappings"]] == [8001, 9464]
    given = {entry["name"]: entry.get("value") for entry in service["environment"] + service["secrets"]}
    assert {"DATABASE_URL", "AUTH_JWT_SECRET_KEY", "AUTH_ALLOW_DEV_HEADERS"} <= set(given)
    assert given["AUTH_ALLOW_DEV_HEADERS"] == "false"
    assert set(given) <= known_names()
    assert all(definition["logConfiguration"]["logDriver"] == "awslogs" for definition in task["containerDefinitions"])


def test_the_task_migrates_before_it_serves(task: Any) -> None:
    service = by_name(task["containerDefinitions"], "auth")
    assert service["dependsOn"] == [{"containerName": "migrate", "condition": "SUCCESS"}]
    migrate = by_name(task["containerDefinitions"], "migrate")
    assert migrate["command"] == ["idp", "migrate"]
    assert migrate["essential"] is False, "a task ends with its first essential container"


def test_the_task_has_no_secret_in_clear(task: Any) -> None:
    """S3-56."""
    for definition in task["containerDefinitions"]:
        for entry in definition.get("environment", []):
            assert not re.search("SECRET|PASSWORD|TOKEN|DATABASE_URL", entry["name"])
        assert all(entry["valueFrom"].startswith("arn:aws:secretsmanager:") for entry in definition["secrets"])


def test_the_tasks_secrets_are_named_so_that_aws_reads_them_as_names(task: Any) -> None:
    """A name that ends in a hyphen and six characters is taken for a whole ARN, and not found."""
    for definition in task["containerDefinitions"]:
        for entry in definition["secrets"]:
            assert not re.search(r"-[A-Za-z0-9]{6}$", entry["valueFrom"]), entry


def test_mail_and_both_shared_secrets_can_be_set_everywhere(task: Any, containers: list[Any]) -> None:
    """No file set SMTP, FROM_EMAIL or JWT_SECRET_KEY, and the task had no ADMIN_TOKEN."""
    wanted = {"SMTP_HOST", "SMTP_USERNAME", "SMTP_PASSWORD", "FROM_EMAIL", "JWT_SECRET_KEY", "ADMIN_TOKEN"}
    service = next(each for each in task["containerDefinitions"] if each["essential"])
    assert wanted <= {entry["name"] for entry in service["environment"] + service["secrets"]}
    assert wanted <= {entry["name"] for entry in by_name(containers, "auth")["env"]}


@pytest.mark.parametrize("password", ["simple9", "a:b\\c", "p@ss/w#rd?%41", "ü €"])
def test_the_backup_keeps_the_password_off_the_command_line(password: str, tmp_path: Path) -> None:
    """All users can read the process list; libpq reads the file."""
    script = pod_of(objects()["CronJob", "auth-service-backup"])["spec"]["containers"][0]["args"][0]
    assert '"$DATABASE_URL"' not in re.findall("pg_dump .*", script)[0]
    head = script[: script.index("pg_dump --format")].replace("/tmp/password", str(tmp_path / "password"))
    url = f"postgresql+asyncpg://idp:{quote(password, safe='')}@db.internal:5432/idp?sslmode=require"
    done = subprocess.run(
        ["bash", "-euc", f'{head}\nprintf %s "$address"'],
        env={"DATABASE_URL": url, "PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "postgresql://idp@db.internal:5432/idp?sslmode=require"
    escaped = password.replace("\\", "\\\\").replace(":", "\\:")
    assert (tmp_path / "password").read_text() == f"*:*:*:*:{escaped}\n"
    assert (tmp_path / "password").stat().st_mode & 0o077 == 0
