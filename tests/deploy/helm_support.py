"""Renders the chart with the helm that script/deploy-tools built (IDP_DEPLOY_TOOLS), or that is on PATH."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.deploy_support import ROOT

CHART = ROOT / "deploy/helm/idp"
EXAMPLES = sorted(path.stem for path in (CHART / "examples").glob("*.yaml"))
KUBERNETES = "1.34"
REQUIRED = ["--set", "publicUrl=https://id.example.com", "--set", "existingSecret=idp", "--set", "valkey.enabled=true"]


def tool(name: str) -> str | None:
    """Return the path of a tool, None where it is not installed."""
    built = Path(os.environ.get("IDP_DEPLOY_TOOLS", "/nonexistent")) / name
    return str(built) if built.exists() else shutil.which(name)


needs_helm = pytest.mark.skipif(tool("helm") is None, reason="helm is not installed (script/deploy-tools)")


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([tool("helm") or "helm", *arguments], capture_output=True, text=True, timeout=60)


def template(*arguments: str) -> subprocess.CompletedProcess[str]:
    return helm("template", "idp", str(CHART), "--kube-version", KUBERNETES, *arguments)


def rendered(*arguments: str) -> dict[tuple[str, str], Any]:
    """Return the objects that these arguments of `helm template` give, by kind and name."""
    done = template(*arguments)
    assert done.returncode == 0, done.stderr
    documents = [document for document in yaml.safe_load_all(done.stdout) if document]
    found = {(document["kind"], document["metadata"]["name"]): document for document in documents}
    assert len(found) == len(documents)
    return found


def example(name: str, *arguments: str) -> dict[tuple[str, str], Any]:
    return rendered("--values", str(CHART / f"examples/{name}.yaml"), *arguments)


def pod_of(document: Any) -> Any:
    """Return the pod template of a Deployment or CronJob."""
    spec = document["spec"]
    return (spec["jobTemplate"]["spec"] if document["kind"] == "CronJob" else spec)["template"]


def containers_of(document: Any) -> list[Any]:
    pod = pod_of(document)["spec"]
    return [*pod.get("initContainers", []), *pod["containers"]]
