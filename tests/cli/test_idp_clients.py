"""`idp clients`, against the real service."""

import json
import re
import subprocess

from cli.conftest import Served
from cli.support import idp


def run(served: Served, *arguments: str) -> subprocess.CompletedProcess[str]:
    return idp("clients", *arguments, **served.environ)


def printed(served: Served, *arguments: str) -> str:
    done = run(served, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_client_is_created_listed_changed_rotated_and_deleted(served: Served) -> None:
    shown = printed(served, "create", "Nightly export", "read", "write")
    found = re.search(r"ID +(\S+)\nSecret +(idp_cs_\S+)\nScopes +read write", shown)
    assert found is not None, shown
    client_id, secret = found.groups()
    assert "not shown again" in shown
    assert client_id in printed(served, "list")
    assert secret not in printed(served, "show", client_id)
    assert json.loads(printed(served, "update", client_id, "--scope", "read", "-o", "json"))["scope"] == "read"
    assert json.loads(printed(served, "rotate-secret", client_id, "-o", "json"))["client_secret"] != secret
    assert "is deleted" in printed(served, "delete", client_id)
    gone = run(served, "show", client_id)
    assert (gone.returncode, gone.stderr.strip()) == (3, "idp: There is no client with this id.")


def test_a_reserved_scope_is_explained(served: Served) -> None:
    done = run(served, "create", "Greedy", "idp:manage")
    assert done.returncode != 0
    assert "Only service tokens can have idp:manage." in done.stderr
