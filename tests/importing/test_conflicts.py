"""Conflicts: each names the line, what was seen, what exists and what to do; no import opens an account."""

import hashlib
import secrets
import uuid
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from cli.support import idp
from factories import PASSWORD, Service
from importing.import_support import codes, do_import, numbers, user, write

HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()


def new_id(first: str = "u") -> str:
    return f"{first}-{secrets.token_hex(6)}"


async def row(service: Service, user_id: str) -> Any:
    rows = await service.sql("SELECT * FROM idp.users WHERE id = $1", user_id)
    return rows[0] if rows else None


async def roles(service: Service, user_id: str) -> set[str]:
    return {each["role"] for each in await service.sql("SELECT role FROM idp.user_roles WHERE user_id = $1", user_id)}


async def test_two_spellings_of_an_address_in_a_file_are_a_conflict(service: Service, tmp_path: Path) -> None:
    """C-13: the key of an address is the app's own: case, composition and international domains."""
    tag, ids = secrets.token_hex(4), [new_id() for _ in range(6)]
    emails = [f"Zo\u00eb-{tag}@b\u00fccher.example", f"zoe\u0308-{tag}@XN--BCHER-KVA.example", f"ada-{tag}@example.com",
              f"ADA-{tag}@Example.COM", None, None]  # fmt: skip
    file = write(tmp_path / "f.ndjson", *(user(i, email=e) for i, e in zip(ids, emails, strict=True)))
    report = do_import(service, file, "--on-conflict", "skip")
    assert numbers(report) == (4, 0, 0, 2)
    assert codes(report) == [(3, "email_taken"), (5, "email_taken")]
    assert ids[0] in report["conflicts"][0]["exists"]
    assert "--on-conflict link" in report["conflicts"][0]["action"]


async def test_fail_stops_and_writes_nothing_of_that_transaction(service: Service, tmp_path: Path) -> None:
    tag, ids = secrets.token_hex(4), [new_id() for _ in range(2)]
    file = write(
        tmp_path / "f.ndjson", *(user(i, email=f"{e}-{tag}@example.com") for i, e in zip(ids, "aA", strict=True))
    )
    report = do_import(service, file, code=1)
    assert codes(report) == [(3, "email_taken")]
    assert numbers(report) == (0, 0, 0, 1), "what was rolled back is not counted"
    assert await row(service, ids[0]) is None
    stopped = idp("import", str(file), DATABASE_URL=service.database_url)
    assert "Stopped at these conflicts: nothing is imported" in stopped.stderr
    dry = do_import(service, file, "--dry-run")
    assert (numbers(dry), dry["dry_run"]) == ((1, 0, 0, 1), True)
    assert await row(service, ids[0]) is None
    done = idp("import", str(file), "--on-conflict", "skip", DATABASE_URL=service.database_url)
    assert done.returncode == 0
    assert f"line 3: user {ids[1]}: email_taken: a" in done.stdout.lower()
    assert "To do: " in done.stdout


@pytest.mark.parametrize("link", [True, False])
async def test_an_unverified_address_is_never_linked(service: Service, tmp_path: Path, link: bool) -> None:
    """C-11: neither an imported address nor the one here takes over the other account unless both are verified."""
    person = await service.register()  # unverified
    intruder = new_id()
    records = [
        user(intruder, email=person.email, email_verified=True, password_hash=HASH, role="admin"),
        {"kind": "identity", "user_id": intruder, "provider": "https://evil.example", "subject": intruder},
    ]
    file = write(tmp_path / "f.ndjson", *records)
    report = do_import(service, file, "--on-conflict", "link" if link else "skip")
    assert codes(report) == [(2, "not_linked" if link else "email_taken"), (3, "user_unknown")]
    assert await roles(service, person.id) == {"user"}
    await service.sql("UPDATE idp.users SET email_verified = true WHERE id = $1", person.id)
    records[0]["email_verified"] = False
    report = do_import(service, write(file, *records), "--on-conflict", "link")
    assert codes(report) == [(2, "not_linked"), (3, "user_unknown")]
    records[0] |= {"email_verified": True, "is_active": False}
    assert codes(do_import(service, write(file, *records), "--on-conflict", "link"))[0] == (2, "not_linked")


