"""An unverifiable stored hash counts as a wrong password, and the audit log has the reason (C-04, SEC-9)."""

import json
import time

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from factories import PASSWORD, Service
from idp.users.password_worker import Cost, check_password, hash_password, unverifiable_reason

COST = Cost(1, 64, 1)
SALT, TAG = "c29tZXNhbHQxMjM0NTY", "uHpQmJPFHTmVUMYg9ac1y0S1PK1WvKJhWdhuxFNTBNM"
UNVERIFIABLE = {
    "": "empty",
    " ": "scheme",
    "$2b$04$short": "malformed",
    "$2b$": "malformed",
    "$2b$31$" + "a" * 53: "cost 31",
    "$2b$99$" + "a" * 53: "cost 99",
    "$2b$00$" + "a" * 53: "cost 0",
    "$2x$04$" + "a" * 53: "scheme",
    "$2b$04$" + "\u00e9" * 53: "malformed",
    f"$argon2id$v=19$m=4294967295,t=2,p=1${SALT}${TAG}": "m=4294967295",
    f"$argon2id$v=19$m=19456,t=4294967295,p=1${SALT}${TAG}": "t=4294967295",
    f"$argon2id$v=19$m=1048576,t=64,p=1${SALT}${TAG}": "exceeds the limits",
    f"$argon2id$v=19$m=64,t=1,p=16777215${SALT}${TAG}": "p=16777215",
    f"$argon2id$v=19$m=0,t=0,p=0${SALT}${TAG}": "m=0",
    "$argon2id$v=19$m=19456,t=2,p=1$$": "cannot be read",
    "$argon2id$": "malformed",
    "$argon2id$v=19$m=a,t=b,p=c$x$y": "malformed",
    "{SSHA}abcdefgh": "scheme",
    "plaintext password": "scheme",
    "pbkdf2_sha256$260000$salt$hash": "scheme",
}


@pytest.mark.parametrize(("stored", "why"), UNVERIFIABLE.items())
async def test_it_is_a_wrong_password_and_the_audit_says_why(service: Service, stored: str, why: str) -> None:
    """The same answer as for any wrong password, soon, at sign-in and where the password is asked for once more."""
    person = await service.register()
    await service.sql("UPDATE idp.users SET password_hash = $1 WHERE id = $2", stored, person.id)
    began = time.perf_counter()
    for path in ("/auth/login", "/api/auth/login"):
        answer = await service.client.post(path, json={"email": person.email, "password": PASSWORD})
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_credentials"), answer.text
    body = {"current_password": PASSWORD, "new_password": "another good one"}
    answer = await service.client.post("/api/auth/password/change", json=body, headers=person.bearer)
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_credentials"), answer.text
    assert time.perf_counter() - began < 5
    rows = await service.sql(
        "SELECT details::text AS details FROM idp.audit_logs WHERE user_id = $1"
        " AND action IN ('user.sign_in_failed', 'user.password_check_failed')",
        person.id,
    )
    reasons = [json.loads(row["details"]).get("stored_password") for row in rows]
    assert len(reasons) == 3
    assert all(why in reason for reason in reasons)


async def test_a_wrong_password_has_no_such_reason(service: Service) -> None:
    """The reason is of the hash, not of the password."""
    person = await service.register()
    await service.client.post("/auth/login", json={"email": person.email, "password": "wrong password"})
    (row,) = await service.sql(
        "SELECT details::text AS details FROM idp.audit_logs WHERE user_id = $1 AND action = 'user.sign_in_failed'",
        person.id,
    )
    assert json.loads(row["details"]) == {"method": "password"}


@given(st.text(max_size=120) | st.from_regex(r"\$(2[abxy]|argon2(id|i|d))\$[ -~]{0,80}"), st.text(max_size=80))
def test_no_stored_text_raises_or_hangs(stored: str, password: str) -> None:
    """Whatever the column holds, and whatever is typed."""
    began = time.perf_counter()
    assert check_password(stored, password, COST).matches is False
    assert time.perf_counter() - began < 4


def test_hashes_of_the_old_services_are_verified() -> None:
    """C-04: bcrypt in its three spellings, and Argon2 in its three kinds, below the bounds."""
    hashed = bcrypt.hashpw(b"secret one", bcrypt.gensalt(4)).decode()
    for spelling in ("$2a$", "$2b$", "$2y$"):
        assert check_password(spelling + hashed[4:], "secret one", COST).matches
    assert not check_password(hashed, "secret\x00one", COST).matches
    for kind in ("argon2id", "argon2i", "argon2d"):
        assert unverifiable_reason(f"${kind}$v=19$m=65536,t=3,p=4${SALT}${TAG}", COST) is None


def test_a_right_password_takes_no_longer_to_check_than_a_wrong_one() -> None:
    """SEC-9: of a locked or disabled account with a weak hash, the time would tell that the guess was right."""
    weak = hash_password("secret one", COST)
    strong = Cost(4, 65_536, 1)  # tenths of a second
    began = time.perf_counter()
    hash_password("secret one", strong)
    one_hash = time.perf_counter() - began
    for password in ("secret one", "secret two"):
        took = []
        for _ in range(5):
            began = time.perf_counter()
            check = check_password(weak, password, strong)
            took.append(time.perf_counter() - began)
        assert check.is_weak is check.matches is (password == "secret one")
        assert min(took) < one_hash / 2


async def test_a_weak_hash_is_upgraded_only_after_a_successful_sign_in(service: Service) -> None:
    """SEC-9 C-04: a disabled account keeps its old hash, and its owner's next sign-in replaces it."""
    person = await service.register()
    weak = hash_password(PASSWORD, COST)
    await service.sql("UPDATE idp.users SET password_hash = $1, is_active = false WHERE id = $2", weak, person.id)
    body = {"email": person.email, "password": PASSWORD}
    for active, status in ((False, 401), (True, 200)):
        await service.sql("UPDATE idp.users SET is_active = $1 WHERE id = $2", active, person.id)
        assert (await service.client.post("/auth/login", json=body)).status_code == status
        (row,) = await service.sql("SELECT password_hash FROM idp.users WHERE id = $1", person.id)
        assert (row["password_hash"] == weak) is not active
    assert (await service.client.post("/auth/login", json=body)).status_code == 200
