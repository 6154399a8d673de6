"""Commands in another terminal while `idp dev` runs: no configuration, and no effect on production."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from cli.conftest import Served
from cli.support import ROOT, Dev, auth_cli, free_port, get, idp, in_a_terminal, post, running_dev, shell, unquoted
from idp.db.migrate import head


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What makes a folder a checkout, so that its var/dev is the default data folder."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "config", folder / "config")
    (folder / "pyproject.toml").touch()
    (folder / "var").mkdir()
    return folder


@pytest.fixture(scope="module")
def here(checkout: Path) -> dict[str, str]:
    """The environment of another terminal: no address, no token."""
    return {"IDP_CONFIG_DIR": str(checkout / "config")}


@pytest.fixture(scope="module")
def dev(checkout: Path, here: dict[str, str]) -> Iterator[Dev]:
    with running_dev(checkout / "var" / "dev", **here) as dev:
        yield dev


def answer(*arguments: str, **environ: str) -> Any:
    done = idp(*arguments, "-o", "json", **environ)
    assert (done.returncode, done.stderr) == (0, ""), done
    return json.loads(done.stdout)


def test_everything_works_without_any_setting(dev: Dev, here: dict[str, str]) -> None:
    """On whatever port it listens; an access token or --as says who one is."""
    assert dev.base_url != "http://localhost:8000"
    emails = {user["email"] for user in answer("users", "list", **here)["users"]}
    assert "ada@example.com" in emails
    assert answer("tokens", "create", "mine", "read", **here)["name"] == "mine"
    assert auth_cli("list", **here).stdout.startswith("Total tokens: 1\n")
    assert answer("keys", "create", "laptop", "--as", "noor@example.com", **here)["name"] == "laptop"
    ada = dev.persona("ada@example.com")["access_token"]
    assert answer("keys", "list", "--url", dev.base_url, IDP_TOKEN=ada, **here) == []


def test_an_invited_user_finds_the_link_in_the_mailbox(dev: Dev, here: dict[str, str]) -> None:
    """S4-07: from the command to the first login."""
    invited = answer("users", "invite", "grace@example.com", "--role", "user", "--role", "analyst", **here)
    (mail,) = (
        each
        for each in get(f"{dev.base_url}/dev/mailbox", Accept="application/json").json
        if each["to"] == invited["email"]
    )
    token = mail["links"][0].partition("token=")[2]
    body = {"token": token, "new_password": "a password of their own"}
    assert post(f"{dev.base_url}/api/auth/password/reset/confirm", body).status == 200
    login = {"email": "grace@example.com", "password": "a password of their own"}
    assert post(f"{dev.base_url}/api/auth/login", login).json["user"]["roles"] == ["analyst", "user"]
    assert len(answer("users", "sessions", "grace@example.com", **here)["sessions"]) == 1


def test_its_own_address_may_be_given_in_every_spelling(dev: Dev, here: dict[str, str]) -> None:
    port = dev.base_url.rpartition(":")[2]
    for url in (dev.base_url, f"http://localhost:{port}", f"http://localhost:{port}/"):
        assert auth_cli("--auth-url", url, "list", **here).returncode == 0, url
    assert auth_cli("list", PORT=port, **here).returncode == 0
    assert idp("tokens", "list", IDP_URL=dev.base_url, **here).returncode == 0


def test_its_token_is_for_its_own_address_alone(dev: Dev, served: Served, here: dict[str, str]) -> None:
    """Another service gets no token it should not see, not even one on this machine."""
    for refused in (
        idp("tokens", "list", "--url", served.url, **here),
        auth_cli("--auth-url", served.url, "list", **here),
        idp("users", "list", PORT=served.url.rpartition(":")[2], **here),
    ):
        assert refused.returncode in {1, 4}
        assert re.search(r"(Error: 401 -|refuses:) (Missing Authorization header|Unauthorized)\.", refused.stderr)


def test_a_users_own_token_is_never_sent_to_it_by_accident(dev: Dev, here: dict[str, str]) -> None:
    """Whoever sets ADMIN_TOKEN or IDP_TOKEN means a service of their own: the documented address stays (S2-09)."""
    port = str(free_port())
    done = auth_cli("list", ADMIN_TOKEN="x", PORT=port, **here)
    assert done.stderr.startswith(f"Connection error: http://localhost:{port} ")
    done = idp("keys", "list", IDP_TOKEN="x", PORT=port, **here)
    assert done.stderr.startswith(f"idp: http://localhost:{port} does not answer")


def test_a_file_that_others_could_have_written_is_not_read(dev: Dev, tmp_path: Path) -> None:
    """It says where to send what is typed."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    (tmp_path / "pyproject.toml").touch()
    folder = tmp_path / "var" / "dev"
    folder.mkdir(parents=True)
    file = folder / "dev.json"
    environ = {"IDP_CONFIG_DIR": str(tmp_path / "config")}

    def found(text: str, mode: int = 0o600) -> bool:
        file.write_text(text)
        file.chmod(mode)
        done = idp("tokens", "list", **environ)
        assert "Traceback" not in done.stderr
        return done.returncode == 0

    facts = json.dumps(dev.facts)
    assert found(facts)
    for mode in (0o644, 0o620, 0o606):
        assert not found(facts, mode), oct(mode)
    for broken in ("", "{", "[]", "{}", '{"base_urls": [], "management_token": "x"}', '{"base_urls": 1}'):
        assert not found(broken), broken
    for urls in (["https://id.example.com"], ["http://10.0.0.1:8000"], [dev.base_url, "http://10.0.0.1"]):
        assert not found(json.dumps({**dev.facts, "base_urls": urls})), urls
    if os.geteuid() == 0:
        file.write_text(facts)
        os.chown(file, 65534, -1)
        assert idp("tokens", "list", **environ).returncode != 0