async def test_two_verified_accounts_are_linked_and_both_ids_resolve(service: Service, tmp_path: Path) -> None:
    """The lower id stays; the other becomes an alias, under which its identities and teams are imported."""
    tag, team = secrets.token_hex(4), str(uuid.uuid4())
    email, high, low = f"both-{tag}@example.com", f"z-{tag}", f"a-{tag}"
    first = write(
        tmp_path / "first.ndjson",
        user(high, email=email, email_verified=True, roles=["user", "analyst"]),
        {"kind": "identity", "user_id": high, "provider": "https://one.example", "subject": tag},
        source="one",
    )
    do_import(service, first)
    second = write(
        tmp_path / "second.ndjson",
        user(low, email=email.upper(), email_verified=True, password_hash=HASH, role="admin", name="Bo"),
        {"kind": "identity", "user_id": low, "provider": "https://two.example", "subject": tag},
        {"kind": "team", "id": team, "name": f"Team {tag}"},
        {"kind": "team_membership", "user_id": high, "team_id": team},
        source="two",
    )
    report = do_import(service, second, "--on-conflict", "link")
    assert numbers(report) == (3, 1, 0, 0), report
    assert [each.lower() for each in report["administrators"]] == [email]
    assert await row(service, high) is None
    assert (await row(service, low))["email"] == email
    assert await roles(service, low) == {"user", "analyst", "admin"}
    identities = await service.sql("SELECT provider FROM idp.identities WHERE user_id = $1", low)
    assert {each["provider"] for each in identities} == {"https://one.example", "https://two.example"}
    login = await service.client.post("/auth/login", json={"email": email, "password": PASSWORD})
    assert (login.status_code, login.json()["user"]["id"]) == (200, low)
    assert {each["id"] for each in login.json()["user"]["teams"]} == {team}
    for former in (low, high):
        found = await service.app.core.resolver.user(former)
        assert found.id == low
    assert numbers(do_import(service, first)) == (0, 0, 2, 0), "the first file finds its user under the alias"


async def test_an_account_that_was_used_here_keeps_its_id(service: Service, tmp_path: Path) -> None:
    """Its tokens name the id, so the imported one becomes the alias although it is lower."""
    person = await service.register()
    await service.sql("UPDATE idp.users SET email_verified = true WHERE id = $1", person.id)
    file = write(tmp_path / "f.ndjson", user("0-low", email=person.email, email_verified=True, password_hash=HASH))
    assert numbers(do_import(service, file, "--on-conflict", "link")) == (0, 1, 0, 0)
    assert (await service.me(person.bearer)).json()["id"] == person.id
    assert (await service.app.core.resolver.user("0-low")).id == person.id
    login = await service.client.post("/auth/login", json={"email": person.email, "password": PASSWORD})
    assert login.json()["user"]["id"] == person.id, "a password that exists here is not replaced"
    await service.sql("DELETE FROM idp.user_aliases WHERE alias = '0-low'")


@pytest.mark.parametrize(
    ("stored", "why"),
    [
        ("$2b$31$" + "a" * 53, "bcrypt with cost 31"),
        ("$2b$04$short", "malformed"),
        ("$pbkdf2-sha256$i=1000000000$c2FsdHNhbHQ$" + "a" * 43, "PBKDF2 with 1000000000 iterations"),
        ("$pbkdf2-sha1$i=1000$c2FsdHNhbHQ$" + "a" * 27, "malformed"),
        ("$argon2id$v=19$m=4194304,t=9,p=1$c29tZXNhbHQ$" + "a" * 43, "exceeds the limits"),
        ("{SSHA}abc", "unknown scheme"),
        ("plain text", "unknown scheme"),
    ],
)
def test_a_hash_that_would_occupy_the_workers_is_refused(
    service: Service, tmp_path: Path, stored: str, why: str
) -> None:
    """SEC-7 C-04: with a reason, and without the hash."""
    file = write(tmp_path / "f.ndjson", user(new_id(), password_hash=stored))
    report = do_import(service, file, "--on-conflict", "skip")
    assert codes(report) == [(2, "password_refused")]
    assert why in report["conflicts"][0]["exists"]
    assert stored not in str(report)


