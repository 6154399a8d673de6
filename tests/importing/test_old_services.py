"""Databases of the old services are exported and imported, and then their clients' requests work."""

import hashlib
import json
import secrets
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import bcrypt
import jwt as pyjwt
import pytest

from factories import PASSWORD, Service, root_secret, running
from idp.dev.embedded import EmbeddedPostgres
from importing.import_support import codes, do_import, export, in_days, numbers, old_database

S3_SECRET, S4_SECRET = root_secret(), root_secret()
ENVIRON = {
    "AUTH_JWT_SECRET_KEY": root_secret(),
    "JWT_SECRET_KEY": root_secret(),
    "AUTH_JWT_PREVIOUS_SECRET_KEYS": f"{S3_SECRET},{S4_SECRET}",
    "IDP_TOKENS__ACCEPT_LEGACY": "true",
}


@pytest.fixture(scope="module")
async def moved(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    """Production with new secrets, the old ones as previous ones, and tokens of the old services accepted."""
    url = postgres.create_database("moved_in")
    async with running(url, profile="production", environ=ENVIRON) as service:
        yield service


def hashed(password: str, prefix: bytes = b"2b") -> str:
    return bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(4)).decode().replace("$2b$", f"${prefix.decode()}$")


async def stored_hash(service: Service, user_id: str) -> str:
    ((found,),) = await service.sql("SELECT password_hash FROM idp.users WHERE id = $1", user_id)
    return str(found)


