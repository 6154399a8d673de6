"""`idp users`: administration of users from the command line, against the real service."""

import json
import re
import secrets
import subprocess
from typing import Any

import httpx2
import pytest

from cli.conftest import Served
from cli.support import idp, in_a_terminal, log_in, without_colours, write

PASSWORD = "correct horse battery"


def register(served: Served, name: str = "Pat Person") -> str:
    email = f"pat-{secrets.token_hex(4)}@example.com"
    body = {"email": email, "password": PASSWORD, "name": name}
    httpx2.post(f"{served.url}/auth/register", json=body).raise_for_status()
    return email


def run(served: Served, *arguments: str) -> subprocess.CompletedProcess[str]:
    return idp("users", *arguments, **served.environ)


def answer(served: Served, *arguments: str) -> Any:
    """Run a command with `-o json` and return what it printed."""
    done = run(served, *arguments, "-o", "json")
    assert (done.returncode, done.stderr) == (0, ""), done
    return json.loads(done.stdout)


def said(served: Served, *arguments: str) -> str:
    done = run(served, *arguments)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def test_people_are_listed_and_found(served: Served) -> None:
    """S4-23, as a table and as the API's own answer."""
    email = register(served, "Zoë Žižek")
    page = answer(served, "list", "--search", email)
    assert (page["pagination"]["total"], page["users"][0]["name"]) == (1, "Zoë Žižek")
    header, row = said(served, "list", "--search", email).splitlines()
    assert re.split(r" {3,}", header) == ["E-mail", "Roles", "Status", "Plan", "Created", "Name", "ID"]
    assert re.split(r" {3,}", row)[:4] == [email, "user", "enabled", "FREE"]
    assert len(answer(served, "list", "--limit", "1")["users"]) == 1
    assert answer(served, "list", "--role", "no-such-role")["users"] == []


def test_a_user_is_disabled_and_enabled(served: Served) -> None:
    email = register(served)
    assert said(served, "disable", email) == f"{email} is disabled; their API keys are revoked.\n"
    assert log_in(served.url, email, PASSWORD).status == 401
    assert [user["email"] for user in answer(served, "list", "--disabled", "--search", email)["users"]] == [email]
    assert answer(served, "list", "--enabled", "--search", email)["users"] == []
    assert said(served, "enable", email) == f"{email} is enabled.\n"
    assert log_in(served.url, email, PASSWORD).status == 200


def test_roles_and_plan_are_set(served: Served) -> None:
    """C-15 C-26."""
    email = register(served)
    new = f"analyst-{secrets.token_hex(4)}"
    assert said(served, "set-roles", email, "user", new) == (
        f"{email} had the roles user, and now has {new}, user.\n{new} is a new role: no other user has it.\n"
    )
    assert said(served, "set-roles", register(served), "user", new).count("\n") == 1, "it is new no more"
    assert said(served, "set-roles", email, "analyst", "user").startswith(f"{email} had the roles {new}, user, and now")
    done = run(served, "set-roles", email, "Admin Role")
    assert done.returncode == 2
    assert done.stderr.startswith("idp: body.roles.0: A role is lower case letters, digits,")
    assert said(served, "set-plan", email, "pro") == f"{email} is on the plan PRO.\n"
    shown = answer(served, "show", email.upper())
    assert (shown["roles"], shown["plan"]) == (["analyst", "user"], "PRO")


def test_a_user_and_their_keys_are_shown(served: Served) -> None:
    email = register(served)
    session = log_in(served.url, email, PASSWORD).json
    bearer = {"Authorization": f"Bearer {session['access_token']}"}
    body = {"name": "laptop", "scopes": ["read"]}
    key = httpx2.post(f"{served.url}/v1/api-keys", json=body, headers=bearer).json()
    shown = answer(served, "show", session["user_id"])
    assert [each["key_id"] for each in shown["api_keys"]] == [key["key_id"]]
    for text in (said(served, "show", email), in_a_terminal("users", "show", email, columns=80, **served.environ)[1]):
        assert "laptop" in text
        assert key["secret"] not in text


def test_a_user_is_deleted_only_after_confirmation(served: Served) -> None:
    """C-14: --yes, or an answer at a terminal."""
    email = register(served)
    done = run(served, "delete", email)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "idp: Deleting a user cannot be undone: use --yes without a terminal.\n"
    code, shown = in_a_terminal("users", "delete", email, columns=80, typed=["n"], **served.environ)
    assert (code, f"Delete {email}? It cannot be undone [y/N]:" in shown) == (1, True)
    assert log_in(served.url, email, PASSWORD).status == 200
    assert said(served, "delete", "--yes", email) == f"{email} is deleted. No API keys and 2 sessions revoked.\n"
    done = run(served, "show", email)
    assert (done.returncode, done.stdout) == (3, "")
    other = register(served)
    code, shown = in_a_terminal("users", "delete", other, columns=80, typed=["y"], **served.environ)
    assert (code, f"{other} is deleted." in shown) == (0, True)


