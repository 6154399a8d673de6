"""`idp signing-keys`: the signing keys, listed and rotated from the command line."""

import json
import re
from typing import Any

import pytest

from cli.support import free_port, idp, refusal, root_secret


@pytest.fixture
def environ(empty: str) -> dict[str, str]:
    environ = {"DATABASE_URL": empty, "IDP_SECRET_KEY": root_secret()}
    assert idp("migrate", **environ).returncode == 0
    return environ


def kids(environ: dict[str, str]) -> list[str]:
    return [key["kid"] for key in listed(environ)]


def listed(environ: dict[str, str]) -> list[dict[str, Any]]:
    done = idp("signing-keys", "list", "-o", "json", **environ)
    assert (done.returncode, done.stderr) == (0, ""), done
    keys: list[dict[str, Any]] = json.loads(done.stdout)
    assert all(key["jwk"]["use"] == "sig" and "d" not in key["jwk"] for key in keys)
    return keys


def test_rotating_publishes_a_key_beside_the_old_one(environ: dict[str, str]) -> None:
    """SEC-31."""
    (old,) = kids(environ)
    done = idp("signing-keys", "rotate", **environ)
    (new,) = set(kids(environ)) - {old}
    assert done.stdout == f"The key {new} is published and signs in ten minutes.\n"
    assert old in kids(environ)
    first, second = listed(environ)
    assert (first["kid"], first["status"], first["expires_at"]) == (new, "announced", None)
    assert (second["kid"], second["status"]) == (old, "signing")
    assert second["signs_from"] < first["signs_from"] < second["expires_at"]
    table = idp("signing-keys", "list", **environ).stdout
    assert table.splitlines()[0].split("  ")[0] == "Key ID"
    for key in (first, second):
        assert re.search(rf"{key['kid']} +ES256 +{key['status']} +\d{{4}}-\d\d-\d\dT", table)


def test_a_leaked_key_is_replaced_at_once(environ: dict[str, str]) -> None:
    (old,) = kids(environ)
    done = idp("signing-keys", "rotate", "--now", **environ)
    (new,) = set(kids(environ)) - {old}
    assert done.stdout == f"The key {new} is published and signs now.\n"


@pytest.mark.parametrize("command", ["list", "rotate"])
def test_a_problem_is_one_sentence(command: str, empty: str) -> None:
    secret = root_secret()
    said = refusal("signing-keys", command, DATABASE_URL=empty, IDP_SECRET_KEY=secret)
    assert "is not migrated: run `idp migrate`." in said
    away = f"postgresql://idp:x@127.0.0.1:{free_port()}/idp"
    assert "Nothing answers at 127.0.0.1:" in refusal("signing-keys", command, DATABASE_URL=away, IDP_SECRET_KEY=secret)
    assert "IDP_SECRET_KEY is not set" in refusal("signing-keys", command, DATABASE_URL=empty)
