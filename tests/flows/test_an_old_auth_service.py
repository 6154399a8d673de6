"""A deployment configured like the old auth-service, used by its client (S4)."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import bcrypt
import jwt as pyjwt
import pytest

from factories import PASSWORD, Service, root_secret, running
from flows.mail_support import VERIFY, mails_about, token_in
from idp.dev.embedded import EmbeddedPostgres, EmbeddedValkey

JWT_SECRET = root_secret()


@pytest.fixture(scope="module")
async def old(postgres: EmbeddedPostgres, valkey: EmbeddedValkey) -> AsyncIterator[Service]:
    """S4-25 S4-26 S4-27 S4-28 S4-30: its variables, by its names."""
    address, port = valkey.url.removeprefix("redis://").split("/")[0].rsplit(":", 1)
    environ = {
        "JWT_SECRET_KEY": JWT_SECRET,
        "JWT_ALGORITHM": "HS256",
        "JWT_ACCESS_TOKEN_EXPIRE_MINUTES": "20",
        "JWT_REFRESH_TOKEN_EXPIRE_DAYS": "3",
        "REDIS_HOST": address,
        "REDIS_PORT": port,
        "MAX_LOGIN_ATTEMPTS": "4",
        "RATE_LIMIT_WINDOW": "3600",
        "SESSION_TTL": "864000",
        "ALLOWED_ORIGINS": "https://app.example.com",
        "DB_POOL_SIZE": "5",
        "DB_MAX_OVERFLOW": "5",
        "LOG_LEVEL": "INFO",
        "FRONTEND_URL": "https://app.example.com",
    }
    async with running(postgres.create_database("old_auth_service"), environ=environ) as service:
        yield service


async def come_in(old: Service, email: str) -> dict[str, str]:
    """Register and verify, as its client does; return what verifying answers."""
    body = {"email": email, "password": PASSWORD, "device_info": {"app": "web"}}
    registered = await old.client.post("/api/auth/email/register", json=body)
    assert registered.json() == {
        "message": "Registration successful. Please check your email for verification.",
        "email": email,
    }
    token = token_in((await mails_about(old, email, VERIFY))[0])
    verified = await old.client.post("/api/auth/email/verify", json={"token": token})
    assert verified.status_code == 200, verified.text
    return verified.json()


async def test_an_old_client_registers_verifies_logs_in_and_refreshes(old: Service) -> None:
    """S4-01 S4-02 S4-03 S4-09 S4-10 S4-13 S4-16 S4-19: each answer has the members that it reads."""
    email = old.new_email()
    verified = await come_in(old, email)
    assert verified["message"] == "Email verified successfully"
    login = await old.client.post(
        "/api/auth/login", json={"email": email, "password": PASSWORD, "remember_me": False, "device_info": "web"}
    )
    said = login.json()
    assert login.status_code == 200
    assert said["message"] == "Login successful"
    assert {"access_token", "refresh_token", "user_id", "session_id"} <= said.keys()
    bearer = {"Authorization": f"Bearer {said['access_token']}"}
    me = (await old.client.get("/api/auth/me", headers=bearer)).json()
    assert {"user_id", "email", "is_active", "login_type", "created_at", "message"} <= me.keys()
    assert (me["user_id"], me["email"], me["is_active"], me["login_type"]) == (said["user_id"], email, True, "email")
    assert me["message"] == "Authentication successful!"
    assert datetime.fromisoformat(me["created_at"]).tzinfo is not None
    refreshed = await old.client.post("/api/auth/refresh", json={"refresh_token": said["refresh_token"]})
    assert refreshed.json()["session_id"] == said["session_id"]
    logout = await old.client.post("/api/auth/logout", headers=bearer, params={"session_id": said["session_id"]})
    assert logout.json() == {"message": "Logged out successfully"}


async def test_its_siblings_decode_the_token_by_themselves(old: Service) -> None:
    """S4-08 S4-26 S4-27 S4-37: HS256 with JWT_SECRET_KEY, `sub` the id, `type` "access", `roles`; 20 minutes."""
    said = await come_in(old, old.new_email())
    claims = pyjwt.decode(said["access_token"], JWT_SECRET, algorithms=["HS256"])
    assert (claims["sub"], claims["type"], claims["roles"]) == (said["user_id"], "access", ["user"])
    assert claims["exp"] - claims["iat"] == said["expires_in"] == 20 * 60


async def test_its_numbers_hold(old: Service) -> None:
    """S4-28 S4-30: days of a refresh token, the life of a session, attempts and their window."""
    email = old.new_email()
    said = await come_in(old, email)
    (session,) = await old.sql(
        "SELECT idle_seconds, extract(epoch FROM expires_at - created_at)::int AS seconds FROM idp.user_sessions "
        "WHERE id = $1::text::uuid",
        said["session_id"],
    )
    assert (session["idle_seconds"], session["seconds"]) == (3 * 86_400, 864_000)
    answers = [
        await old.client.post("/api/auth/login", json={"email": email, "password": "wrong password"}) for _ in range(5)
    ]
    assert [answer.status_code for answer in answers] == [401] * 4 + [429]
    assert '"login_pair";q=4;w=3600' in answers[-1].headers["ratelimit-policy"]
    assert answers[0].json()["detail"] == "Invalid credentials"


async def test_its_people_keep_their_passwords(old: Service) -> None:
    """S4-02 S4-08 S4-31 S4-33 C-04: an imported bcrypt hash lets its owner in and is argon2id from then on."""
    email = old.new_email()
    said = await come_in(old, email)
    imported = bcrypt.hashpw(b"an imported password", bcrypt.gensalt(4)).decode()
    await old.sql("UPDATE idp.users SET password_hash = $1 WHERE id = $2", imported, said["user_id"])
    for wrong in (PASSWORD, "an imported passworD"):
        answer = await old.client.post("/api/auth/login", json={"email": email, "password": wrong})
        assert answer.status_code == 401
    body = {"email": email, "password": "an imported password"}
    assert (await old.client.post("/api/auth/login", json=body)).status_code == 200
    (row,) = await old.sql("SELECT password_hash FROM idp.users WHERE id = $1", said["user_id"])
    assert row["password_hash"].startswith("$argon2id$")
    roles = await old.sql("SELECT role FROM idp.user_roles WHERE user_id = $1", said["user_id"])
    assert [each["role"] for each in roles] == ["user"]
    assert (await old.client.post("/api/auth/login", json=body)).status_code == 200


async def test_its_table_names_are_there(old: Service) -> None:
    """S4-31 S4-32 C-25: users, sessions, and tokens for verification and reset, digests only."""
    rows = await old.sql("SELECT table_name FROM information_schema.tables WHERE table_schema = 'idp'")
    names = {row["table_name"] for row in rows}
    assert {"users", "user_sessions", "password_reset_tokens", "email_verification_tokens", "refresh_tokens"} <= names
    await come_in(old, old.new_email())
    digests = await old.sql("SELECT digest FROM idp.email_verification_tokens")
    assert all(len(row["digest"]) == 64 for row in digests)


async def test_what_it_published_is_in_the_outbox(old: Service) -> None:
    """S4-48: `auth.password_reset` is our `idp.user.password_reset` now, and holds no token."""
    email = old.new_email()
    said = await come_in(old, email)
    await old.client.post("/api/auth/password/reset/request", json={"email": email})
    token = token_in((await mails_about(old, email, "Choose a new password"))[0])
    body = {"token": token, "new_password": "another good password"}
    assert (await old.client.post("/api/auth/password/reset/confirm", json=body)).status_code == 200
    rows = await old.sql(
        "SELECT type, data::text AS data, created_at FROM idp.outbox WHERE subject = $1", said["user_id"]
    )
    assert {"idp.user.email_verified", "idp.user.password_reset", "idp.session.revoked"} <= {r["type"] for r in rows}
    assert all(token not in row["data"] for row in rows)
    assert all(row["created_at"] <= datetime.now(UTC) for row in rows)


async def test_complexity_rules_can_be_turned_on(postgres: EmbeddedPostgres) -> None:
    """S4-47 C-07: off by default, since S3's `password123` must register; one setting turns S4's on."""
    environ = {"IDP_PASSWORDS__REQUIRE_COMPLEXITY": "true"}
    async with running(postgres.create_database("s4_complexity"), environ=environ) as service:
        for password, status in (
            ("alllowercase1!", 422),
            ("NoDigitsHere!", 422),
            ("NoSymbol123", 422),
            ("G00d-one!", 200),
        ):
            body = {"email": service.new_email(), "password": password}
            assert (await service.client.post("/api/auth/email/register", json=body)).status_code == status
