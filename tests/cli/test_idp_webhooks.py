"""`idp webhooks`: endpoints for people and for scripts, against the real service."""

import json
import secrets
from typing import Any

import pytest

from cli.conftest import Served
from cli.support import idp, in_a_terminal, without_colours


def address() -> str:
    return f"https://consumer.example.com/{secrets.token_hex(6)}"


def answer(served: Served, *arguments: str) -> Any:
    done = idp("webhooks", *arguments, "-o", "json", **served.environ)
    assert (done.returncode, done.stderr) == (0, ""), done
    return json.loads(done.stdout)


def test_a_webhook_from_its_creation_to_its_end(served: Served) -> None:
    """Named by its URL or its id; the secret is printed at the creation and rotation only."""
    url = address()
    made = answer(served, "create", url, "idp.user.created", "--description", "CRM")
    assert made["secret"].startswith("whsec_")
    assert (made["types"], made["description"]) == (["idp.user.created"], "CRM")
    assert url in [each["url"] for each in answer(served, "list")]
    shown = answer(served, "show", made["id"])
    assert "secret" not in shown
    assert answer(served, "disable", url)["disabled_reason"] == "admin"
    assert answer(served, "enable", url)["is_active"] is True
    assert answer(served, "rotate-secret", url, "--overlap", "0")["secret"] != made["secret"]
    assert answer(served, "replay", url, "--after", "0-0")["position"] == "0-0"
    assert answer(served, "rejections", url) == []
    assert answer(served, "delete", url) == {"deleted": True}
    done = idp("webhooks", "show", url, **served.environ)
    assert (done.returncode, done.stdout) == (3, "")
    assert f"No webhook has the URL or id {url}" in done.stderr


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_in_a_terminal_it_fits(served: Served, columns: int) -> None:
    """The table and the facts; the secret in one piece."""
    url = address()
    code, shown = in_a_terminal("webhooks", "create", url, columns=columns, **served.environ)
    assert code == 0, shown
    assert "Save the secret now" in without_colours(shown)
    code, shown = in_a_terminal("webhooks", "list", columns=columns, **served.environ)
    lines = without_colours(shown).splitlines()
    assert (code, all(len(line) <= columns for line in lines)) == (0, True), lines
    answer(served, "delete", url)


def test_a_test_that_is_not_delivered_fails_and_says_why(served: Served) -> None:
    """Exit code 1; production posts to public addresses only (SEC-66)."""
    url = f"https://127.0.0.1/{secrets.token_hex(6)}"
    answer(served, "create", url)
    done = idp("webhooks", "test", url, **served.environ)
    assert (done.returncode, done.stdout) == (1, "")
    assert "which is not public" in done.stderr
    answer(served, "delete", url)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("create", "http://example.com/"), "This address is not allowed: it is not https."),
        (("create", "https://example.com/", "idp.nothing"), "There is no event type idp.nothing"),
        (("create", "https://example.com/", "idp.user.create"), "did you mean idp.user.created?"),
        (("replay", "https://example.com/", "--since", "yesterday"), "--since takes a time such as"),
        (("create",), "Missing argument"),
    ],
)
def test_bad_input_is_one_sentence(served: Served, arguments: tuple[str, ...], expected: str) -> None:
    done = idp("webhooks", *arguments, **served.environ)
    assert (done.returncode, done.stdout) == (2, ""), done
    assert expected in done.stderr
