"""The chart deploy/helm/idp, rendered by helm."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from deploy.deploy_support import ROOT, known_names, load_all, secret_names
from deploy.helm_support import (
    CHART,
    EXAMPLES,
    KUBERNETES,
    REQUIRED,
    containers_of,
    example,
    helm,
    needs_helm,
    pod_of,
    rendered,
    template,
    tool,
)

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
OF_OPERATORS = {"ServiceMonitor"}  # their schemas belong to no Kubernetes version


def check(document: Any) -> None:
    """Compare with Kubernetes' schema; strictly, so that a misspelt member is an error."""
    if document["kind"] not in OF_OPERATORS:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


@pytest.mark.parametrize("path", sorted((ROOT / "deploy/kubernetes").glob("*.yaml")), ids=lambda path: path.name)
def test_each_committed_manifest_fits_the_schema_of_kubernetes(path: Path) -> None:
    for document in load_all(str(path)):
        check(document)


@needs_helm
@pytest.mark.parametrize("name", EXAMPLES)
def test_each_example_is_linted_and_fits_the_schema_of_kubernetes(name: str) -> None:
    """S4-40."""
    done = helm("lint", "--strict", str(CHART), "--values", str(CHART / f"examples/{name}.yaml"))
    assert done.returncode == 0, done.stdout
    for document in example(name).values():
        check(document)


@needs_helm
def test_the_plain_manifests_are_what_the_chart_renders(tmp_path: Path) -> None:
    """`script/render-manifests` writes them again."""
    subprocess.check_call([ROOT / "script/render-manifests", tmp_path], env={"PATH": "/usr/bin:/bin", "HELM": _helm()})
    committed = {path.name: path.read_text() for path in (ROOT / "deploy/kubernetes").iterdir()}
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == committed


def _helm() -> str:
    return str(tool("helm"))


@needs_helm
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "publicUrl is not set: set it to the URL that clients use"),
        (["--set", "publicUrl=id.example.com"], "/publicUrl"),
        (["--set", "publicUrl=https://id.example.com"], "No database: set existingSecret"),
        (
            [
                "--set",
                "publicUrl=https://x.example",
                "--set-json",
                'secretRefs={"DATABASE_URL":{"name":"a","key":"b"}}',
            ],
            "No root secret: set secretRefs.IDP_SECRET_KEY",
        ),
        ([*REQUIRED, "--set", "valkey.enabled=false"], "Up to 5 processes share no Valkey"),
        ([*REQUIRED, "--set", "relay.enabled=true"], "set env.KAFKA_BOOTSTRAP_SERVERS"),
        (
            [*REQUIRED, "--set", "metrics.serviceMonitor.enabled=true"],
            "needs metrics.enabled and metrics.service.enabled",
        ),
        ([*REQUIRED, "--set", "preStopSeconds=15"], "terminationGracePeriodSeconds must exceed"),
        ([*REQUIRED, "--set", "autoscaling.minReplicas=6"], "minReplicas is larger"),
        ([*REQUIRED, "--set", "env.PORT=1"], "env.PORT is set by another value"),
        ([*REQUIRED, "--set", "env.SMTP_PASSWORD=hush"], "SMTP_PASSWORD"),
        ([*REQUIRED, "--set", "env.BACKUP_VERIFY_URL=postgresql://idp:hush@db/idp"], "BACKUP_VERIFY_URL"),
        ([*REQUIRED, "--set", "env.SHOP_CLIENT_SECRET=hush"], "SHOP_CLIENT_SECRET"),
        ([*REQUIRED, "--set-json", 'env.IDP_FEDERATION__PROVIDERS="{}"'], "IDP_FEDERATION__PROVIDERS"),
        ([*REQUIRED, "--set-json", 'extraEnv=[{"name":"SHOP_CLIENT_SECRET","value":"hush"}]'], "/extraEnv/0"),
        ([*REQUIRED, "--set", "valkey.url=valkey://:hush@valkey:6379"], "/valkey/url"),
        ([*REQUIRED, "--set", "existngSecret=idp"], "existngSecret"),
        ([*REQUIRED, "--set", "image.tag=latest"], "/image/tag"),
        ([*REQUIRED, "--set-json", 'ingress.hosts=[{"host":"a","paths":[{"path":"/"}]}]'], "paths"),
        ([*REQUIRED, "--set-json", 'secretRefs={"SMTP_PASSWORD":{"name":"a"}}'], "key"),
    ],
)
def test_what_is_missing_or_unsafe_is_named(arguments: list[str], message: str) -> None:
    done = template(*arguments)
    assert done.returncode != 0
    assert message in done.stderr


