"""Chart, plain manifests, task definition, systemd unit, Compose and Containerfile tell the same."""

import json
import re
from typing import Any

import pytest
import yaml

from deploy.deploy_support import ROOT, load, load_all
from deploy.helm_support import CHART, containers_of
from deploy.test_containerfile import lineage
from deploy.test_systemd_unit import environment, value
from idp.cli import server

SERVE, MIGRATE = ["idp", "serve"], ["idp", "migrate"]
DRAIN_SECONDS = 10 + 5  # `run` of cli/server.py: running requests, then the threads of its clean-up
METRICS_PORT = "9464"


@pytest.fixture(scope="module")
def values() -> Any:
    return yaml.safe_load((CHART / "values.yaml").read_text())


@pytest.fixture(scope="module")
def task() -> list[Any]:
    return json.loads((ROOT / "deploy/ecs/task-definition.json").read_text())["containerDefinitions"]


@pytest.fixture(scope="module")
def deployment() -> Any:
    documents = load_all("deploy/kubernetes/auth-service.yaml")
    return next(document for document in documents if document["kind"] == "Deployment")


def command(line: str) -> list[str]:
    return re.sub(r"^\S+/", "", line).replace(" $SERVE_OPTIONS", "").split()


def test_each_serves_by_the_same_command(task: list[Any], deployment: Any) -> None:
    served = [task[1]["command"], containers_of(deployment)[1]["args"], command(value("ExecStart"))]
    assert served == [SERVE] * 3
    assert f"CMD {json.dumps(SERVE)}" in lineage("production")


def test_each_migrates_first_by_the_same_command(task: list[Any], deployment: Any) -> None:
    compose = load("compose.yaml")["services"]["migrate"]["command"]
    migrated = [task[0]["command"], containers_of(deployment)[0]["args"], command(value("ExecStartPre")), compose]
    assert migrated == [MIGRATE] * 4


def test_each_container_runs_as_the_images_user(values: Any, task: list[Any]) -> None:
    user = [line.split()[1] for line in lineage("production") if line.startswith("USER ")][-1]
    context = values["podSecurityContext"]
    assert {f"{context['runAsUser']}:{context['runAsGroup']}", *(each["user"] for each in task)} == {user}


def test_each_root_is_read_only(values: Any, task: list[Any]) -> None:
    assert values["securityContext"]["readOnlyRootFilesystem"] is True
    assert {each["readonlyRootFilesystem"] for each in task} == {True}
    assert value("ProtectSystem") == "strict"


def test_the_default_port_is_the_images_and_the_metrics_port_is_one(values: Any, task: list[Any]) -> None:
    exposed = [line.split()[1] for line in lineage("production") if line.startswith("EXPOSE ")]
    assert exposed == [str(values["containerPort"])] == [environment()["PORT"]]
    given = {entry["name"]: entry["value"] for entry in task[1]["environment"]}
    assert {str(values["metrics"]["port"]), given["IDP_METRICS_PORT"], environment()["IDP_METRICS_PORT"]} == {
        METRICS_PORT
    }
    assert {port["containerPort"] for port in task[1]["portMappings"]} == {int(given["PORT"]), int(METRICS_PORT)}


def test_each_health_check_asks_the_port_that_is_served(task: list[Any]) -> None:
    port = next(entry["value"] for entry in task[1]["environment"] if entry["name"] == "PORT")
    assert f"127.0.0.1:{port}/health " in task[1]["healthCheck"]["command"][1]
    assert "/readyz" in load("compose.yaml")["services"]["idp"]["healthcheck"]["test"][-1]


def test_each_waits_longer_for_the_end_than_the_service_takes(values: Any, task: list[Any]) -> None:
    """A process that is killed while it drains drops requests."""
    assert server.run.__kwdefaults__["shutdown_timeout"] + server._THREAD_SECONDS == DRAIN_SECONDS
    assert values["terminationGracePeriodSeconds"] >= values["preStopSeconds"] + DRAIN_SECONDS + 5
    assert task[1]["stopTimeout"] > DRAIN_SECONDS + 5
    assert int(value("TimeoutStopSec")) > DRAIN_SECONDS + 5
    assert value("KillSignal") == "SIGTERM"


def test_each_can_set_what_the_others_can(task: list[Any], deployment: Any) -> None:
    """Names that one has and another lacks are listed here, with the reason."""
    manifests = {entry["name"] for entry in containers_of(deployment)[1]["env"]}
    ecs = {entry["name"] for entry in task[1]["environment"] + task[1]["secrets"]}
    assert ecs - manifests == {"AUTH_ALLOW_DEV_HEADERS", "FRONTEND_URL"}, "S3-45 names the first; mail's links"
    assert manifests - ecs == {"DATABASE_DIRECT_URL", "INTERNAL_API_TOKEN"}, "a pooler's; S2's siblings use Compose"


def test_no_name_is_set_twice(task: list[Any]) -> None:
    """ECS refuses a task definition with a secret listed twice."""
    for container in task:
        names = [entry["name"] for entry in container.get("environment", []) + container["secrets"]]
        assert len(set(names)) == len(names)
