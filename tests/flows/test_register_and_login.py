"""Registration and sign-in, with the requests of S3."""

import asyncio

import jwt as pyjwt
import pytest

from factories import PASSWORD, Service, root_secret, running
from idp.dev.embedded import EmbeddedPostgres

SESSION = {
    "access_token", "refresh_token", "token_type", "expires_in", "user_id", "session_id", "message", "user"
}  # fmt: skip


async def test_register_answers_a_token_and_the_user_with_teams_and_domains(service: Service) -> None:
    """S3-02 S3-23 S3-24 S3-25 C-20: 200, signed in at once, in General and engineering."""
    email = service.new_email()
    answer = await service.client.post(
        "/auth/register", json={"email": email, "password": PASSWORD, "name": "Grace Hopper"}
    )
    body = answer.json()
    assert answer.status_code == 200
    assert body["token_type"] == "bearer"
    assert body["expires_in"] == 30 * 60  # S3-62
    assert body.keys() == SESSION
    user = body["user"]
    assert user["id"] == body["user_id"]
    assert (user["email"], user["name"], user["avatar_url"]) == (email, "Grace Hopper", None)
    assert user["email_verified"] is False
    assert user["created_at"].endswith("Z")
    assert [team["name"] for team in user["teams"]] == ["General"]
    assert [domain["key"] for domain in user["domains"]] == ["engineering"]
    me = await service.me({"Authorization": f"Bearer {body['access_token']}"})
    assert me.json()["id"] == user["id"]


async def test_the_documented_example_password_registers(service: Service) -> None:
    """S3-26 C-07."""
    answer = await service.client.post(
        "/auth/register", json={"email": service.new_email(), "password": "password123", "name": "Example"}
    )
    assert answer.status_code == 200


async def test_login_has_the_shape_of_register(service: Service) -> None:
    """S3-27."""
    person = await service.register()
    answer = await service.client.post("/auth/login", json={"email": person.email, "password": person.password})
    assert answer.status_code == 200
    assert answer.json().keys() == SESSION
    assert answer.json()["user"] == person.user


async def test_a_taken_address_is_refused_as_the_old_service_did(service: Service) -> None:
    """S3-23 C-30: 400 and the old text."""
    person = await service.register()
    again = {"email": person.email.upper(), "password": PASSWORD, "name": "Other"}
    answer = await service.client.post("/auth/register", json=again)
    assert (answer.status_code, answer.json()["code"]) == (400, "email_taken")
    assert answer.json()["detail"] == "Email already registered"


async def test_unknown_user_wrong_password_and_disabled_account_look_the_same(service: Service) -> None:
    """SEC-9 S3-27: same status, body and challenge."""
    known, disabled = await service.register(), await service.register()
    await service.sql("UPDATE idp.users SET is_active = false WHERE id = $1", disabled.id)
    tries = [
        (service.new_email("nobody"), PASSWORD),
        (known.email, "wrong password"),
        (disabled.email, PASSWORD),
        ("not an address", PASSWORD),
        ("", ""),
    ]
    seen = set()
    for email, password in tries:
        answer = await service.client.post("/auth/login", json={"email": email, "password": password})
        body = answer.json()
        del body["request_id"]
        seen.add((answer.status_code, answer.headers["www-authenticate"], str(body)))
    assert len(seen) == 1
    status, challenge, body_text = seen.pop()
    assert (status, challenge) == (401, "Bearer")
    assert "'detail': 'Incorrect email or password'" in body_text


async def test_one_address_in_any_spelling_is_one_person(service: Service) -> None:
    """C-13: case, Unicode composition and IDNA do not make another person."""
    stem = service.new_email("rené").partition("@")[0]
    first = await service.register(f"{stem}@bücher.example")
    for spelling in (f"{stem.upper()}@BÜCHER.example", f"{stem}@xn--bcher-kva.example", f"{stem}@bücher.example"):
        login = await service.client.post("/auth/login", json={"email": spelling, "password": PASSWORD})
        assert login.status_code == 200, spelling
        assert login.json()["user_id"] == first.id


async def test_of_many_registrations_of_one_address_exactly_one_wins(service: Service) -> None:
    """Bad input: concurrent registration of one e-mail."""
    email = service.new_email()
    bodies = [{"email": e, "password": PASSWORD, "name": "Twin"} for e in (email, email.upper()) * 8]
    answers = await asyncio.gather(*(service.client.post("/auth/register", json=body) for body in bodies))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 15
    rows = await service.sql("SELECT count(*) FROM idp.users WHERE email_key = $1", email)
    assert rows[0]["count"] == 1


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("short", "5 characters; choose 8 to 128"),
        ("x" * 129, "129 characters"),
        ("x" * 5000, "<= "),
        ("{email}", "e-mail address"),
    ],
)
async def test_a_password_that_cannot_be_used_is_refused_with_the_reason(
    service: Service, password: str, reason: str
) -> None:
    """S3-60 SEC-1 SEC-4 C-07."""
    email = service.new_email()
    body = {"email": email, "password": password.format(email=email), "name": "Pat"}
    answer = await service.client.post("/auth/register", json=body)
    assert answer.status_code == 422
    assert reason in answer.json()["detail"]
    assert not await service.sql("SELECT FROM idp.users WHERE email_key = $1", email)


