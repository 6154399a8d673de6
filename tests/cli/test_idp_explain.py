"""`idp explain`: a credential from stdin, a prompt or a file, and a tree that reads at a glance."""

import json
import secrets
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import Served
from cli.support import idp, in_a_terminal, without_colours


def made(served: Served, *scopes: str) -> str:
    name = f"explained-{secrets.token_hex(4)}"
    return str(json.loads(idp("tokens", "create", name, *scopes, "-o", "json", **served.environ).stdout)["token"])


def explained(served: Served, typed: str, *arguments: str) -> Any:
    done = idp("explain", *arguments, "-o", "json", typed=typed, **served.environ)
    assert (done.returncode, done.stderr) == (0, ""), done
    return json.loads(done.stdout)


@pytest.mark.parametrize("before", ["", "Bearer ", "  \n", "Authorization: Bearer ", "X-API-Key: "])
def test_a_token_is_read_from_stdin_as_it_was_copied(served: Served, before: str) -> None:
    """Alone, after `Bearer`, or as a header line."""
    found = explained(served, f"{before}{made(served, 'read')}\n")
    assert (found["owner"], found["verdict"]["accepted"]) == ("api_key", True)


def test_a_token_is_read_from_a_file(served: Served, tmp_path: Path) -> None:
    """`--file`, with a route."""
    file = tmp_path / "token"
    file.write_text(made(served, "read"))
    done = idp("explain", "--file", str(file), "--route", "POST /teams", **served.environ)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("✓ accepted: service_token  explained-")
    assert any("✗ POST /teams" in line and "refused: 403 admin_required" in line for line in lines), done.stdout
    assert any("✗ scope of a service" in line and "read" in line and "idp:manage" in line for line in lines)


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
def test_in_a_terminal_it_asks_hidden_and_prints_a_tree(served: Served, columns: int) -> None:
    """The typed token is not echoed, and no line is wider than the terminal."""
    token = made(served, "read")
    code, shown = in_a_terminal("explain", columns=columns, typed=[token], **served.environ)
    assert code == 0, shown
    assert token[12:] not in shown
    assert "\x1b[" in shown
    lines = without_colours(shown).splitlines()
    assert all(len(line) <= columns for line in lines), lines
    assert any(line.startswith("✓ accepted: service_token") for line in lines)
    assert any("Authenticators" in line for line in lines)


def test_the_first_line_of_a_refusal_says_why(served: Served) -> None:
    """A mistyped key: what was seen and what was expected."""
    token = made(served, "read")
    lines = idp("explain", typed=f"{token[:-1]}", **served.environ).stdout.splitlines()
    assert lines[0] == "✗ refused: 401 token_not_found  key: not found, expected found"
    lines = idp("explain", typed="eyJhbGciOiJub25lIn0.e30.", **served.environ).stdout.splitlines()
    assert lines[0].startswith("✗ refused: 401 credential_unrecognised"), lines
    assert any("local_jwt" in line and "not mine" in line for line in lines)


def test_a_credential_explains_itself_without_an_administrator(served: Served) -> None:
    """Everyone about their own: neither ADMIN_TOKEN nor IDP_TOKEN is needed."""
    token, other = made(served, "read"), made(served, "read")
    done = idp("explain", "-o", "json", typed=token, IDP_URL=served.url)
    assert json.loads(done.stdout)["credential"]["method"] == "service_token"
    done = idp("explain", typed="nothing", IDP_URL=served.url)
    assert (done.returncode, done.stdout) == (4, "")
    assert "ADMIN_TOKEN explains any credential" in done.stderr
    done = idp("explain", typed=other, IDP_URL=served.url, IDP_TOKEN=token)
    assert (done.returncode, done.stdout) == (4, "")
    assert "proven to be yours" in done.stderr


@pytest.mark.parametrize(
    ("typed", "arguments", "expected"),
    [
        ("", (), "The credential is empty."),
        ("two words", (), "Not one credential"),
        ("one\ntwo", (), "Not one credential"),
        ("x" * 200_001, (), "too long"),
        ("token", ("--route", "/teams"), "Send a method and a path"),
        ("token", ("--route", "GET /nowhere"), "No route serves /nowhere"),
        ("token", ("argument",), "unexpected extra argument"),
        ("token", ("--file", "/no/such/file"), "No such file"),
    ],
)
def test_bad_input_is_one_sentence(served: Served, typed: str, arguments: tuple[str, ...], expected: str) -> None:
    """Exit code 2, nothing on stdout, and no part of a token in the message."""
    done = idp("explain", *arguments, typed=typed, **served.environ)
    assert (done.returncode, done.stdout) == (2, ""), done
    assert expected in done.stderr
