"""Every list fits a narrow terminal: wrapped by column or as records, never broken inside a word or an id."""

import re
import secrets

import pytest

from cli.conftest import Served
from cli.support import AUTH_CLI, IDP, auth_cli, idp, in_a_terminal, without_colours

UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")


def shown(*arguments: str, columns: int, **environ: str) -> list[str]:
    command = AUTH_CLI if arguments[0] == "--auth-url" else IDP
    code, text = in_a_terminal(*arguments, columns=columns, command=command, **environ)
    assert code == 0, text
    return without_colours(text).splitlines()


def check_width(lines: list[str], columns: int) -> None:
    too_wide = [line for line in lines if len(line) > columns and len(line.split()) > 2]
    assert not too_wide, too_wide


@pytest.mark.parametrize("columns", [60, 80])
def test_routes_and_settings_fit(columns: int) -> None:
    for command in (("routes",), ("config", "show")):
        lines = shown(*command, columns=columns)
        check_width(lines, columns)
    text = "\n".join(shown("routes", columns=columns))
    for path in ("/api/auth/admin/users/{user_id", "/v1/api-keys/{key_id"):
        assert path in text
    assert "rate_limits.registrations_per_address_per_hour" in "\n".join(shown("config", "show", columns=columns))


@pytest.mark.parametrize("columns", [80, 132])
def test_the_audit_log_shows_whole_ids(served: Served, columns: int) -> None:
    email = f"{secrets.token_hex(4)}@example.com"
    invited = idp("users", "invite", email, "-o", "json", **served.environ)
    user_id = re.search(UUID, invited.stdout)
    assert user_id, invited
    lines = shown("audit", "list", "--limit", "20", columns=columns, **served.environ)
    check_width(lines, columns)
    assert user_id.group() in "\n".join(lines)


def test_auth_cli_list_fits_a_terminal_and_keeps_its_form_in_a_pipe(served: Served) -> None:
    """S2-12: scripts read the 130 columns."""
    name = f"svc-{secrets.token_hex(4)}"
    made = auth_cli("--auth-url", served.url, "create", name, "--scopes", "a", "b", **served.environ)
    token_id = re.search(UUID, made.stdout)
    assert token_id
    piped = auth_cli("--auth-url", served.url, "list", **served.environ).stdout.splitlines()
    assert piped[2] == "-" * 130
    lines = shown("--auth-url", served.url, "list", columns=80, **served.environ)
    check_width(lines, 80)
    assert token_id.group() in "\n".join(lines)


@pytest.mark.parametrize("columns", [80, 120])
def test_clients_with_long_names_fit(served: Served, columns: int) -> None:
    name = f"A client that signs users in to everything {secrets.token_hex(4)}"
    created = idp("clients", "create", name, "--redirect-uri", "https://app.example.com/cb", **served.environ)
    client_id = re.search(r"client_[0-9a-f]+", created.stdout)
    assert client_id, created
    lines = shown("clients", "list", columns=columns, **served.environ)
    check_width(lines, columns)
    assert any(client_id.group() in line for line in lines)
    notes = [line for line in lines if "A wider terminal" in line]
    assert all(note.startswith("  A wider") for note in notes)
    assert notes or columns > 80