async def test_every_character_of_a_long_password_counts(service: Service) -> None:
    """SEC-2 SEC-3: no truncation at 64 or 72, Unicode composition does not matter."""
    email, password = service.new_email(), "ä" * 100 + "0123456789"
    await service.client.post("/auth/register", json={"email": email, "password": password, "name": "Long"})
    for wrong in (password[:-1] + "x", password[:72], password[:64]):
        answer = await service.client.post("/auth/login", json={"email": email, "password": wrong})
        assert answer.status_code == 401
    decomposed = password.replace("ä", "a\N{COMBINING DIAERESIS}")
    answer = await service.client.post("/auth/login", json={"email": email, "password": decomposed})
    assert answer.status_code == 200


async def test_passwords_are_stored_as_argon2id_and_bcrypt_is_still_verified(service: Service) -> None:
    """S3-59 C-04 SEC-7: an imported bcrypt hash lets its owner in and is replaced at once."""
    import bcrypt

    person = await service.register()
    (row,) = await service.sql("SELECT password_hash FROM idp.users WHERE id = $1", person.id)
    assert row["password_hash"].startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    old = bcrypt.hashpw(b"imported password", bcrypt.gensalt(4)).decode()
    await service.sql("UPDATE idp.users SET password_hash = $2 WHERE id = $1", person.id, old)
    for password, status in (("not it", 401), ("imported password", 200), ("imported password", 200)):
        answer = await service.client.post("/auth/login", json={"email": person.email, "password": password})
        assert answer.status_code == status
    (row,) = await service.sql("SELECT password_hash FROM idp.users WHERE id = $1", person.id)
    assert row["password_hash"].startswith("$argon2id$")


async def test_complexity_rules_are_an_option(postgres: EmbeddedPostgres) -> None:
    """S3-61: off by default, on by a setting."""
    environ = {"IDP_PASSWORDS__REQUIRE_COMPLEXITY": "true"}
    async with running(postgres.create_database("complex"), environ=environ) as service:
        for password, status in (("password123", 422), ("Passw0rd!x", 200)):
            body = {"email": service.new_email(), "password": password, "name": "Pat"}
            assert (await service.client.post("/auth/register", json=body)).status_code == status


async def test_failed_logins_are_limited_and_successes_are_not_counted(service: Service) -> None:
    """S3-54 SEC-8: ten failures for a pair of account and address, then 429 with Retry-After."""
    person = await service.register()

    async def login(password: str) -> int:
        answer = await service.client.post("/auth/login", json={"email": person.email, "password": password})
        if answer.status_code == 429:
            assert answer.json()["code"] == "rate_limited"
            assert 0 < int(answer.headers["retry-after"]) <= 901
        return answer.status_code

    assert [await login(PASSWORD) for _ in range(3)] == [200] * 3
    assert [await login("wrong password") for _ in range(10)] == [401] * 10
    assert await login("wrong password") == 429
    assert await login(PASSWORD) == 429
    assert (await service.me(person.bearer)).status_code == 200


async def test_registrations_are_limited_by_address(postgres: EmbeddedPostgres) -> None:
    """S3-54: counted in the process where there is no Valkey."""
    environ = {"IDP_RATE_LIMITS__REGISTRATIONS_PER_ADDRESS_PER_HOUR": "2"}
    async with running(postgres.create_database("limited"), environ=environ) as service:
        await service.register()
        await service.register()
        body = {"email": service.new_email(), "password": PASSWORD, "name": "Third"}
        answer = await service.client.post("/auth/register", json=body)
        assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")


async def test_logins_do_not_stall_other_requests(service: Service) -> None:
    """Argon2id has a bounded worker of its own: while logins queue, health and "me" answer quickly."""
    person = await service.register()
    body = {"email": person.email, "password": PASSWORD}
    logins = [asyncio.create_task(service.client.post("/auth/login", json=body)) for _ in range(40)]
    answered = 0
    while not all(login.done() for login in logins):
        assert (await service.client.get("/healthz")).status_code == 200
        answered += 1
    codes = {(await login).status_code for login in logins}
    assert codes <= {200, 503}
    assert answered > 2 * len(logins)  # in the event loop, at most one came through between two hashes


async def test_a_full_password_queue_is_503_with_retry_after(postgres: EmbeddedPostgres) -> None:
    """A flood is refused, not queued without end."""
    environ = {"IDP_PASSWORDS__QUEUE_LIMIT": "2"}
    async with running(postgres.create_database("busy"), environ=environ) as service:
        person = await service.register()
        body = {"email": person.email, "password": PASSWORD}
        answers = await asyncio.gather(*(service.client.post("/auth/login", json=body) for _ in range(12)))
        refused = [answer for answer in answers if answer.status_code == 503]
        assert {answer.status_code for answer in answers} == {200, 503}
        assert all((a.json()["code"], a.headers["retry-after"]) == ("busy", "1") for a in refused)


async def test_the_old_variables_choose_secret_algorithm_and_life(postgres: EmbeddedPostgres) -> None:
    """S3-18 S3-06: AUTH_JWT_SECRET_KEY, AUTH_JWT_ALGORITHM and AUTH_JWT_ACCESS_TOKEN_EXPIRE_MINUTES."""
    secret = root_secret()
    environ = {
        "AUTH_JWT_SECRET_KEY": secret,
        "AUTH_JWT_ALGORITHM": "HS256",
        "AUTH_JWT_ACCESS_TOKEN_EXPIRE_MINUTES": "5",
    }
    async with running(postgres.create_database("variables"), environ=environ) as service:
        person = await service.register()
        claims = pyjwt.decode(person.token, secret, algorithms=["HS256"])
        assert claims["sub"] == person.email
        assert claims["exp"] - claims["iat"] == 5 * 60
        assert (await service.me(person.bearer)).json()["id"] == person.id
