"""Whose address it is: accounts with a password and users of Clerk (C-11, C-13, SEC-15, SEC-16)."""

import asyncio
import itertools

from clerk.clerk_support import World
from factories import Service
from flows.mail_support import ask_for_reset, log_in, reset
from idp.dev.clerk_delivery import Outgoing

NEW = "a brand new password"


async def verified(clerk: World, user_id: str) -> None:
    await clerk.service.sql("UPDATE idp.users SET email_verified = true WHERE id = $1", user_id)


def unverified(email: str) -> dict[str, object]:
    address = {"id": "idn_1", "email_address": email, "verification": {"status": "unverified"}}
    return {"email_addresses": [address], "primary_email_address_id": "idn_1"}


async def test_a_verified_address_claims_an_account_that_never_proved_it(clerk: World) -> None:
    """C-11: a stranger who registered it first loses password, session and keys; the account is Clerk's user's."""
    squatter = await clerk.service.register(email=clerk.new_email())
    event = clerk.instance.create(email=squatter.email.upper())
    await clerk.send(event)
    user_id = event["data"]["id"]
    me = (await clerk.me(user_id)).json()
    assert (me["id"], me["email_verified"]) == (squatter.id, True)
    assert (await clerk.service.me(squatter.bearer)).json()["code"] == "token_revoked"
    body = {"email": squatter.email, "password": squatter.password}
    assert (await clerk.service.client.post("/auth/login", json=body)).status_code == 401
    await clerk.send(clerk.instance.delete(user_id))
    assert (await clerk.row(squatter.id))["deleted_at"] is not None


async def test_a_verified_address_links_the_verified_account_that_has_it(clerk: World) -> None:
    """The account keeps its id, password and sessions: the same person has proved it twice."""
    person = await clerk.service.register(email=clerk.new_email())
    await verified(clerk, person.id)
    event = clerk.instance.create(email=person.email)
    await clerk.send(event)
    assert (await clerk.me(event["data"]["id"])).json()["id"] == person.id
    assert (await clerk.service.me(person.bearer)).status_code == 200


async def test_an_unverified_address_never_takes_an_account_over(clerk: World) -> None:
    """SEC-16: whatever Clerk's user calls themselves."""
    for is_verified in (False, True):
        person = await clerk.service.register(email=clerk.new_email())
        if is_verified:
            await verified(clerk, person.id)
        event = clerk.instance.create(**unverified(person.email))
        await clerk.send(event)
        row = await clerk.row(event["data"]["id"])
        assert (row["id"] != person.id, row["email"]) == (True, None)
        assert (await clerk.row(person.id))["email"] == person.email
        assert (await clerk.service.me(person.bearer)).status_code == 200


async def taken_back(service: Service, email: str) -> None:
    """The owner of an address proves it with a link: what a stranger did with the account before ends."""
    assert (await reset(service, await ask_for_reset(service, email), NEW)).status_code == 200


async def test_a_stranger_at_clerk_loses_the_account_whose_address_its_owner_proves(clerk: World) -> None:
    """SEC-15, SEC-16: no later change, ban or deletion at Clerk reaches the account of the owner."""
    event = clerk.instance.create(**unverified(email := clerk.new_email()))
    await clerk.send(event)
    stranger = event["data"]["id"]
    assert (await clerk.row(stranger))["email"] == email
    await taken_back(clerk.service, email)
    other = clerk.new_email()
    address = {"id": "idn_2", "email_address": other, "verification": {"status": "verified"}}
    for changes in (
        {"email_addresses": [address], "primary_email_address_id": "idn_2", "first_name": "Mallory"},
        {"public_metadata": {"plan": "PRO"}},
        {"banned": True},
    ):
        await clerk.send(clerk.instance.update(stranger, **changes))
        row = await clerk.row(stranger)
        assert (row["email"], row["plan"], row["is_active"]) == (email, "FREE", True), changes
        assert row["name"] != "Mallory"
        assert (await clerk.me(stranger)).json().get("id") != stranger, "the stranger has another account"
    await clerk.send(clerk.instance.delete(stranger))
    assert await log_in(clerk.service, email, NEW) == 200


