"""`idp users create-admin`: the first administrator, without a service and without a default password."""

import secrets
import subprocess
from pathlib import Path

import asyncpg
import pytest

from cli.support import get, idp, in_a_terminal, log_in, post, refusal, root_secret, running_serve

PASSWORD = "a password of their own"


def create(database_url: str, email: str, *more: str, typed: str = f"{PASSWORD}\n") -> subprocess.CompletedProcess[str]:
    return idp("users", "create-admin", email, *more, typed=typed, DATABASE_URL=database_url)


@pytest.fixture
def prepared(empty: str) -> str:
    """A database of its own, migrated."""
    assert idp("migrate", DATABASE_URL=empty).returncode == 0
    return empty


def test_the_first_administrator_can_sign_in_and_administer(prepared: str, tmp_path: Path) -> None:
    """SEC-11 C-11: with the password that was typed; the address is vouched for, so S4's path lets them in, too."""
    done = create(prepared, "First@Example.com", "--name", "First Admin")
    assert (done.returncode, done.stdout, done.stderr) == (0, "First@example.com is an administrator.\n", "")
    environ = {"DATABASE_URL": prepared, "IDP_SECRET_KEY": root_secret()}
    with running_serve(tmp_path / "out", **environ) as (_, url):
        token = log_in(url, "first@example.com", PASSWORD).json["access_token"]
        body = {"email": "first@example.com", "password": PASSWORD}
        assert post(f"{url}/api/auth/login", body).status == 200
        me = get(f"{url}/auth/me", token=token).json
        assert (me["roles"], me["name"], me["email_verified"]) == (["admin", "user"], "First Admin", True)
        assert [team["name"] for team in me["teams"]] == ["General"]
        trail = get(f"{url}/api/auth/admin/audit?user_id={me['id']}", token=token)
        done_to_them = {entry["action"]: entry["actor"] for entry in trail.json if entry["actor"] == "system"}
        assert done_to_them.keys() == {"user.created", "user.email_verified", "user.roles_changed"}


async def test_a_registered_address_is_not_taken_over(prepared: str, tmp_path: Path) -> None:
    """Anybody can register any address: who holds it is for the operator to know, and to say with --existing."""
    environ = {"DATABASE_URL": prepared, "IDP_SECRET_KEY": root_secret()}
    email = f"pat-{secrets.token_hex(4)}@example.com"
    with running_serve(tmp_path / "out", **environ) as (_, url):
        body = {"email": email, "password": "correct horse battery", "name": "Pat"}
        token = post(f"{url}/auth/register", body).json["access_token"]
        done = create(prepared, email)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"idp: {email} already has an account, and anyone can register an address.")
        assert get(f"{url}/auth/me", token=token).json["roles"] == ["user"]
        for _ in range(2):
            done = create(prepared, email, "--existing", typed="")
            assert done.returncode == 0
            assert done.stdout.splitlines()[1].startswith("The address is not verified: until its owner verifies it,")
        me = get(f"{url}/auth/me", token=token).json
        assert (me["roles"], me["email_verified"]) == (["admin", "user"], False), "no session of theirs has ended"
        assert post(f"{url}/api/auth/login", {"email": email, "password": "correct horse battery"}).status == 401
        assert log_in(url, email, "correct horse battery").status == 200
    nobody = create(prepared, "nobody@example.com", "--existing")
    assert (nobody.returncode, nobody.stderr.count("\n")) == (3, 1)


async def rows(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM idp.users"))
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("email", "typed", "sentence"),
    [
        ("a@example.com", "", "No password on stdin"),
        ("a@example.com", "\n", "No password on stdin"),
        ("a@example.com", "short\n", "The password has 5 characters; choose 8 to 128."),
        ("a@example.com", "password123\n", "The password is among the most common ones"),
        ("a@example.com", "a@example.com\n", "The password is the e-mail address"),
        ("nobody", f"{PASSWORD}\n", "nobody is not an e-mail address"),
    ],
)
async def test_an_invalid_change_is_refused_and_changes_nothing(
    migrated: str, email: str, typed: str, sentence: str
) -> None:
    done = create(migrated, email, typed=typed)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"idp: {sentence}"), done.stderr
    assert await rows(migrated) == 0


@pytest.mark.parametrize("name", ["A\u202eB", "A\u2028B", " Ada", "x" * 201])
async def test_a_name_is_what_it_may_be_everywhere(migrated: str, name: str) -> None:
    """Commands and API take the same."""
    done = create(migrated, "a@example.com", "--name", name)
    assert done.returncode == 2
    assert done.stderr.startswith("idp: The name "), done.stderr
    assert await rows(migrated) == 0


def test_at_a_terminal_the_password_is_asked_for_twice_and_not_shown(prepared: str) -> None:
    arguments = ("users", "create-admin", "ada@example.com")
    code, shown = in_a_terminal(
        *arguments, columns=80, typed=[PASSWORD, "another one", PASSWORD, PASSWORD], DATABASE_URL=prepared
    )
    assert code == 0, shown
    assert "Repeat for confirmation" in shown
    assert PASSWORD not in shown
    assert "The two entered values do not match" in shown
    assert shown.endswith("ada@example.com is an administrator.\n")


def test_a_database_that_is_not_ready_is_a_sentence(empty: str) -> None:
    said = refusal("users", "create-admin", "a@example.com", DATABASE_URL=empty)
    assert "is not migrated: run `idp migrate`." in said
    assert "DATABASE_URL is not set" in refusal("users", "create-admin", "a@example.com")
