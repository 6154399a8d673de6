"""`idp audit`: the log listed from the service, and its chain verified in the database."""

import json
import re
import secrets
from typing import Any

import asyncpg
import httpx2
import pytest

from cli.conftest import Served
from cli.support import idp, root_secret, running_serve, wait_until

HEAD = re.compile(r"^Head: (\d+:[0-9a-f]{64})$", re.MULTILINE)


async def sql(url: str, statement: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch(statement)
    finally:
        await connection.close()


@pytest.fixture
def written(empty: str, tmp_path: Any) -> str:
    """A database in which a service has recorded and chained something."""
    environ = {"DATABASE_URL": empty, "IDP_SECRET_KEY": root_secret(), "RUN_MIGRATIONS": "true"}
    with running_serve(tmp_path / "out", **environ) as (_, url):
        for _ in range(3):
            body = {"email": f"pat-{secrets.token_hex(4)}@example.com", "password": secrets.token_hex(9), "name": "P"}
            httpx2.post(f"{url}/auth/register", json=body).raise_for_status()
        wait_until(lambda: "Not chained" not in idp("audit", "verify", DATABASE_URL=empty).stdout)
    return empty


async def test_verify_finds_what_was_changed(written: str) -> None:
    whole = idp("audit", "verify", DATABASE_URL=written)
    assert (whole.returncode, whole.stderr) == (0, "")
    assert re.match(r"\d+ records, hash chain intact\.\nHead: ", whole.stdout)
    (noted,) = HEAD.findall(whole.stdout)
    assert idp("audit", "verify", "--head", noted, DATABASE_URL=written).returncode == 0
    assert json.loads(idp("audit", "verify", "-o", "json", DATABASE_URL=written).stdout) == {
        "intact": True,
        "problem": None,
        "links": int(noted.partition(":")[0]),
        "head": noted,
        "unchained": {"records": 0, "since": None},
    }

    second = "(SELECT audit_id FROM idp.audit_chain WHERE seq = 2)"
    await sql(written, f"UPDATE idp.audit_logs SET actor = 'x' WHERE id = {second}")
    broken = idp("audit", "verify", DATABASE_URL=written)
    assert broken.returncode == 1
    assert re.fullmatch(
        r"idp: The audit log is not intact\. Record [0-9a-f-]{36} or its link 2 was changed\.\n", broken.stderr
    )
    assert broken.stdout.startswith("1 record before the break, hash chain intact.\nHead: 1:")
    as_json = idp("audit", "verify", "-o", "json", DATABASE_URL=written)
    assert (as_json.returncode, json.loads(as_json.stdout)["intact"]) == (1, False)


async def test_verify_names_the_unchained_tail_and_a_tail_that_was_cut(written: str) -> None:
    (noted,) = HEAD.findall(idp("audit", "verify", DATABASE_URL=written).stdout)
    await sql(written, "DELETE FROM idp.audit_chain WHERE seq > 1")
    tail = idp("audit", "verify", DATABASE_URL=written)
    assert tail.returncode == 0
    assert re.search(r"^Not chained yet: \d records, since \d{4}-\d\d-\d\dT[\d:.]+Z\.$", tail.stdout, re.MULTILINE)
    cut = idp("audit", "verify", "--head", noted, DATABASE_URL=written)
    assert cut.returncode == 1
    assert f"The chain ends with link 1, but link {noted.partition(':')[0]} is expected." in cut.stderr


def test_verify_reports_what_prevents_it(empty: str) -> None:
    assert "is not migrated: run `idp migrate`." in idp("audit", "verify", DATABASE_URL=empty).stderr
    assert idp("migrate", DATABASE_URL=empty).returncode == 0
    assert idp("audit", "verify", DATABASE_URL=empty).stdout == "No record is chained yet.\n"
    for head in ("12", "0:" + "a" * 64, "1:" + "g" * 64, "-1:" + "a" * 64):
        refused = idp("audit", "verify", f"--head={head}", DATABASE_URL=empty)
        assert (refused.returncode, "--head takes a head" in refused.stderr) == (2, True)


def test_the_log_is_listed(served: Served) -> None:
    email = f"pat-{secrets.token_hex(4)}@example.com"
    body = {"email": email, "password": secrets.token_hex(9), "name": "P"}
    user = httpx2.post(f"{served.url}/auth/register", json=body).json()["user_id"]
    plain = idp("audit", "list", "--user", user, "--action", "user.created", **served.environ)
    assert (plain.returncode, plain.stderr) == (0, "")
    header, row = plain.stdout.splitlines()
    assert re.split(r" {3,}", header) == ["Time", "Action", "Actor", "User", "Target", "Address"]
    assert (re.split(r" {3,}", row)[1], user in row, "127.0.0.1" in row) == ("user.created", True, True)
    found = json.loads(idp("audit", "list", "--user", user, "--limit", "1", "-o", "json", **served.environ).stdout)
    assert [each["user_id"] for each in found] == [user]
    none = idp("audit", "list", "--user", user, "--until", "2020-01-01T00:00:00Z", "-o", "json", **served.environ)
    assert json.loads(none.stdout) == []
    assert idp("audit", "list", "--since", "yesterday", **served.environ).returncode == 2