async def test_a_stranger_loses_an_imported_account_that_no_webhook_has_named(clerk: World) -> None:
    """SEC-15, C-13: with Clerk's id and an identity, as an import leaves it."""
    event = clerk.instance.create(**unverified(email := clerk.new_email()))
    await clerk.send(event)
    stranger = event["data"]["id"]
    await clerk.service.sql("DELETE FROM idp.clerk_users WHERE clerk_id = $1", stranger)
    await taken_back(clerk.service, email)
    await clerk.send(clerk.instance.update(stranger, first_name="Mallory"))
    assert (await clerk.me(stranger)).json().get("id") != stranger
    assert (await clerk.row(stranger))["name"] != "Mallory"


async def test_who_proves_the_address_at_both_keeps_one_account(clerk: World) -> None:
    """C-11: first here, then at Clerk; the account is linked again."""
    event = clerk.instance.create(**unverified(email := clerk.new_email()))
    await clerk.send(event)
    await taken_back(clerk.service, email)
    user_id = event["data"]["id"]
    address = {"id": "idn_1", "email_address": email, "verification": {"status": "verified"}}
    await clerk.send(clerk.instance.update(user_id, email_addresses=[address]))
    assert (await clerk.me(user_id)).json()["email"] == email
    await clerk.send(clerk.instance.update(user_id, first_name="Grace", last_name=""))
    assert (await clerk.row(user_id))["name"] == "Grace"


async def test_a_second_user_of_clerk_does_not_get_the_account_of_the_first(clerk: World) -> None:
    """SEC-15: an address that someone else has at Clerk now is another person's."""
    first = await clerk.created(email=(email := clerk.new_email()))
    secret = (await clerk.make_key(first))["secret"]
    second = clerk.instance.create(email=email)
    await clerk.send(second)
    assert (await clerk.row(second["data"]["id"]))["email"] == email
    assert (await clerk.row(first))["email"] is None
    assert (await clerk.me(first)).json()["id"] == first
    verdict = await clerk.service.validate(secret)
    assert (verdict["valid"], verdict["user"]["id"]) == (True, first), "keys stay with the person"


async def test_a_verified_address_goes_before_an_unverified_one_in_every_order(clerk: World) -> None:
    """At Clerk both users may have it, until one has proved it."""
    for is_later in (False, True):
        email = clerk.new_email()
        events = [clerk.instance.create(email=email), clerk.instance.create(**unverified(email))]
        owner, other = (event["data"]["id"] for event in events)
        await clerk.send(*(reversed(events) if is_later else events))
        assert (await clerk.row(owner))["email"] == email
        assert (await clerk.row(other))["email"] is None
        assert (await clerk.me(other)).status_code == 200


async def test_an_address_that_moves_within_a_second_ends_at_its_owner(clerk: World) -> None:
    """In every order of the four deliveries, also all at once."""

    for order in [*itertools.permutations(range(4)), None]:
        email, other = clerk.new_email(), clerk.new_email()
        first, second = clerk.instance.create(email=email), clerk.instance.create(email=other)
        one, two = first["data"]["id"], second["data"]["id"]
        freed = clerk.instance.update(one, email=clerk.new_email())
        taken = clerk.instance.update(two, email=email)
        events = [first, second, freed, taken]
        if order is None:
            answers = await asyncio.gather(*(clerk.deliver(Outgoing.of(event)) for event in events))
            assert {answer.status_code for answer in answers} == {200}
        else:
            await clerk.send(*(events[number] for number in order))
        assert (await clerk.row(two))["email"] == email, order
        assert (await clerk.row(one))["email"] == clerk.instance.state.users[one]["email_addresses"][0]["email_address"]