async def test_amplify_tokens_work_after_the_move(moved: Service, postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """S2-17 S2-18 S2-28 S2-29: raw tokens of 43 and 46 characters validate, with their ids, names and scopes."""
    url, old = await old_database(postgres, "amplify")
    raw = {name: f"amp_live_{secrets.token_urlsafe(size)}" for name, size in (("a", 32), ("b", 34), ("gone", 32))}
    ids = {}
    for name, token in raw.items():
        ids[name] = uuid.uuid4()
        digest = hashlib.sha256(token.encode()).hexdigest()
        await old.execute(
            "INSERT INTO tokens VALUES ($1, $2, $3, '2026-01-02 03:04:05', $4, $5, NULL, $6)",
            ids[name], digest, f"token {name}", in_days(30).replace(tzinfo=None), name == "gone", '{"team": "x"}',
        )  # fmt: skip
        await old.execute("INSERT INTO token_scopes VALUES ($1, 'write'), ($1, 'read')", ids[name])
    await old.close()
    file = export("amplify", url, tmp_path / "amplify.ndjson")
    assert json.loads(file.read_text().splitlines()[0])["source"] == "amplify"
    assert numbers(do_import(moved, file)) == (3, 0, 0, 0)
    for name in ("a", "b"):
        body = {"token": raw[name], "required_scopes": ["read"], "service_name": None, "action_name": None}
        verdict = (await moved.client.post("/auth/validate", json=body)).json()
        assert (verdict["valid"], verdict["token_id"], verdict["name"]) == (True, str(ids[name]), f"token {name}")
        assert sorted(verdict["scopes"]) == ["read", "write"]
    assert (await moved.validate(raw["gone"]))["error"] == "token_revoked"
    assert (await moved.validate(raw["a"], required_scopes=["admin"]))["error"] == "insufficient_scopes"
    ((created,),) = await moved.sql("SELECT created_at FROM idp.api_keys WHERE id = $1", ids["a"])
    assert created.isoformat() == "2026-01-02T03:04:05+00:00"
    await moved.app.core.usage.flush()
    ((scheme,),) = await moved.sql("SELECT scheme FROM idp.api_keys WHERE id = $1", ids["a"])
    assert scheme == "hmac", "replaced by the keyed digest at its first use"
    assert (await moved.validate(raw["a"]))["valid"]
    assert numbers(do_import(moved, file)) == (0, 0, 3, 0)


async def test_promptstack_people_and_their_teams_move(
    moved: Service, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    """S3-09 to S3-13, S3-24 S3-28 S3-30: passwords, ids, teams and nested domains; the old token with only `sub`."""
    url, old = await old_database(postgres, "promptstack")
    ada, oidc, team, own, parent, child = (uuid.uuid4() for _ in range(6))
    email = moved.new_email("ada")
    await old.execute(
        "INSERT INTO users (id, email, name, password_hash) VALUES ($1, $2, 'Ada Löve', $3), ($4, $5, NULL, NULL)",
        ada, email, hashed(PASSWORD), oidc, moved.new_email("oidc"),
    )  # fmt: skip
    # The seed of `idp migrate` has a team General and a domain engineering, too.
    await old.execute("INSERT INTO teams VALUES ($1, 'General', 'ref'), ($2, 'Own team', NULL)", team, own)
    await old.execute("INSERT INTO domains (id, key, name) VALUES ($1, 'engineering', 'Engineering')", parent)
    await old.execute("INSERT INTO domains VALUES ($1, 'web-old', 'Web', $2)", child, parent)
    for team_id, role in ((team, None), (own, "admin")):
        await old.execute("INSERT INTO team_memberships VALUES ($1, $2, $3, $4)", uuid.uuid4(), ada, team_id, role)
    await old.execute("INSERT INTO user_domains VALUES ($1, $2, $3)", uuid.uuid4(), ada, child)
    await old.close()
    file = export("promptstack", url, tmp_path / "promptstack.ndjson")
    report = do_import(moved, file)
    assert numbers(report) == (9, 0, 0, 0), report
    wrong = await moved.client.post("/auth/login", json={"email": email, "password": "wrong password"})
    assert wrong.status_code == 401
    login = await moved.client.post("/auth/login", json={"email": email.upper(), "password": PASSWORD})
    said = login.json()
    assert login.status_code == 200, login.text
    assert (said["token_type"], said["user"]["id"], said["user"]["name"]) == ("bearer", str(ada), "Ada Löve")
    assert {(each["id"], each["name"]) for each in said["user"]["teams"]} == {
        (str(team), "General"),
        (str(own), "Own team"),
    }
    (domain,) = said["user"]["domains"]
    assert (domain["id"], domain["key"], domain["parent_domain_id"]) == (str(child), "web-old", str(parent))
    assert (await stored_hash(moved, str(ada))).startswith("$argon2id$")
    assert (await moved.client.post("/auth/login", json={"email": email, "password": PASSWORD})).status_code == 200

    old_token = pyjwt.encode({"sub": email, "exp": int(time.time()) + 1700}, S3_SECRET, algorithm="HS256")
    verdict = await moved.validate(old_token)
    assert (verdict["valid"], verdict["user"]["id"]) == (True, str(ada))
    me = await moved.client.get("/auth/me", headers={"Authorization": f"Bearer {old_token}"})
    assert me.json()["id"] == str(ada)
    forged = pyjwt.encode({"sub": email, "exp": int(time.time()) + 1700}, root_secret(), algorithm="HS256")
    assert not (await moved.validate(forged))["valid"]
    assert numbers(do_import(moved, file)) == (0, 0, 9, 0)
    assert (await stored_hash(moved, str(ada))).startswith("$argon2id$"), "an upgraded hash stays"


async def test_fastapi_auth_people_keep_passwords_tokens_and_links(
    moved: Service, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    """S4-04 S4-05 S4-10 S4-12 S4-13 S4-31 C-04: 72-byte passwords, `$2a$` and `$2y$`, mailed links, access tokens."""
    url, old = await old_database(postgres, "fastapi_auth")
    long = "a long passphrase " * 5
    people = {
        "verified": (hashed(long, b"2a"), True, None),
        "pending": (hashed(PASSWORD, b"2y"), False, None),
        "disabled": (hashed(PASSWORD), False, None),
        "blocked": (hashed(PASSWORD), True, in_days(9)),
    }
    ids, emails = {name: uuid.uuid4() for name in people}, {name: moved.new_email(name) for name in people}
    for name, (password_hash, is_active, blocked_until) in people.items():
        await old.execute(
            "INSERT INTO users (id, email, password_hash, is_active, blocked_until, phone)"
            " VALUES ($1, $2, $3, $4, $5, '+49')",
            ids[name], emails[name], password_hash, is_active, blocked_until,
        )  # fmt: skip
    verify, reset, expired = (secrets.token_hex(32) for _ in range(3))
    insert = "INSERT INTO {} (user_id, token, expires_at) VALUES ($1, $2, $3)"
    await old.execute(insert.format("email_verifications"), ids["pending"], verify, in_days(0.5))
    await old.execute(insert.format("email_verifications"), ids["disabled"], expired, in_days(-1))
    await old.execute(insert.format("password_resets"), ids["verified"], reset, in_days(0.01))
    await old.close()
    file = export("fastapi-auth", url, tmp_path / "fastapi.ndjson")
    assert verify not in file.read_text(), "only digests leave the database"
    report = do_import(moved, file, "--admin-emails", f"{emails['verified'].upper()},{emails['pending']}")
    assert numbers(report) == (6, 0, 0, 0)
    assert report["administrators"] == [emails["verified"]]
    assert any("not verified" in note and emails["pending"] in note for note in report["notes"])

    async def login(name: str, password: str) -> int:
        body = {"email": emails[name], "password": password}
        return (await moved.client.post("/api/auth/login", json=body)).status_code

    assert await login("verified", long[:72] + "something else") == 200, "the old service used 72 bytes"
    assert (await stored_hash(moved, str(ids["verified"]))).startswith("$argon2id$")
    assert await login("pending", PASSWORD) == 401
    assert await login("disabled", PASSWORD) in {401, 403}
    assert await login("blocked", PASSWORD) in {401, 403}

    claims = {"sub": str(ids["verified"]), "type": "access", "exp": int(time.time()) + 3000}
    me = await moved.client.get(
        "/api/auth/me", headers={"Authorization": f"Bearer {pyjwt.encode(claims, S4_SECRET, algorithm='HS256')}"}
    )
    assert (me.status_code, me.json()["user_id"]) == (200, str(ids["verified"]))

    verified = await moved.client.post("/api/auth/email/verify", json={"token": verify})
    assert (verified.status_code, verified.json()["message"]) == (200, "Email verified successfully"), verified.text
    assert await login("pending", PASSWORD) == 200, "the password that was chosen when registering"
    assert (await moved.client.post("/api/auth/email/verify", json={"token": verify})).status_code == 400
    body = {"token": reset, "new_password": "another good password"}
    done = await moved.client.post("/api/auth/password/reset/confirm", json=body)
    assert done.json() == {"message": "Password reset successfully"}
    assert await login("verified", "another good password") == 200
    do_import(moved, file)
    assert await login("verified", "another good password") == 200, "importing again brings no old password back"


async def test_anomalyze_people_plans_and_keys_move(moved: Service, postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """S0-05 S0-32 to S0-41, S1-02 C-03: Clerk's ids, roles, plans, bcrypt keys with one prefix, audit records."""
    url, old = await old_database(postgres, "anomalyze")
    clerk_id, other = f"user_{secrets.token_hex(8)}", f"user_{secrets.token_hex(8)}"
    email = moved.new_email("clerk")
    await old.execute(
        'INSERT INTO users (id, email, name, role, "updatedAt") VALUES ($1, $2, $3, \'ADMIN\', now()),'
        " ($4, $5, NULL, 'USER', now())",
        clerk_id, email, "Cleo", other, moved.new_email("other"),
    )  # fmt: skip
    await old.execute(
        "INSERT INTO subscriptions VALUES ('1', $1, 'PRO', 'ACTIVE'), ('2', $2, 'PRO', 'CANCELED')", clerk_id, other
    )
    key, key_id = f"sk_live_{secrets.token_hex(20)}", uuid.uuid4()
    await old.execute(
        'INSERT INTO api_keys (id, "userId", name, "keyPrefix", "keyHash", scopes) VALUES ($1, $2, $3, $4, $5, $6)',
        str(key_id), clerk_id, "laptop", key[:7], hashed(key), ["ingest:write"],
    )  # fmt: skip
    await old.execute("INSERT INTO audit_logs (id, \"userId\", action) VALUES ('c123', $1, 'LOGIN')", clerk_id)
    await old.close()
    file = export("anomalyze", url, tmp_path / "anomalyze.ndjson")
    report = do_import(moved, file)
    assert numbers(report) == (6, 0, 0, 0)
    assert report["administrators"] == [email]
    rows = await moved.sql("SELECT id, plan, email_verified FROM idp.users WHERE id = ANY($1)", [clerk_id, other])
    assert {row["id"]: (row["plan"], row["email_verified"]) for row in rows} == {
        clerk_id: ("PRO", False),
        other: ("FREE", False),
    }
    identities = await moved.sql("SELECT subject FROM idp.identities WHERE user_id = $1", clerk_id)
    assert [each["subject"] for each in identities] == [clerk_id]
    (middleware,) = moved.app.middleware
    middleware.introspector._resolver._imported._checked_at = float("-inf")  # type: ignore[union-attr]
    answer = (await moved.client.post("/internal/validate-key", json={"key": key})).json()
    assert answer["valid"], answer
    await moved.app.core.usage.flush()
    ((scheme,),) = await moved.sql("SELECT scheme FROM idp.api_keys WHERE id = $1", key_id)
    assert scheme == "hmac"
    ((action, details),) = await moved.sql(
        "SELECT action, details->>'imported_from' AS source FROM idp.audit_logs"
        " WHERE user_id = $1 AND action = 'LOGIN'",
        clerk_id,
    )
    assert (action, details) == ("LOGIN", "anomalyze")
    assert codes(do_import(moved, file)) == []


async def test_an_old_token_with_a_former_id_names_the_linked_user(moved: Service) -> None:
    """After two accounts were linked, `sub` may be either id."""
    email = moved.new_email("linked")
    insert = (
        "INSERT INTO idp.users (id, email, email_key, email_verified, login_type, password_version, plan, is_active,"
        " version, created_at, updated_at) VALUES ($1, $2, $2, true, 'email', 1, 'FREE', true, 1, now(), now())"
    )
    present, former = str(uuid.uuid4()), str(uuid.uuid4())
    await moved.sql(insert, present, email)
    await moved.sql("INSERT INTO idp.user_aliases VALUES ($1, $2, 'tests', now())", former, present)
    claims = {"sub": former, "type": "access", "exp": int(time.time()) + 3000}
    bearer = {"Authorization": f"Bearer {pyjwt.encode(claims, S4_SECRET, algorithm='HS256')}"}
    me = await moved.client.get("/api/auth/me", headers=bearer)
    assert (me.status_code, me.json()["user_id"]) == (200, present)
    await moved.sql("UPDATE idp.users SET is_active = false WHERE id = $1", present)
    assert (await moved.client.get("/api/auth/me", headers=bearer)).status_code == 401, "a cached verdict ends, too"
    await moved.sql("UPDATE idp.users SET is_active = true WHERE id = $1", present)
    await moved.sql("DELETE FROM idp.user_aliases WHERE alias = $1", former)
    assert (await moved.client.get("/api/auth/me", headers=bearer)).status_code == 401