def test_a_production_installation_never_looks_for_it(dev: Dev, here: dict[str, str], tmp_path: Path) -> None:
    """Rule 7: without the code of `idp dev` its announcement means nothing."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['idp.dev'] = None\n")
    done = idp("tokens", "list", "--url", dev.base_url, PYTHONPATH=str(tmp_path), **here)
    assert (done.returncode, done.stdout) == (4, "")
    assert "refuses: Missing Authorization header." in done.stderr


@pytest.mark.parametrize(
    "own", [{"DATABASE_URL": "postgresql://db.internal/idp"}, {"IDP_PUBLIC_URL": "https://id.example.com"}]
)
def test_idp_dev_is_not_used_if_another_service_is_configured(
    dev: Dev, here: dict[str, str], own: dict[str, str]
) -> None:
    """Rule 7: a command for production is not answered by what happens to run beside it."""
    assert "ada@example.com" not in idp("users", "list", **here, **own).stdout
    assert "ada@example.com" in idp("users", "list", "--url", dev.base_url, **here, **own).stdout


def test_the_screen_says_how_in_one_line(dev: Dev, here: dict[str, str]) -> None:
    (command,) = re.findall(r"^  Manage from another terminal: (.+)$", dev.said(), re.MULTILINE)
    assert command.endswith("idp users list")
    done = shell(f"IDP_CONFIG_DIR={here['IDP_CONFIG_DIR']} {command}")
    assert "ada@example.com" in done.stdout, done


def test_in_another_folder_the_line_sets_all_variables(tmp_path_factory: pytest.TempPathFactory) -> None:
    """And an ADMIN_TOKEN of the environment is kept, and written nowhere but into dev.json."""
    folder = tmp_path_factory.mktemp("my data")
    with running_dev(folder / "d") as dev:
        (command,) = re.findall(r"^  Manage from another terminal: (.+)$", dev.said(), re.MULTILINE)
        token = (folder / "d" / "admin_token").read_text()
        assert unquoted(re.findall(r"cat (.+?)\)", command)[0]) == str(folder / "d" / "admin_token")
        assert "ada@example.com" in shell(command).stdout
        assert dev.facts["management_token"] == token
    own = "a-token-of-their-own-" + "0123456789"
    with running_dev(folder / "d", ADMIN_TOKEN=own) as dev:
        assert dev.facts["management_token"] == own
        (command,) = re.findall(r"^  Manage from another terminal: (.+)$", dev.said(), re.MULTILINE)
        assert "cat" not in command
        assert own not in dev.said()
        assert "ada@example.com" in shell(f"ADMIN_TOKEN={own} {command}").stdout
        assert idp("users", "list", ADMIN_TOKEN=token, IDP_URL=dev.base_url).returncode == 4
    assert (folder / "d" / "admin_token").read_text() == token


def test_as_an_unknown_user_requires_confirmation(dev: Dev, here: dict[str, str]) -> None:
    """A misspelt --as made a user without a word."""
    typo = idp("keys", "list", "--as", "adaa@example.com", **here)
    assert (typo.returncode, typo.stdout) == (2, "")
    assert typo.stderr == (
        "idp: No user has the address adaa@example.com. Did you mean ada@example.com? Use --new-user to create it.\n"
    )
    assert "adaa@example.com" not in idp("users", "list", "-o", "json", **here).stdout
    meant = idp("keys", "list", "--as", "adaa@example.com", "--new-user", "-o", "json", **here)
    assert (meant.returncode, meant.stdout.strip()) == (0, "[]"), meant.stderr
    assert idp("keys", "list", "--as", "ADA@example.com", **here).returncode == 0


def test_commands_that_open_the_database_find_it(dev: Dev, here: dict[str, str]) -> None:
    """As `idp users` finds the service: nothing to set."""
    checked = answer("check-db", **here)
    assert (checked["database"], checked["revision"]) == ("idp", head())
    assert any("idp dev" in sentence for sentence in checked["messages"])
    assert answer("migrate", **here)["messages"] == ["The database is up to date."]
    assert answer("audit", "verify", **here)["intact"] is True
    published = {each["kid"] for each in get(f"{dev.base_url}/.well-known/jwks.json").json["keys"]}
    assert {key["kid"] for key in answer("signing-keys", "list", **here)} == published
    assert answer("keys", "secrets", **here)[0]["secret"] == "IDP_SECRET_KEY"


def test_a_variable_that_leads_elsewhere_is_named_to_a_person(dev: Dev, served: Served, here: dict[str, str]) -> None:
    elsewhere = {"DATABASE_URL": served.database_url, **here}
    for command in (("check-db",), ("users", "list", "--limit", "1")):
        _, shown = in_a_terminal(*command, columns=200, **elsewhere)
        assert "DATABASE_URL" in shown
        assert f"the `idp dev` at {dev.base_url}." in shown
    _, shown = in_a_terminal("check-db", columns=200, **here)
    assert f"Using the database of the `idp dev` at {dev.base_url}." in shown


def test_the_sample_of_the_docs_page_signs_in_as_it_stands(dev: Dev) -> None:
    sample = get(f"{dev.base_url}/openapi.json").json["components"]["schemas"]["LoginIn"]["example"]
    for path in ("/auth/login", "/api/auth/login"):
        assert post(f"{dev.base_url}{path}", sample).status == 200


def test_another_program_is_not_an_idp(here: dict[str, str]) -> None:
    """A FastAPI service answers {"detail": "Not Found"}, which was taken for idp's own answer."""

    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"detail": "Not Found"}'
            self.send_response(404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Other) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        done = idp("users", "list", "--url", url, ADMIN_TOKEN="x", **here)
        server.shutdown()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"idp: {url} is not an idp service: unexpected response (404)")


