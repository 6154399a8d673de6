"""What a shared-secret token may read, for users and for administrators (C-06b)."""

import secrets
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
import time_machine

from factories import Person, Service, running
from idp.dev.embedded import EmbeddedPostgres
from signing.forgery import compact, hs

SECRET = secrets.token_urlsafe(40)
USERS, AUDIT = "/api/auth/admin/users", "/api/auth/admin/audit"


@pytest.fixture(scope="module")
async def shared(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    environ = {"JWT_SECRET_KEY": SECRET, "AUTH_JWT_SECRET_KEY": SECRET}
    async with running(postgres.create_database("shared_reading"), environ=environ) as service:
        yield service


def forged(person: Person, **changes: Any) -> dict[str, str]:
    """Return a token as any holder of the secret can make one, of a session that they have seen."""
    now = int(time.time())
    claims = {"sub": person.id, "uid": person.id, "iat": now, "exp": now + 600, "jti": "j", "sid": person.session_id}
    token = compact({"alg": "HS256", "typ": "JWT"}, claims | changes, hs(SECRET.encode(), "HS256"))
    return {"Authorization": f"Bearer {token}"}


def code(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_a_forged_token_sees_its_own_session_alone(shared: Service) -> None:
    """C-06b SEC-59: with the ids of others it could go on after its own has ended."""
    person = await shared.register()
    for _ in range(3):
        await shared.sign_in(person)
    listed = await shared.client.get("/api/auth/sessions", headers=forged(person))
    assert [each["session_id"] for each in listed.json()["sessions"]] == [person.session_id]
    assert listed.json()["sessions"][0]["current"] is True
    assert code(await shared.client.get("/v1/me/export", headers=forged(person))) == (403, "shared_secret_token")


@pytest.mark.parametrize("path", [USERS, f"{USERS}/{{id}}", f"{USERS}/{{id}}/api-keys", AUDIT])
async def test_an_administrator_reads_with_the_old_services_token(shared: Service, path: str) -> None:
    """S4-23 C-06b: right after a login with the password, as the database says who is an administrator."""
    admin, person = await shared.register_admin(), await shared.register()
    where = path.format(id=admin.id)
    answer = await shared.client.get(where, headers=admin.bearer)
    assert answer.status_code == 200, answer.text
    claimed = forged(person, roles=["admin"], role="admin")
    assert code(await shared.client.get(where, headers=claimed)) == (403, "admin_required")
    await shared.sql("DELETE FROM idp.user_roles WHERE user_id = $1 AND role = 'admin'", admin.id)
    assert code(await shared.client.get(where, headers=forged(admin, roles=["admin"]))) == (403, "admin_required")


async def test_it_reads_only_right_after_a_login_with_the_password(shared: Service) -> None:
    """RFC 9470: later the answer says so; and not at all in a session that a mailed link began, or in none."""
    admin = await shared.register_admin()
    stale = datetime.now(UTC) + timedelta(seconds=shared.loaded.settings.accounts.fresh_login_seconds + 60)
    with time_machine.travel(stale, tick=True):
        answer = await shared.client.get(USERS, headers=forged(admin))
        assert code(answer) == (401, "fresh_login_required")
        assert "insufficient_user_authentication" in answer.headers["www-authenticate"]
    await shared.sql("UPDATE idp.user_sessions SET amr = '{email}' WHERE id = $1::text::uuid", admin.session_id)
    assert code(await shared.client.get(USERS, headers=forged(admin))) == (403, "shared_secret_token")


async def test_it_changes_nothing_and_learns_no_session(shared: Service) -> None:
    """C-06b: whoever holds the secret could make a token for every session that they are told of."""
    admin, person = await shared.register_admin(), await shared.register()
    later = await shared.sign_in(person)
    await shared.client.post("/auth/logout", headers=later.bearer)
    for method, path, body in (
        ("PATCH", f"{USERS}/{person.id}", {"plan": "PRO"}),
        ("DELETE", f"{USERS}/{person.id}", None),
        ("POST", USERS, {"email": shared.new_email()}),
        ("POST", "/auth/tokens", {"name": "t", "scopes": ["idp:manage"]}),
        ("POST", "/teams", {"name": "t"}),
        ("GET", f"{USERS}/{person.id}/sessions", None),
        ("GET", "/auth/tokens", None),
    ):
        answer = await shared.client.request(method, path, json=body, headers=admin.bearer)
        assert code(answer) == (403, "shared_secret_token"), path
    records = await shared.client.get(AUDIT, params={"user_id": person.id}, headers=admin.bearer)
    assert {"user.signed_in", "session.ended"} <= {each["action"] for each in records.json()}
    for session_id in (person.session_id, later.session_id, admin.session_id):
        assert session_id not in records.text