def test_other_values_that_cannot_be_stored_are_refused(service: Service, tmp_path: Path) -> None:
    tag = secrets.token_hex(4)
    records = [
        user(new_id(), email="no address"),
        user(new_id(), email=f"{'a' * 300}@example.com"),
        user(new_id(), name="x" * 201),
        user(new_id(), plan="GOLD"),
        user(new_id(), role="ad\u202emin"),
        user(new_id(), avatar_url="javascript:alert(1)", phone="1", name="\u202eevil\x07", plan="pro", email=""),
    ]
    report = do_import(service, write(tmp_path / f"{tag}.ndjson", *records), "--on-conflict", "skip")
    assert [code for _, code in codes(report)] == [
        "email_invalid", "email_invalid", "name_too_long", "plan_unknown", "role_invalid",
    ]  # fmt: skip
    assert report["created"] == 1
    assert set(report["notes"]) == {
        "avatar_url left out: it is not an http or https URL",
        "phone left out: it is not stored here",
    }


async def test_a_deleted_user_stays_deleted(service: Service, tmp_path: Path) -> None:
    """C-14: importing revives nobody, deletes nobody, and a user deleted at the source does not come back."""
    ghost, gone = new_id(), new_id()
    email = service.new_email()
    file = write(
        tmp_path / "f.ndjson",
        user(ghost, email=email, deleted_at="2026-01-01T00:00:00Z", password_hash=HASH, role="admin"),
        user(gone, email=service.new_email(), password_hash=HASH),
        {"kind": "identity", "user_id": ghost, "provider": "clerk", "subject": ghost},
    )
    report = do_import(service, file)
    assert numbers(report) == (2, 0, 1, 0)
    assert report["administrators"] == []
    assert (await row(service, ghost))["password_hash"] is None
    assert (await service.client.post("/auth/login", json={"email": email, "password": PASSWORD})).status_code == 401
    await service.sql("UPDATE idp.users SET deleted_at = now(), is_active = false WHERE id = $1", gone)
    later = write(file, user(gone, email=service.new_email(), updated_at="2026-08-01T00:00:00Z"), user(ghost))
    report = do_import(service, later)
    assert numbers(report) == (0, 0, 2, 0)
    assert report["notes"] == {"deleted here: stays deleted": 2}


async def test_a_second_export_updates_only_whom_nobody_changed_here(service: Service, tmp_path: Path) -> None:
    """The newer state counts, per user; changes made here are kept."""
    one, two = new_id(), new_id()
    source = f"delta-{secrets.token_hex(3)}"
    path = tmp_path / "f.ndjson"
    write(
        path, user(one, name="A", role="admin"), user(two, name="B"), source=source, exported_at="2026-02-01T00:00:00Z"
    )
    assert numbers(do_import(service, path)) == (2, 0, 0, 0)
    await service.sql("UPDATE idp.users SET name = 'changed here', updated_at = now() WHERE id = $1", two)
    newer = {"updated_at": "2026-03-01T00:00:00Z"}
    write(
        path,
        user(one, name="A2", **newer),
        user(two, name="B2", **newer),
        source=source,
        exported_at="2026-03-02T00:00:00",
    )
    assert numbers(do_import(service, path)) == (0, 1, 1, 0)
    assert (await row(service, one))["name"] == "A2"
    assert await roles(service, one) == {"user"}, "demoted at the source"
    assert (await row(service, two))["name"] == "changed here"


async def test_identities_names_and_secrets_belong_to_one(service: Service, tmp_path: Path) -> None:
    tag, one, two = secrets.token_hex(4), new_id(), new_id()
    digest = hashlib.sha256(tag.encode()).hexdigest()
    identity = {"kind": "identity", "provider": "https://x.example", "subject": tag}
    token = {"kind": "token", "name": f"name {tag}", "token_hash": digest, "scopes": ["a"]}
    do_import(service, write(tmp_path / "a", user(one), user(two), identity | {"user_id": one},
                             token | {"token_id": str(uuid.uuid4())}))  # fmt: skip
    other = {"token_hash": digest[::-1], "token_id": str(uuid.uuid4())}
    key = {"kind": "api_key", "id": str(uuid.uuid4()), "user_id": one, "name": "k", "key_prefix": "sk_live"}
    domain = {"kind": "domain", "id": str(uuid.uuid4()), "key": f"d{tag}", "name": "D"}
    records = [
        identity | {"user_id": two},
        identity | {"user_id": two, "provider": "google", "subject": "1"},
        token | {"token_id": str(uuid.uuid4())},
        token | other,
        token | other | {"token_id": str(uuid.uuid4()), "name": f"m {tag}", "scopes": ["idp:manage"]},
        token | other | {"token_id": str(uuid.uuid4()), "name": f"m {tag}", "scopes": ["with space"]},
        key | {"key_hash": "$2b$31$" + "a" * 53},
        key | {"id": str(uuid.uuid4()), "key_hash": "abc"},
        key | {"id": str(uuid.uuid4()), "key_hash": HASH, "key_prefix": "sk"},
        key | {"id": str(uuid.uuid4()), "key_hash": HASH, "user_id": "nobody"},
        {"kind": "team_membership", "user_id": one, "team_id": str(uuid.uuid4())},
        domain | {"parent_domain_id": str(uuid.uuid4())},
    ]  # fmt: skip
    report = do_import(service, write(tmp_path / "b", *records), "--on-conflict", "skip")
    assert {code for _, code in codes(report)} == {
        "identity_taken", "provider_invalid", "secret_taken", "name_taken", "scope_refused", "key_hash_refused",
        "key_prefix_invalid", "user_unknown", "team_unknown", "parent_unknown",
    }  # fmt: skip
    assert report["conflicting"] == 12
    assert all(each["seen"] and each["exists"] and each["action"] for each in report["conflicts"])


