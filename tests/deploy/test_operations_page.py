"""Checks the statements of docs/operations.md."""

import re

from deploy.deploy_support import ROOT, known_names
from deploy.test_monitoring_files import sample_names
from idp.app import create_app
from idp.ops.metrics import REGISTRY
from idp.settings import load

OF_WORKERS = {"idp_workers", "idp_worker_exits_total"}  # of `idp serve --workers`, which its supervisor writes
PAGE = (ROOT / "docs/operations.md").read_text()


def test_every_variable_on_it_exists() -> None:
    mentioned = set(re.findall(r"`([A-Z][A-Z0-9]*_[A-Z0-9_]+|PORT)\b", PAGE))
    assert len(mentioned) > 15
    assert mentioned - known_names() == set()


def test_every_metric_is_on_it_and_exists() -> None:
    """S3-53, S3-65 to S3-69."""
    ours = [metric for metric in REGISTRY.collect() if metric.name.startswith(("auth_", "idp_"))]
    written = set().union(*(sample_names(metric) | {metric.name} for metric in ours))
    mentioned = set(re.findall(r"`((?:auth|idp)_\w+)`", PAGE))
    assert mentioned - written == OF_WORKERS
    assert {metric.name for metric in ours if not mentioned & (sample_names(metric) | {metric.name})} == set()


def test_every_link_leads_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", PAGE)
    assert len(targets) > 4
    assert [target for target in targets if not (ROOT / "docs" / target).exists()] == []


def test_every_route_on_it_exists() -> None:
    environ = {"DATABASE_URL": "postgresql://idp@localhost/idp", "IDP_SECRET_KEY": "0123456789abcdefghijklmnopqrstuv"}
    routes = {route.path for route in create_app(load("production", environ=environ)).routes}
    mentioned = set(re.findall(r"`(?:GET |POST )?(/[a-z.][\w./-]+)`", PAGE)) - {"/internal"}
    assert len(mentioned) > 5
    assert mentioned - routes == set()


def test_the_promised_subjects_are_covered() -> None:
    """S3-49, S3-50, S3-51, S3-52, S3-53, S3-54, S3-55, S3-56, S3-58, S3-64, S3-70."""
    for subject in (
        "Strict-Transport-Security", "IDP_TRUSTED_PROXIES", "AUTH_API_CORS_ORIGINS", "managed", "sslmode=verify-full",
        "alerts.yaml", "Rate limits", "Audit", "_FILE", "pg_restore", "stdout", "AUTH_JWT_SECRET_KEY", "Port 8000",
    ):  # fmt: skip
        assert subject in PAGE, subject