# --- Clerk -----------------------------------------------------------------------------------------------------------


def clerk(*arguments: str, **environ: str) -> str:
    """Run `idp dev clerk …`, and return what it printed."""
    done = idp("dev", "clerk", *arguments, **environ)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout.strip()


def test_clerk_is_played_without_a_tunnel(dev: Dev, here: dict[str, str]) -> None:
    """S1-13 S1-14: sign-up, webhook, session token, change, ban and deletion from another terminal."""
    user_id = clerk("create", "--email", "cleo@example.org", "--first-name", "Cleo", "--plan", "PRO", **here)

    def me() -> Any:
        return get(f"{dev.base_url}/v1/me", Authorization=f"Bearer {clerk('session', user_id, **here)}")

    assert (me().json["email"], me().json["name"], me().json["plan"]) == ("cleo@example.org", "Cleo", "PRO")
    assert clerk("update", user_id, "--last-name", "Clark", **here) == f"{user_id} is changed."
    assert me().json["name"] == "Cleo Clark"
    pending = clerk("session", user_id, "--pending", **here)
    assert get(f"{dev.base_url}/v1/me", Authorization=f"Bearer {pending}").json["code"] == "clerk_session_pending"
    clerk("update", user_id, "--banned", **here)
    assert me().json["code"] == "user_inactive"
    clerk("update", user_id, "--not-banned", **here)
    token = clerk("session", user_id, **here)
    assert clerk("delete", user_id, **here) == f"{user_id} is deleted."
    assert get(f"{dev.base_url}/v1/me", Authorization=f"Bearer {token}").json["code"] == "user_inactive"
    unknown = idp("dev", "clerk", "session", user_id, **here)
    assert (unknown.returncode, unknown.stdout) == (3, "")
    assert "idp dev clerk create" in unknown.stderr