async def test_a_team_with_members_keeps_its_name_and_id(service: Service, tmp_path: Path) -> None:
    """A seeded team that nobody uses takes the imported id; one with members is a conflict."""
    person, team, tag = await service.register(), uuid.uuid4(), secrets.token_hex(4)
    await service.sql(
        "INSERT INTO idp.teams (id, name, is_active, created_at, updated_at) VALUES ($1, $2, true, now(), now())",
        team,
        tag,
    )
    record = {"kind": "team", "id": str(uuid.uuid4()), "name": tag}
    await service.sql(
        "INSERT INTO idp.team_memberships (id, user_id, team_id, created_at, updated_at)"
        " VALUES ($1, $2, $3, now(), now())",
        uuid.uuid4(), person.id, team,
    )  # fmt: skip
    file = write(tmp_path / "f", record)
    report = do_import(service, file, "--on-conflict", "skip")
    assert codes(report) == [(2, "name_taken")]
    assert str(team) in report["conflicts"][0]["action"]
    await service.sql("DELETE FROM idp.team_memberships WHERE team_id = $1", team)
    assert numbers(do_import(service, file)) == (1, 0, 0, 0)


async def test_ids_of_two_sources_that_collide_stop_the_import(service: Service, tmp_path: Path) -> None:
    """Else the keys and roles of one person would become another's, whatever --on-conflict says."""
    number, tag = str(secrets.randbelow(10**9)), secrets.token_hex(4)
    do_import(service, write(tmp_path / "a", user(number, email=f"one-{tag}@example.com"), source=f"a-{tag}"))
    records = [
        user(number, email=f"two-{tag}@example.com", role="admin"),
        {"kind": "identity", "user_id": number, "provider": "https://two.example", "subject": tag},
    ]
    file = write(tmp_path / "b", *records, source=f"b-{tag}")
    report = do_import(service, file, "--on-conflict", "skip", code=1)
    assert codes(report) == [(2, "id_taken")]
    assert await service.sql("SELECT FROM idp.identities WHERE user_id = $1", number) == []
    assert codes(do_import(service, file, "--dry-run")) == [(2, "id_taken")]


async def test_administrators_are_named_and_missing_ones_too(service: Service, tmp_path: Path) -> None:
    tag = secrets.token_hex(4)
    email = f"boss-{tag}@example.com"
    file = write(tmp_path / "a", user(new_id(), email=email, email_verified=True), source=tag)
    do_import(service, file)
    report = do_import(service, file, "--admin-emails", f"{email},gone-{tag}@example.com")
    assert any(f"create-admin {email} --existing" in note for note in report["notes"])
    assert any(f"no user has the address gone-{tag}@example.com" in note for note in report["notes"])


async def test_administration_finds_a_user_by_a_former_id(service: Service) -> None:
    admin, person = await service.register_admin(), await service.register()
    former = new_id("former")
    await service.sql("INSERT INTO idp.user_aliases VALUES ($1, $2, 'tests', now())", former, person.id)
    for path in (f"/api/auth/admin/users/{former}", f"/api/auth/admin/users?search={former}"):
        answer = await service.client.get(path, headers=admin.bearer)
        found = answer.json()
        assert (found.get("users") or [found])[0]["user_id"] == person.id, answer.text
