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


def test_rotating_publishes_keys_beside_the_old_ones(environ: dict[str, str]) -> None:
    """SEC-31."""
    old = kids(environ)
    assert len(old) == 2
    done = idp("signing-keys", "rotate", **environ)
    new = set(kids(environ)) - set(old)
    assert set(done.stdout.splitlines()) == {f"The key {each} is published and signs in ten minutes." for each in new}
    assert set(old) < set(kids(environ))
    keys = listed(environ)
    for algorithm in ("ES256", "RS256"):
        first, second = (key for key in keys if key["algorithm"] == algorithm)
        assert (first["kid"] in new, first["status"], first["expires_at"]) == (True, "announced", None)
        assert (second["kid"] in old, second["status"]) == (True, "signing")
        assert second["signs_from"] < first["signs_from"] < second["expires_at"]
    table = idp("signing-keys", "list", **environ).stdout
    assert table.splitlines()[0].split("  ")[0] == "Key ID"
    for key in keys:
        assert re.search(rf"{key['kid']} +{key['algorithm']} +{key['status']} +\d{{4}}-\d\d-\d\dT", table)


def test_leaked_keys_are_replaced_at_once(environ: dict[str, str]) -> None:
    old = kids(environ)
    done = idp("signing-keys", "rotate", "--now", **environ)
    new = set(kids(environ)) - set(old)
    assert set(done.stdout.splitlines()) == {f"The key {each} is published and signs now." for each in new}
    assert set(kids(environ)) == new


def test_one_key_is_retired(environ: dict[str, str]) -> None:
    old = kids(environ)
    done = idp("signing-keys", "retire", old[0], **environ)
    (new,) = set(kids(environ)) - set(old)
    assert done.stdout == f"The key {new} is published and signs in ten minutes.\n"
    withdrawn = idp("signing-keys", "retire", new, "-o", "json", **environ)
    assert json.loads(withdrawn.stdout) == {"kid": new, "successor": None}
    assert set(kids(environ)) == set(old)
    assert "No published signing key has this id." in refusal("signing-keys", "retire", "unknown", **environ)


@pytest.mark.parametrize("command", ["list", "rotate"])
def test_a_problem_is_one_sentence(command: str, empty: str) -> None:
    secret = root_secret()
    said = refusal("signing-keys", command, DATABASE_URL=empty, IDP_SECRET_KEY=secret)
    assert "is not migrated: run `idp migrate`." in said
    away = f"postgresql://idp:x@127.0.0.1:{free_port()}/idp"
    assert "Nothing answers at 127.0.0.1:" in refusal("signing-keys", command, DATABASE_URL=away, IDP_SECRET_KEY=secret)
    assert "IDP_SECRET_KEY is not set" in refusal("signing-keys", command, DATABASE_URL=empty)
