"""Attacks by a user of the other service: nothing that a stranger chooses there opens an account here."""

import secrets
from pathlib import Path
from typing import Any

import pytest

from factories import Service
from importing.import_support import codes, do_import, in_days, numbers, user, write


def identity(user_id: str, subject: str) -> dict[str, Any]:
    return {"kind": "identity", "user_id": user_id, "provider": "https://attacker.example", "subject": subject}


async def identities(service: Service, subject: str) -> list[Any]:
    return await service.sql("SELECT user_id FROM idp.identities WHERE subject = $1", subject)


@pytest.mark.parametrize(
    "refused",
    [{"name": "x" * 201}, {"email": "no address"}, {"plan": "GOLD"}, {"role": "a\u202eb"}, {"password_hash": "md5:1"}],
    ids=lambda each: next(iter(each)),
)
async def test_a_record_that_is_refused_still_reveals_that_its_id_is_anothers(
    service: Service, tmp_path: Path, refused: dict[str, Any]
) -> None:
    """Else a stranger with a colliding id, and a name that is too long, would add an identity to the other account."""
    number, tag = str(secrets.randbelow(10**9)), secrets.token_hex(4)
    do_import(service, write(tmp_path / "a", user(number, email=f"one-{tag}@example.com"), source=f"a-{tag}"))
    attack = user(number, email=f"two-{tag}@example.com") | refused
    file = write(tmp_path / "b", attack, identity(number, tag), source=f"b-{tag}")
    for options in (("--on-conflict", "skip"), ("--on-conflict", "link")):
        assert "id_taken" in {code for _, code in codes(do_import(service, file, *options, code=1))}
        assert await identities(service, tag) == []


async def test_a_former_id_is_not_that_of_another_source(service: Service, tmp_path: Path) -> None:
    """The alias 17 of source B is not the user 17 of source C, whose identity would sign in as B's."""
    number, tag, email = (
        str(10**9 + secrets.randbelow(10**9)),
        secrets.token_hex(4),
        f"one-{secrets.token_hex(4)}@x.com",
    )
    first = write(tmp_path / "a", user("0" + number, email=email, email_verified=True), source=f"a-{tag}")
    second = write(tmp_path / "b", user(number, email=email, email_verified=True), source=f"b-{tag}")
    do_import(service, first)
    do_import(service, second, "--on-conflict", "link")
    assert [row["user_id"] for row in await service.sql("SELECT * FROM idp.user_aliases WHERE alias = $1", number)]
    stranger = user(number, email=f"two-{tag}@example.com", email_verified=True)
    third = write(tmp_path / "c", stranger, identity(number, tag), source=f"c-{tag}")
    assert codes(do_import(service, third, "--on-conflict", "skip", code=1)) == [(2, "id_taken")]
    assert await identities(service, tag) == []
    assert numbers(do_import(service, second, "--on-conflict", "link")) == (0, 0, 1, 0), "its own source knows it"


async def test_the_source_of_a_user_whose_id_was_replaced_still_knows_it(service: Service, tmp_path: Path) -> None:
    """The greater id becomes an alias of the source that it came from, not of the one that was linked."""
    number, tag = str(10**9 + secrets.randbelow(10**9)), secrets.token_hex(4)
    known = {"email": f"one-{tag}@example.com", "email_verified": True}
    first = write(tmp_path / "a", user(number, **known), source=f"a-{tag}")
    do_import(service, first)
    second = write(tmp_path / "b", user("0" + number, **known), source=f"b-{tag}")
    do_import(service, second, "--on-conflict", "link")
    assert numbers(do_import(service, first)) == (0, 0, 1, 0)
    stranger = user(number, email=f"two-{tag}@example.com", email_verified=True)
    third = write(tmp_path / "b", stranger, identity(number, tag), source=f"b-{tag}")
    assert codes(do_import(service, third, "--on-conflict", "skip", code=1)) == [(2, "id_taken")]


async def test_an_address_that_nobody_verified_does_not_make_a_colliding_id_the_same_person(
    service: Service, tmp_path: Path
) -> None:
    """A stranger may register any address there, and wait for the id of its owner here."""
    number, tag = str(secrets.randbelow(10**9)), secrets.token_hex(4)
    email = f"victim-{tag}@example.com"
    do_import(service, write(tmp_path / "a", user(number, email=email, email_verified=True), source=f"a-{tag}"))
    file = write(tmp_path / "b", user(number, email=email), identity(number, tag), source=f"b-{tag}")
    assert codes(do_import(service, file, "--on-conflict", "skip", code=1)) == [(2, "id_taken")]
    assert await identities(service, tag) == []


async def test_a_link_that_never_ends_there_ends_here(service: Service, tmp_path: Path) -> None:
    """SEC-10: an old mail opens no account years later."""
    tag = secrets.token_hex(8)
    link = {"kind": "pending_token", "user_id": tag, "expires_at": "2999-01-01T00:00:00Z"}
    file = write(
        tmp_path / "a",
        user(tag, email=f"{tag}@example.com"),
        link | {"type": "password_reset", "token_hash": secrets.token_hex(32)},
        link | {"type": "email_verification", "token_hash": secrets.token_hex(32)},
    )
    assert numbers(do_import(service, file)) == (3, 0, 0, 0)
    for table, days in (("password_reset_tokens", 1), ("email_verification_tokens", 8)):
        query = f"SELECT expires_at FROM idp.{table} WHERE user_id = $1"
        assert [row["expires_at"] < in_days(days) for row in await service.sql(query, tag)] == [True]
