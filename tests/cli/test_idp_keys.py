"""`idp keys`: the API keys of a user, and the keys that depend on each root secret."""

import json
import re
import secrets
import subprocess
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from cli.conftest import Served
from cli.support import get, idp, in_a_terminal, log_in, post, refusal, root_secret, running_serve, without_colours

PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def token(served: Served) -> str:
    """The access token of a user."""
    body = {"email": f"pat-{secrets.token_hex(4)}@example.com", "password": PASSWORD, "name": "Pat Person"}
    return str(httpx2.post(f"{served.url}/auth/register", json=body).raise_for_status().json()["access_token"])


def run(served: Served, token: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return idp("keys", *arguments, IDP_URL=served.url, IDP_TOKEN=token)


def answer(served: Served, token: str, *arguments: str) -> Any:
    """Run a command with `-o json` and return what it printed."""
    done = run(served, token, *arguments, "-o", "json")
    assert (done.returncode, done.stderr) == (0, ""), done
    return json.loads(done.stdout)


def valid(served: Served, secret: str) -> bool:
    return bool(post(f"{served.url}/auth/validate", {"token": secret}).json["valid"])


# --- a person's keys -------------------------------------------------------------------------------------------------


def test_a_key_from_its_making_to_its_end(served: Served, token: str) -> None:
    """S0-14 to S0-26: named by its name, its id or a plain UUID."""
    name = f"laptop-{secrets.token_hex(4)}"
    made = answer(served, token, "create", name, "read", "write", "--days", "30")
    assert (made["name"], made["scopes"]) == (name, ["read", "write"])
    assert valid(served, made["secret"])
    rotated = answer(served, token, "rotate", name)
    assert rotated["key_id"] == made["key_id"]
    assert (valid(served, made["secret"]), valid(served, rotated["secret"])) == (False, True)
    again = answer(served, token, "rotate", made["key_id"], "--overlap", "60")
    assert (valid(served, rotated["secret"]), valid(served, again["secret"])) == (True, True)
    assert answer(served, token, "revoke", made["key_id"].removeprefix("key_"))["is_revoked"] is True
    assert not valid(served, again["secret"])
    assert name not in [key["name"] for key in answer(served, token, "list")]
    assert name in [key["name"] for key in answer(served, token, "list", "--all")]


def test_piped_it_is_plain_and_in_full(served: Served, token: str) -> None:
    name = f"desk-{secrets.token_hex(4)}"
    facts = dict(
        re.split(r" {3,}", line, maxsplit=1) for line in run(served, token, "create", name).stdout.splitlines()
    )
    assert re.fullmatch(r"sk_live_\w{43}", facts["Key"])
    assert (facts["Scopes"], facts["Expires"]) == ("none", "never")
    (row,) = [line for line in run(served, token, "list").stdout.splitlines() if line.startswith(name)]
    columns = re.split(r" {3,}", row)
    assert columns[:5] == [name, "none", "live", "never", "never"]
    assert columns[6:] == [facts["Key"][:12], facts["ID"]]
    assert re.search(r"^Old secret +revoked$", run(served, token, "rotate", name).stdout, re.MULTILINE)
    rotated = run(served, token, "rotate", name, "--overlap", "3600").stdout
    assert re.search(r"^Old secret +accepted until \d{4}-\S+Z \(in 1 hour\)$", rotated, re.MULTILINE)
    assert run(served, token, "revoke", name).stdout == f"The key {name} is revoked.\n"


@pytest.mark.parametrize("columns", [80, 120])
def test_in_a_terminal_the_list_fits(served: Served, token: str, columns: int) -> None:
    run(served, token, "create", f"k-{secrets.token_hex(4)}", "read")
    code, shown = in_a_terminal("keys", "list", "--all", columns=columns, IDP_URL=served.url, IDP_TOKEN=token)
    assert code == 0
    assert "\x1b[" in shown
    lines = without_colours(shown).splitlines()
    assert all(len(line) <= columns for line in lines)
    assert lines[-1] == ""
    assert "a moment ago" in shown or columns == 80


def test_an_error_is_a_sentence_with_an_exit_code(served: Served, token: str) -> None:
    """2 bad input, 3 not there, 4 refused, 5 away."""
    unknown = str(uuid4())
    for code, sentence, arguments, environ in (
        (2, "body.scopes.0: ", ("create", "x", "a b"), {"IDP_TOKEN": token}),
        (2, "Separate scopes with spaces: ", ("create", "x", "a,b"), {"IDP_TOKEN": token}),
        (3, "There is no key named nothing: ", ("revoke", "nothing"), {"IDP_TOKEN": token}),
        (3, "API key not found.", ("rotate", unknown), {"IDP_TOKEN": token}),
        (4, f"{served.url} refuses: Invalid token. IDP_TOKEN must be", ("list",), {"IDP_TOKEN": "rubbish"}),
        (4, f"{served.url} refuses: This credential", ("list",), {"IDP_TOKEN": served.admin_token}),
        (4, f"Not signed in to {served.url}: set IDP_TOKEN to an access token", ("list",), {}),
        (5, "http://127.0.0.1:1 does not answer", ("list",), {"IDP_TOKEN": token, "IDP_URL": "http://127.0.0.1:1"}),
    ):
        done = idp("keys", *arguments, **({"IDP_URL": served.url} | environ))
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1), done
        assert done.stderr.startswith(f"idp: {sentence}"), done.stderr
        assert ("IDP_TOKEN must be" in done.stderr) is ("Invalid token" in done.stderr), "a hint where it helps"


