"""`idp routes`: each route with its policy and credentials, without a database or a secret."""

import json
import re

from cli.support import idp


def test_each_route_is_listed_with_its_policy_and_its_credentials() -> None:
    done = idp("routes")
    assert (done.returncode, done.stderr) == (0, "")
    rows = [re.split(r" {2,}", line) for line in done.stdout.splitlines()]
    assert rows[0] == ["Method", "Path", "Policy", "Credentials"]
    by_route = {(method, path): policy for method, path, policy, _ in rows[1:]}
    assert by_route["POST", "/auth/login"] == "public"
    assert by_route["GET", "/auth/me"] == "user"
    assert by_route["GET", "/api/auth/admin/audit"] == "admin"


def test_as_json_each_route_lists_every_credential_it_accepts() -> None:
    """Rule 6, C-29."""
    listed = json.loads(idp("routes", "-o", "json").stdout)
    assert all(set(route) == {"method", "path", "policy", "accepts"} for route in listed)
    assert all(route["policy"] for route in listed), "no route without a policy"
    by_route = {(route["method"], route["path"]): route for route in listed}
    assert by_route["POST", "/auth/login"]["accepts"] == []
    assert {"local_jwt", "api_key"} <= set(by_route["GET", "/auth/me"]["accepts"])
    assert "admin_token" in by_route["POST", "/teams"]["accepts"]


def test_settings_that_only_serving_needs_do_not_matter() -> None:
    assert idp("routes", DATABASE_URL="mysql://x", IDP_SECRET_KEY="short", VALKEY_URL="nonsense").returncode == 0