def test_lost_deliveries_are_found_and_repaired(dev: Dev, here: dict[str, str]) -> None:
    """docs/clerk.md: `idp clerk diff` and `repair` against the stand-in's list."""
    trouble = ("--drop", "0.5", "--double", "0.3", "--shuffle", "--seed", "7")
    created = clerk("create", "--count", "12", "--email", "many@example.org", *trouble, **here).splitlines()
    assert len(set(created)) == 12
    found = idp("clerk", "diff", **here)
    assert found.returncode == 1
    assert found.stdout.splitlines()[0].split() == ["Clerk", "id", "Difference", "Members"]
    assert found.stderr.startswith("idp: ")
    assert "`idp clerk repair` repairs them." in found.stderr
    lost = answer_of_diff(here)
    assert 0 < lost["missing"] < 12
    repaired = json.loads(idp("clerk", "repair", "-o", "json", **here).stdout)
    assert repaired["missing"] == lost["missing"]
    done = idp("clerk", "diff", **here)
    assert (done.returncode, done.stdout.startswith("Nothing differs: ")) == (0, True)


def answer_of_diff(here: dict[str, str]) -> Any:
    return json.loads(idp("clerk", "diff", "-o", "json", **here).stdout)


def test_a_real_clerk_instance_replaces_the_stand_in(checkout: Path, dev: Dev, here: dict[str, str]) -> None:
    """Its secret is never taken for the stand-in's, and without one the command says which variable is missing."""
    elsewhere = {"DATABASE_URL": "postgresql://u:p@127.0.0.1:1/nothing"}
    missing = idp("clerk", "diff", **elsewhere)
    assert (missing.returncode, "CLERK_SECRET_KEY is not set" in missing.stderr) == (2, True)
    given = {"CLERK_SECRET_KEY": "sk_test_other", "CLERK_API_URL": f"{dev.base_url}/dev/clerk"}
    refused = idp("clerk", "diff", **given, **here)
    assert (refused.returncode, "check CLERK_SECRET_KEY" in refused.stderr) == (5, True)


def test_the_banner_names_the_stand_in(dev: Dev) -> None:
    assert "dev clerk create" in dev.said()