def test_two_keys_of_one_name_need_an_id(served: Served, token: str) -> None:
    name = f"twin-{secrets.token_hex(4)}"
    run(served, token, "create", name)
    run(served, token, "revoke", name)
    twins = [answer(served, token, "create", name) for _ in range(2)]
    done = run(served, token, "revoke", name)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"idp: 2 live keys are named {name}: use an ID (`idp keys list")
    assert all(valid(served, twin["secret"]) for twin in twins)
    assert run(served, token, "revoke", twins[0]["key_id"]).returncode == 0
    assert run(served, token, "revoke", name).returncode == 0, "one of them is left"


def test_dev_headers_never_leave_this_machine(served: Served) -> None:
    """Rule 7: `--as` is for an `idp dev`; production believes none, and another host is not even asked."""
    done = idp("keys", "list", "--as", "a@example.com", "--url", "https://id.example.com")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "idp: --as works only with `idp dev` on this machine, not with https://id.example.com: use IDP_TOKEN.\n"
    )
    done = idp("keys", "list", "--as", "a@example.com", "--url", served.url)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith(f"idp: {served.url} refuses: Unauthorized.")


# --- what depends on the root secrets --------------------------------------------------------------------------------


def dependents(**environ: str) -> list[tuple[str | None, int, int]]:
    done = idp("keys", "secrets", "-o", "json", **environ)
    assert (done.returncode, done.stderr) == (0, ""), done
    return [(each["secret"], each["api_keys"], each["signing_keys"]) for each in json.loads(done.stdout)]


def test_dependents_of_each_root_secret_are_counted(empty: str, tmp_path: Path) -> None:
    """C-06c: over a rotation from the first start to the day when the old one can be taken away."""
    old, new = root_secret(), root_secret()
    idp("migrate", DATABASE_URL=empty)
    before = {"DATABASE_URL": empty, "AUTH_JWT_SECRET_KEY": old}
    assert dependents(**before) == [("AUTH_JWT_SECRET_KEY", 0, 0)]
    admin_token = secrets.token_urlsafe(40)
    with running_serve(tmp_path / "before", **before, ADMIN_TOKEN=admin_token) as (_, url):
        made = [
            json.loads(idp("tokens", "create", name, "-o", "json", IDP_URL=url, ADMIN_TOKEN=admin_token).stdout)
            for name in ("used", "unused", "revoked")
        ]
        assert idp("tokens", "revoke", "revoked", IDP_URL=url, ADMIN_TOKEN=admin_token).returncode == 0
        assert get(f"{url}/.well-known/jwks.json").status == 200
    assert dependents(**before) == [("AUTH_JWT_SECRET_KEY", 2, 2)]

    environ = {"DATABASE_URL": empty, "IDP_SECRET_KEY": new, "IDP_PREVIOUS_SECRET_KEYS": old}
    assert dependents(**environ) == [("IDP_SECRET_KEY", 0, 0), ("IDP_PREVIOUS_SECRET_KEYS, number 1", 2, 2)]
    assert idp("signing-keys", "rotate", "--now", **environ).returncode == 0
    with running_serve(tmp_path / "after", **environ, ADMIN_TOKEN=admin_token) as (serve, url):
        assert post(f"{url}/auth/validate", {"token": made[0]["token"]}).json["valid"] is True
        assert serve.end() == 0  # what was used is written then
    assert dependents(**environ) == [("IDP_SECRET_KEY", 1, 2), ("IDP_PREVIOUS_SECRET_KEYS, number 1", 1, 0)]

    without = {"DATABASE_URL": empty, "IDP_SECRET_KEY": new}
    assert dependents(**without) == [("IDP_SECRET_KEY", 1, 2), (None, 1, 0)]
    said = idp("keys", "secrets", **without).stdout
    assert re.search(r"^none of these +1 +0 +0$", said, re.MULTILINE)
    assert "put the earlier root secret into IDP_PREVIOUS_SECRET_KEYS." in said
    with running_serve(tmp_path / "again", **environ, ADMIN_TOKEN=admin_token) as (_, url):
        idp("tokens", "revoke", "unused", IDP_URL=url, ADMIN_TOKEN=admin_token)
    said = idp("keys", "secrets", **environ).stdout
    assert said.splitlines() == [
        "Root secret                          API keys and tokens   Signing keys   Apps",
        "IDP_SECRET_KEY                       1                     2              0",
        "IDP_PREVIOUS_SECRET_KEYS, number 1   0                     0              0",
        (
            "No key depends on IDP_PREVIOUS_SECRET_KEYS, number 1: "
            "remove it when the sessions started under it have ended."
        ),
    ]
    assert not any(secret in said for secret in (old, new))


def test_counting_needs_the_services_settings(empty: str) -> None:
    assert "IDP_SECRET_KEY is not set" in refusal("keys", "secrets", DATABASE_URL=empty)
    assert "is not migrated: run `idp migrate`." in refusal(
        "keys", "secrets", DATABASE_URL=empty, IDP_SECRET_KEY=root_secret()
    )


def test_a_user_who_signs_in_makes_keys_from_the_command_line(served: Served) -> None:
    """The way that the sentence about IDP_TOKEN describes."""
    email = f"pat-{secrets.token_hex(4)}@example.com"
    body = {"email": email, "password": PASSWORD, "name": "Pat Person"}
    assert post(f"{served.url}/auth/register", body).status == 200
    token = log_in(served.url, email, PASSWORD).json["access_token"]
    assert answer(served, token, "create", "first")["name"] == "first"