async def test_a_changed_address_takes_it_from_an_account_that_never_proved_it(clerk: World) -> None:
    """The squatter keeps an empty account; keys, sessions and password of it end."""
    user_id = await clerk.created()
    squatter = await clerk.service.register(email=clerk.new_email())
    await clerk.send(clerk.instance.update(user_id, email=squatter.email))
    assert (await clerk.row(user_id))["email"] == squatter.email
    row = await clerk.row(squatter.id)
    assert (row["email"], row["password_hash"]) == (None, None)
    assert (await clerk.service.me(squatter.bearer)).json()["code"] == "token_revoked"


async def test_a_changed_address_ends_links_and_sessions_of_the_former(clerk: World) -> None:
    """SEC-6: of an account with a password, too, which stays."""
    person = await clerk.service.register(email=clerk.new_email())
    await verified(clerk, person.id)
    event = clerk.instance.create(email=person.email)
    await clerk.send(event)
    asked = await clerk.service.client.post("/api/auth/password/reset/request", json={"email": person.email})
    assert asked.status_code == 200
    await clerk.send(clerk.instance.update(event["data"]["id"], email=(new := clerk.new_email())))
    links = await clerk.service.sql(
        "SELECT used_at FROM idp.password_reset_tokens WHERE user_id = $1 AND used_at IS NULL", person.id
    )
    assert links == []
    assert (await clerk.service.me(person.bearer)).json()["code"] == "token_revoked"
    body = {"email": new, "password": person.password}
    assert (await clerk.service.client.post("/auth/login", json=body)).status_code == 200


async def test_a_claimed_account_no_longer_follows_clerk(clerk: World) -> None:
    """C-11: who proves the address by mail gets the account; Clerk's user, who never did, gets another one."""
    event = clerk.instance.create(**unverified(email := clerk.new_email()))
    user_id = event["data"]["id"]
    await clerk.send(event)
    token = await ask_for_reset(clerk.service, email)
    body = {"token": token, "new_password": "a password of the owner"}
    assert (await clerk.service.client.post("/api/auth/password/reset/confirm", json=body)).status_code == 200
    assert (await clerk.row(user_id))["email_verified"] is True
    assert (await clerk.me(user_id)).json()["code"] == "user_not_synced"
    await clerk.send(clerk.instance.update(user_id, first_name="Mallory", banned=True))
    claimed = await clerk.row(user_id)
    assert (claimed["name"] != "Mallory", claimed["is_active"], claimed["email"]) == (True, True, email)
    await clerk.send(clerk.instance.update(user_id, banned=False))
    other = (await clerk.me(user_id)).json()
    assert (other["id"] != user_id, other["email"], other["name"]) == (True, None, "Mallory")
    await clerk.send(clerk.instance.delete(user_id))
    assert (await clerk.row(user_id))["deleted_at"] is None
    assert (await clerk.row(other["id"]))["deleted_at"] is not None


async def test_an_imported_user_with_clerks_id_is_the_same_user(clerk: World) -> None:
    """C-13 S1-17: rows of the old service have Clerk's id, with or without an identity."""
    event = clerk.instance.create(email=clerk.new_email(), first_name="Imported")
    user_id = event["data"]["id"]
    await clerk.service.sql(
        "INSERT INTO idp.users (id, email, email_key, email_verified, name, login_type, password_version, plan, "
        "is_active, version, created_at, updated_at) "
        "VALUES ($1, $2, $2, false, 'Old Name', 'clerk', 1, 'PRO', true, 1, now(), now())",
        user_id,
        event["data"]["email_addresses"][0]["email_address"],
    )
    await clerk.send(event)
    row = await clerk.row(user_id)
    assert (row["name"], row["email_verified"], row["plan"]) == ("Imported", True, "PRO")


async def test_who_was_deleted_here_stays_deleted(clerk: World) -> None:
    """C-14: also if Clerk goes on to speak of them."""
    user_id = await clerk.created()
    await clerk.service.sql("UPDATE idp.users SET deleted_at = now(), is_active = false WHERE id = $1", user_id)
    await clerk.send(clerk.instance.update(user_id, first_name="Again"))
    assert (await clerk.row(user_id))["deleted_at"] is not None
    assert (await clerk.me(user_id)).json()["code"] == "user_inactive"
