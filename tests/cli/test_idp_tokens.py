"""`idp tokens`: service tokens for people and for scripts, against the real service."""

import json
import re
import secrets
import subprocess
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any
from uuid import uuid4

import pytest

from cli.conftest import Served
from cli.support import free_port, get, idp, in_a_terminal, without_colours, write

UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def new_name() -> str:
    return f"tool-{secrets.token_hex(4)}"


def run(served: Served, *arguments: str) -> subprocess.CompletedProcess[str]:
    return idp("tokens", *arguments, **served.environ)


def answer(served: Served, *arguments: str) -> Any:
    """Run a command with `-o json` and return what it printed."""
    done = run(served, *arguments, "-o", "json")
    assert (done.returncode, done.stderr) == (0, ""), done
    return json.loads(done.stdout)


# --- what it does ----------------------------------------------------------------------------------------------------


def test_a_token_from_its_making_to_its_end(served: Served) -> None:
    """S2-20 to S2-24, for people: named by its name, which is theirs alone while it lives."""
    name = new_name()
    made = answer(served, "create", name, "idp:manage", "read", "--days", "30")
    assert (made["name"], made["scopes"]) == (name, ["idp:manage", "read"])
    assert get(f"{served.url}/auth/tokens", token=made["token"]).status == 200
    assert name in [token["name"] for token in answer(served, "list")["tokens"]]
    shown = answer(served, "show", name)
    assert (shown["token_id"], shown["revoked"]) == (made["token_id"], False)
    assert answer(served, "extend", name, "--days", "10")["expires_at"] > made["expires_at"]
    assert answer(served, "revoke", name, "--reason", "no longer used")["success"] is True
    assert get(f"{served.url}/auth/tokens", token=made["token"]).status == 401
    assert name not in [token["name"] for token in answer(served, "list")["tokens"]]
    assert name in [token["name"] for token in answer(served, "list", "--all")["tokens"]]
    assert answer(served, "show", made["token_id"])["revoked"] is True


