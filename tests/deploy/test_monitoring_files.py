"""Alerts and dashboard: read by Prometheus' and Grafana's own parsers, and compared with the service's metrics."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.metrics_core import Metric

from deploy.deploy_support import ROOT, load
from deploy.helm_support import CHART, tool
from idp.ops.metrics import REGISTRY

ALERTS, DASHBOARD = ROOT / "deploy/prometheus/alerts.yaml", ROOT / "deploy/grafana/idp.json"
# Grafana replaces these before Prometheus sees the expression.
VARIABLES = {"$__rate_interval": "5m", "$job": "auth-service", "$instance": ".+"}
SUFFIXES = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"], "gauge": [""]}
needs_promtool = pytest.mark.skipif(tool("promtool") is None, reason="promtool is not installed (script/deploy-tools)")


def sample_names(metric: Metric) -> set[str]:
    return {metric.name + suffix for suffix in SUFFIXES.get(metric.type, [""])}


def rules() -> list[Any]:
    return [rule for group in load("deploy/prometheus/alerts.yaml")["groups"] for rule in group["rules"]]


def panels() -> list[Any]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[tuple[str, str]]:
    """Yield each expression of the dashboard as Prometheus would get it, with its panel."""
    for panel in panels():
        for target in panel["targets"]:
            expression = target["expr"]
            for name, value in VARIABLES.items():
                expression = expression.replace(name, value)
            assert "$" not in expression, panel["title"]
            yield panel["title"], expression


def watched(expression: str) -> set[str]:
    return set(re.findall(r"\b((?:auth|idp|process)_\w+)(?=[{\[)])", expression))


def written() -> set[str]:
    ours = [metric for metric in REGISTRY.collect() if metric.name.startswith(("auth_", "idp_", "process_"))]
    return set().union(*(sample_names(metric) for metric in ours))


def test_alerts_watch_metrics_that_exist() -> None:
    """S3-53: an alert on a missing metric would never fire."""
    assert len({rule["alert"] for rule in rules()}) == len(rules())
    for rule in rules():
        assert watched(rule["expr"]) <= written(), rule["alert"]
        assert watched(rule["expr"]) or 'up{job="auth-service"}' in rule["expr"]
        assert rule["labels"]["severity"] in {"critical", "warning"}


def test_each_alert_says_what_to_do() -> None:
    headings = set(re.findall(r"^## (\w+)$", (ROOT / "docs/alerts.md").read_text(), re.MULTILINE))
    assert headings == {rule["alert"] for rule in rules()}
    for rule in rules():
        assert rule["annotations"]["summary"].endswith(".")
        assert rule["annotations"]["description"].endswith(".")
        assert rule["annotations"]["runbook_url"] == f"docs/alerts.md#{rule['alert'].lower()}"


@needs_promtool
@pytest.mark.parametrize("arguments", [["check", "rules", ALERTS], ["test", "rules", ALERTS.with_name("tests.yaml")]])
def test_promtool_accepts_the_alerts_and_they_fire_when_they_should(arguments: list[Any]) -> None:
    done = subprocess.run([str(tool("promtool")), *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboard_shows_metrics_that_exist_and_every_one_of_ours() -> None:
    shown = set().union(*(watched(expression) for _, expression in expressions()))
    assert shown <= written()
    for metric in REGISTRY.collect():
        if metric.name.startswith(("auth_", "idp_")):
            assert sample_names(metric) & shown, metric.name


@needs_promtool
def test_prometheus_parses_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    recorded = [
        {"record": f"panel:{number}", "expr": expression} for number, (_, expression) in enumerate(expressions())
    ]
    (tmp_path / "panels.yaml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": recorded}]}))
    done = subprocess.run(
        [str(tool("promtool")), "check", "rules", tmp_path / "panels.yaml"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(recorded)} rules found" in done.stdout


@pytest.mark.skipif(tool("check-dashboard") is None, reason="its schema is not built (script/deploy-tools)")
def test_the_dashboard_fits_the_schema_of_grafana() -> None:
    """Read strictly by Grafana's foundation SDK: an unknown or missing member is an error."""
    done = subprocess.run([str(tool("check-dashboard")), DASHBOARD], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_each_panel_has_a_unit_a_description_and_a_place_of_its_own() -> None:
    """What Grafana's linter asks for: it is not to be had here."""
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"]["uid"] == "${datasource}"
        for target in panel["targets"]:
            assert 'job="$job"' in target["expr"], panel["title"]
            assert 'instance=~"$instance"' in target["expr"], panel["title"]
            assert "rate(" not in target["expr"] or "[$__rate_interval]" in target["expr"]
        place = panel["gridPos"]
        cells = {
            (column, line)
            for column in range(place["x"], place["x"] + place["w"])
            for line in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_the_job_is_the_one_that_the_chart_sets() -> None:
    job = yaml.safe_load((CHART / "values.yaml").read_text())["metrics"]["job"]
    assert {found for rule in rules() for found in re.findall(r'job="([^"]+)"', rule["expr"])} == {job}