@needs_helm
def test_a_secret_that_only_an_operator_names_comes_from_a_secret() -> None:
    reference = '[{"name":"SHOP_CLIENT_SECRET","valueFrom":{"secretKeyRef":{"name":"a","key":"b"}}}]'
    done = template(*REQUIRED, "--set-json", f"extraEnv={reference}")
    assert done.returncode == 0, done.stderr


def test_the_schema_knows_every_secret() -> None:
    """S3-56: a secret given as a plain value is refused."""
    assert set(SCHEMA["definitions"]["secret"]["enum"]) == secret_names()
    given = set(SCHEMA["properties"]["secretRefs"]["propertyNames"]["enum"])
    assert given <= known_names()
    aliases = {name for name in secret_names() if name.startswith(("IDP_", "AUTH_", "REDIS_"))} | {
        "CLERK_WEBHOOK_SIGNING_SECRET"
    }
    assert secret_names() - aliases <= given, "each secret can be given by a reference"


@needs_helm
@pytest.mark.parametrize("name", EXAMPLES)
def test_secrets_are_references_everywhere(name: str) -> None:
    """S3-56."""
    objects = example(name)
    assert not {kind for kind, _ in objects} & {"ConfigMap", "Secret"}
    for kind, document in ((key[0], document) for key, document in objects.items()):
        for container in containers_of(document) if kind in {"Deployment", "CronJob"} else []:
            names = [entry["name"] for entry in container.get("env", [])]
            assert len(set(names)) == len(names)
            assert set(names) <= known_names()
            for entry in container.get("env", []):
                plain_valkey = entry["name"] == "VALKEY_URL" and "@" not in entry.get("value", "")
                assert entry["name"] not in secret_names() or "valueFrom" in entry or plain_valkey, entry


@needs_helm
def test_each_container_is_given_the_secrets_it_needs_and_no_more() -> None:
    """The owner role of the database is for the migration alone, the relay has no root secret."""
    objects = example("production")
    given = {}
    for part in ("idp", "idp-relay"):
        for container in containers_of(objects["Deployment", part]):
            given[container["name"]] = {entry["name"] for entry in container["env"]} & secret_names()
    assert given["migrate"] == {"DATABASE_URL", "DATABASE_DIRECT_URL", "DATABASE_MIGRATION_URL"}
    assert given["relay"] == {"DATABASE_URL", "DATABASE_DIRECT_URL", "KAFKA_SASL_PASSWORD"}
    assert {"IDP_SECRET_KEY", "ADMIN_TOKEN", "SMTP_PASSWORD", "VALKEY_URL"} < given["auth"]
    assert "DATABASE_MIGRATION_URL" not in given["auth"]