def test_piped_it_is_plain_and_in_full(served: Served) -> None:
    """Whole ids and times, one line a token, for grep, cut and awk."""
    name = new_name()
    done = run(served, "create", name, "read", "write", "--days", "3")
    assert (done.returncode, done.stderr) == (0, "")
    facts = dict(re.split(r" {3,}", line, maxsplit=1) for line in done.stdout.splitlines())
    assert re.fullmatch(r"amp_live_\w{43}", facts["Token"])
    assert (facts["Name"], facts["Scopes"]) == (name, "read write")
    listed = run(served, "list").stdout.splitlines()
    assert re.split(r" {3,}", listed[0]) == ["Name", "Scopes", "Status", "Expires", "Last used", "Created", "ID"]
    (row,) = [re.split(r" {3,}", line) for line in listed if line.startswith(name)]
    assert row[:3] == [name, "read write", "live"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", row[3])
    assert re.fullmatch(UUID, row[6])
    done = run(served, "revoke", name)
    assert (done.stdout, done.stderr) == (f"The token {name} is revoked.\n", "")


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
def test_in_a_terminal_it_is_coloured_and_fits(served: Served, columns: int) -> None:
    name = new_name()
    run(served, "create", name, *(f"scope-{number}:write" for number in range(9)), "--days", "3")
    code, shown = in_a_terminal("tokens", "list", "--all", columns=columns, **served.environ)
    assert code == 0
    assert "\x1b[" in shown
    lines = without_colours(shown).splitlines()
    assert all(len(line) <= columns for line in lines), lines
    assert all(line.startswith("  ") for line in lines if line)
    assert "scope-8:write" in shown, "what is long takes several lines and is never cut"
    rows = [line for line in lines if line.split()[:1] == [name]]
    if columns == 60 and not rows:  # beside a token with a longer word no table fits: each is a block of lines
        block = re.split(rf"Name +{name} *\n", "\n".join(lines))[-1].partition("\n\n")[0]
        assert re.search(r"Status +live\n +Expires +in 3 days\n", block)
        assert re.search(UUID, block)
        return
    (row,) = rows
    assert re.search(r"live +in 3 days", row)
    assert columns == 120 or bool(re.search(UUID, row)) is (columns == 200), "the id, where there is room for it"


def test_no_color_is_respected(served: Served) -> None:
    run(served, "create", new_name())
    _, shown = in_a_terminal("tokens", "list", columns=100, NO_COLOR="1", **served.environ)
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", shown), "bold and dim may stay"


def test_stored_text_cannot_control_the_terminal(served: Served) -> None:
    """Metadata may hold anything; escape sequences are shown as what they are not."""
    import httpx2

    body = {"name": new_name(), "scopes": []}
    note = {"note": "\x1b[2J\x1b]0;owned\x07 \u202egnp.exe"}
    bearer = {"Authorization": f"Bearer {served.admin_token}"}
    httpx2.post(f"{served.url}/auth/tokens", json=body, headers=bearer).raise_for_status()
    statement = "UPDATE idp.api_keys SET metadata = $1 WHERE name = $2"
    write(served.database_url, statement, json.dumps(note), body["name"])
    for shown in (
        run(served, "show", body["name"]).stdout,
        in_a_terminal("tokens", "show", body["name"], columns=80, **served.environ)[1],
    ):
        assert "[2J" in shown
        assert not re.search("\x1b\\[2J|\x07|\u202e", shown)


# --- what goes wrong -------------------------------------------------------------------------------------------------


def failure(*arguments: str, **environ: str) -> tuple[int, str]:
    """Run a command that must fail: nothing on stdout, one sentence, no traceback."""
    done = idp("tokens", *arguments, **environ)
    assert done.stdout == "", done
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.returncode, done.stderr


def test_bad_input_has_exit_code_2(served: Served) -> None:
    name = new_name()
    run(served, "create", name)
    code, said = failure("create", name, **served.environ)
    assert (code, said) == (2, "idp: An active token with this name already exists.\n")
    code, said = failure("create", "x", "a b", **served.environ)
    assert code == 2
    assert said == "idp: body.scopes.0: A scope is plain ASCII without spaces, quotation marks or backslashes.\n"
    code, said = failure("create", "x", "read,write", **served.environ)
    assert (code, said.startswith("idp: Separate scopes with spaces: read,write is one scope;")) == (2, True)
    assert answer(served, "create", new_name(), "read,write", "--literal")["scopes"] == ["read,write"]
    for url in ("localhost:8000", "https://", "http://h:99999"):
        code, said = failure("list", "--url", url, ADMIN_TOKEN="x")
        assert (code, said) == (
            2, f"idp: {url!r} is not a service URL: use one such as https://id.example.com.\n"
        )  # fmt: skip
    code, said = failure("list", "--url", served.url, ADMIN_TOKEN="x\ny")
    assert (code, "ADMIN_TOKEN contains a character" in said) == (2, True)


def test_two_ended_tokens_of_one_name_need_an_id(served: Served) -> None:
    name = new_name()
    for _ in range(2):
        run(served, "create", name)
        run(served, "revoke", name)
    code, said = failure("show", name, **served.environ)
    assert code == 2
    assert said.startswith(f"idp: 2 revoked tokens are named {name}: use an ID (`idp tokens list --all")
    run(served, "create", name)
    assert answer(served, "show", name)["revoked"] is False, "the live one is meant"


@pytest.mark.parametrize("command", [["show"], ["revoke"], ["extend", "--days", "1"]])
def test_a_missing_token_has_exit_code_3(served: Served, command: list[str]) -> None:
    name = new_name()
    assert failure(*command, name, **served.environ) == (
        3, f"idp: There is no token named {name}: `idp tokens list --all` lists all.\n"
    )  # fmt: skip
    assert failure(*command, str(uuid4()), **served.environ) == (3, "idp: Token not found.\n")


def test_being_refused_has_exit_code_4(served: Served) -> None:
    """S2-39: nothing, something wrong, and a token that may not manage."""
    for token, reason in (
        ({}, "Missing Authorization header."),
        ({"ADMIN_TOKEN": "wrong"}, "Invalid admin token."),
        ({"ADMIN_TOKEN": answer(served, "create", new_name(), "read")["token"]}, "Admin access required."),
    ):
        hint = "ADMIN_TOKEN must be the service's ADMIN_TOKEN, or a service token with the scope idp:manage."
        assert failure("list", IDP_URL=served.url, **token) == (4, f"idp: {served.url} refuses: {reason} {hint}\n")


def test_a_service_that_does_not_answer_has_exit_code_5() -> None:
    port = free_port()
    assert failure("list", ADMIN_TOKEN="x", PORT=str(port)) == (
        5, f"idp: http://localhost:{port} does not answer (Connection refused): is it running?\n"
    )  # fmt: skip
    code, said = failure("list", "--url", "https://no-such-host.invalid", ADMIN_TOKEN="x")
    assert code == 5
    assert re.fullmatch(r"idp: https://no-such-host\.invalid does not answer \(.+\): is the URL correct\?\n", said)


class Other(BaseHTTPRequestHandler):
    """Some other server: it redirects to itself, or answers a page."""

    asked: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers["Authorization"]))
        self.send_response(302 if self.path.startswith("/moved/") else 200)
        self.send_header("Location", "/stolen")
        self.end_headers()
        self.wfile.write(b"<h1>Welcome</h1>")

    def log_message(self, *_: object) -> None: ...


def test_another_server_is_recognized_and_redirects_get_no_credential() -> None:
    handler = type("Handler", (Other,), {"asked": []})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        for path, status in (("", 200), ("/moved", 302)):
            code, said = failure("list", "--url", base + path, ADMIN_TOKEN="x")
            sentence = f"unexpected response ({status}). Check the URL (--url)."
            assert (code, said) == (1, f"idp: {base}{path} is not an idp service: {sentence}\n")
        server.shutdown()
    assert [path.partition("?")[0] for path, _ in handler.asked] == ["/auth/tokens", "/moved/auth/tokens"]


def test_unknown_arguments_are_named(served: Served) -> None:
    for arguments, sentence in (
        (["create"], "Missing argument 'NAME'"),
        (["create", "x", "--days", "0"], "0 is not in the range 1<=x<=3650"),
        (["extend", "x"], "Missing option '--days'"),
        (["frobnicate"], "has no command 'frobnicate'"),
    ):
        done = run(served, *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert sentence in " ".join(done.stderr.split())