def test_a_user_is_invited_and_invited_again(served: Served) -> None:
    """S4-07 SEC-11: an account that nobody can use yet, and a mail for each invitation."""
    email = f"grace-{secrets.token_hex(4)}@example.com"
    given = ("--name", "Grace Hopper", "--role", "user", "--role", "analyst", "--plan", "pro")
    sentence = f"{email} is invited with the roles analyst, user; a mail will be sent.\n"
    assert said(served, "invite", email, *given) == sentence
    shown = answer(served, "show", email)
    assert (shown["name"], shown["roles"], shown["plan"]) == ("Grace Hopper", ["analyst", "user"], "PRO")
    assert shown["email_verified"] is False
    again = answer(served, "invite", email.upper(), "--role", "user")
    assert (again["user_id"], again["roles"], again["plan"]) == (shown["user_id"], ["user"], "PRO")
    sent = [record["details"]["again"] for record in audited(served, shown["user_id"], "user.invited")]
    assert sent == [True, False]
    for password in ("", PASSWORD, "password", email):
        assert log_in(served.url, email, password).status in {401, 422}
    done = run(served, "invite", register(served))
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "idp: Email already registered.\n")
    done = run(served, "invite", "nobody")
    assert (done.returncode, done.stdout) == (2, "")
    assert run(served, "invite", email, "--plan", "GOLD").returncode == 2


def audited(served: Served, user_id: str, action: str) -> list[Any]:
    query = {"user_id": user_id, "action": action}
    bearer = {"Authorization": f"Bearer {served.admin_token}"}
    return httpx2.get(f"{served.url}/api/auth/admin/audit", params=query, headers=bearer).json()


def test_a_user_is_signed_out_everywhere(served: Served) -> None:
    email = register(served)
    body = {"email": email, "password": PASSWORD, "device_info": {"os": "Linux", "name": "laptop"}}
    signed_in = httpx2.post(f"{served.url}/auth/login", json=body).json()
    token, info = signed_in["access_token"], {"os": "Linux", "name": "\x1b[31mlaptop"}
    statement = "UPDATE idp.user_sessions SET device_info = $1 WHERE id = $2"
    write(served.database_url, statement, json.dumps(info), signed_in["session_id"])
    listed = answer(served, "sessions", email)["sessions"]
    assert [each["device_info"] for each in listed] == [info, None]
    header, row, other = said(served, "sessions", email).splitlines()
    assert re.split(r" {3,}", header) == ["Device", "Address", "Signed in", "Last seen", "Ends", "ID"]
    assert row.startswith("os: Linux, name: \ufffd[31mlaptop   127.0.0.1   ")
    assert other.startswith("python-httpx")
    code, shown = in_a_terminal("users", "sessions", email, columns=80, **served.environ)
    assert (code, "2 sessions." in shown) == (0, True)
    assert said(served, "sign-out", email) == f"2 sessions of {email} ended.\n"
    bearer = {"Authorization": f"Bearer {token}"}
    assert httpx2.get(f"{served.url}/auth/me", headers=bearer).json()["code"] == "token_revoked"
    assert answer(served, "sign-out", email)["ended_sessions"] == 0
    assert said(served, "sign-out", email) == f"No sessions of {email} ended.\n"
    assert log_in(served.url, email, PASSWORD).status == 200


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_in_a_terminal_the_list_fits(served: Served, columns: int) -> None:
    register(served)
    code, shown = in_a_terminal("users", "list", columns=columns, **served.environ)
    lines = without_colours(shown).splitlines()
    assert code == 0
    assert "\x1b[" in shown
    assert all(len(line) <= columns for line in lines), lines


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["show", "nobody@example.com"], 3, "No user has the address nobody@example.com: `idp users list --search"),
        (["show", "nobody"], 3, "User not found."),
        (["disable", "../../tokens"], 3, "Not found."),
        (["set-roles", "nobody", "admin"], 3, "User not found."),
        (["delete", "--yes", "nobody"], 3, "User not found."),
        (["sessions", "nobody"], 3, "User not found."),
        (["sign-out", "nobody"], 3, "User not found."),
    ],
)
def test_an_error_is_a_sentence_with_an_exit_code(
    served: Served, arguments: list[str], code: int, sentence: str
) -> None:
    done = run(served, *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(f"idp: {sentence}"), done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [["set-plan", "x", "GOLD"], ["set-roles", "x"], ["list", "--limit", "0"]])
def test_invalid_arguments_never_reach_the_service(arguments: list[str]) -> None:
    assert idp("users", *arguments, IDP_URL="http://127.0.0.1:1").returncode == 2