@needs_helm
@pytest.mark.parametrize("name", EXAMPLES)
def test_no_pod_has_a_token_and_all_are_confined(name: str) -> None:
    for (kind, _), document in example(name).items():
        if kind == "ServiceAccount":
            assert document["automountServiceAccountToken"] is False
        if kind not in {"Deployment", "CronJob"}:
            continue
        pod = pod_of(document)["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in containers_of(document):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


@needs_helm
def test_the_autoscaler_has_the_promised_bounds() -> None:
    """S4-40: 1 to 5 replicas at 70 %, in production 3 to 10 at 60 %."""
    for objects, bounds in ((rendered(*REQUIRED), (1, 5, 70)), (example("production"), (3, 10, 60))):
        spec = objects["HorizontalPodAutoscaler", "idp"]["spec"]
        target = spec["metrics"][0]["resource"]["target"]["averageUtilization"]
        assert (spec["minReplicas"], spec["maxReplicas"], target) == bounds
        assert "replicas" not in objects["Deployment", "idp"]["spec"], "two would set it"


@needs_helm
def test_the_usual_values_are_accepted() -> None:
    """S4's chart had those of `helm create`."""
    usual = {
        "replicaCount": 2,
        "image": {"repository": "registry.example/idp", "tag": "1.2.3", "pullPolicy": "Always"},
        "imagePullSecrets": [{"name": "registry"}],
        "nameOverride": "",
        "fullnameOverride": "auth",
        "serviceAccount": {"create": True, "name": "", "annotations": {}},
        "podAnnotations": {"a": "b"},
        "podLabels": {"team": "platform"},
        "service": {"type": "ClusterIP", "port": 80},
        "ingress": {"enabled": True, "className": "nginx", "annotations": {}, "hosts": [{"host": "id.example.com"}]},
        "resources": {"limits": {"memory": "1Gi"}},
        "autoscaling": {"enabled": False, "minReplicas": 1, "maxReplicas": 5, "targetCPUUtilizationPercentage": 70},
        "nodeSelector": {"disk": "fast"},
        "tolerations": [],
        "affinity": {},
        "env": {"LOG_LEVEL": "info", "SMTP_PORT": 587, "RUN_MIGRATIONS": True, "JWT_ACCESS_TOKEN_EXPIRE_MINUTES": 30},
    }
    given = [part for name, value in usual.items() for part in ("--set-json", f"{name}={json.dumps(value)}")]
    objects = rendered(*REQUIRED, *given)
    assert objects["Deployment", "auth"]["spec"]["replicas"] == 2
    service = containers_of(objects["Deployment", "auth"])[1]
    assert service["image"] == "registry.example/idp:1.2.3"
    assert {"name": "SMTP_PORT", "value": "587"} in service["env"]


@needs_helm
def test_more_workers_are_an_argument() -> None:
    for workers, arguments in ((1, ["idp", "serve"]), (3, ["idp", "serve", "--workers", "3"])):
        objects = rendered(*REQUIRED, "--set", f"workers={workers}")
        assert containers_of(objects["Deployment", "idp"])[1]["args"] == arguments


@needs_helm
def test_only_the_ingress_the_monitoring_and_named_clients_may_connect() -> None:
    objects = example("production")
    policies = {name: document["spec"] for (kind, name), document in objects.items() if kind == "NetworkPolicy"}
    http, metrics = policies["idp"]["ingress"]
    assert [port["port"] for port in http["ports"]] == ["http"]
    assert [port["port"] for port in metrics["ports"]] == ["metrics"]
    assert all(peer for rule in (http, metrics) for peer in rule["from"])
    assert "ingress" not in policies["idp-relay"]
    pods = {
        document["spec"]["selector"]["matchLabels"]["app"]
        for (kind, _), document in objects.items()
        if kind == "Deployment"
    }
    assert {policy["podSelector"]["matchLabels"]["app"] for policy in policies.values()} == pods


@needs_helm
def test_the_paths_of_an_ingress_follow_the_public_url() -> None:
    """decisions/0023: a public URL with a path."""
    paths = example("minimal", "--set", "ingress.enabled=true")["Ingress", "idp"]["spec"]["rules"][0]["http"]["paths"]
    assert all(re.match(r"/idp/[a-z.]", entry["path"]) for entry in paths)


@needs_helm
def test_prometheus_finds_the_metrics_port_and_the_relay_publishes_alone() -> None:
    objects = example("production")
    monitor, service = objects["ServiceMonitor", "idp"]["spec"], objects["Service", "idp-metrics"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
    assert [port["name"] for port in objects["Service", "idp"]["spec"]["ports"]] == ["http"]
    assert containers_of(objects["Deployment", "idp-relay"])[0]["args"] == ["idp", "relay"]
    serve = {entry["name"]: entry.get("value") for entry in containers_of(objects["Deployment", "idp"])[1]["env"]}
    assert serve["IDP_KAFKA__RELAY_IN_SERVE"] == "false"
