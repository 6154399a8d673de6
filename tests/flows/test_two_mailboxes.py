"""Two mailboxes are never one account: every look-up uses the same key (C-13)."""

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.support import idp
from factories import PASSWORD, Service
from idp.dev.embedded import EmbeddedPostgres
from idp.users.email import email_key, parse_email

LOOK_ALIKES = ["bo\u017fs", "bos\u017f", "\uff42\uff4f\uff53\uff53", "bo\u00df", "b\u00f8ss", "\u1d47oss", "b\u2070ss"]


def test_no_character_beyond_ascii_is_keyed_as_ascii() -> None:
    """Each of Unicode's characters: long s, Kelvin sign, dotless i, ligatures, fullwidth letters and all others."""
    for code in range(0x80, sys.maxunicode + 1):
        if 0xD800 <= code < 0xE000:
            continue
        local = email_key(f"{chr(code)}a@example.com").rpartition("@")[0]
        assert not local.isascii() or chr(code).isspace(), hex(code)


def test_only_three_characters_become_ascii_by_nfc() -> None:
    """They are refused before the @: what would be stored is another mailbox than what was typed."""
    becoming = {code for code in range(0x80, sys.maxunicode + 1) if unicodedata.normalize("NFC", chr(code)).isascii()}
    assert becoming == {0x37E, 0x1FEF, 0x212A}
    for code in becoming:
        with pytest.raises(ValueError, match=f"U\\+{code:04X}"):
            parse_email(f"a{chr(code)}b@example.com")


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_one_key_is_one_mailbox_but_for_case_and_composition(one: str, other: str) -> None:
    """Where two texts have one key, both are ASCII or neither, and they differ in case or composition only."""
    keys = [email_key(f"x{each}x@example.com") for each in (one, other, one.swapcase())]
    for text, key in ((other, keys[1]), (one.swapcase(), keys[2])):
        if key == keys[0]:
            normal = [unicodedata.normalize("NFC", each) for each in (one, text)]
            assert normal[0].isascii() == normal[1].isascii()
            assert len(normal[0]) == len(normal[1])


@pytest.mark.parametrize(("one", "other"), [
    ("a@fa\u00df.de", "a@fass.de"),
    ("a@\u03b2\u03cc\u03bb\u03bf\u03c2.gr", "a@\u03b2\u03cc\u03bb\u03bf\u03c3.gr"),
    ("a@\u0928\u0940\u200dx.example", "a@\u0928\u0940x.example"),
    ("a@under_\u00df.example", "a@under_ss.example"),
    ("a\u0130@example.com", "ai\u0307@example.com"),
    ("stra\u00dfe@example.com", "strasse@example.com"),
    ("STRA\u1e9eE@example.com", "strasse@example.com"),
    ("a\x00b@example.com", "ab@example.com"),
])  # fmt: skip
def test_distinct_addresses_have_distinct_keys(one: str, other: str) -> None:
    assert email_key(one) != email_key(other)


@pytest.mark.parametrize(("one", "other"), [
    ("Ada@EXAMPLE.com", "ada@example.com"),
    ("\u00c9va@example.com", "e\u0301va@example.com"),
    ("a@FA\u00df.de", "a@xn--fa-hia.de"),
    ("a@\uff45xample.com", "a@example.com"),
])  # fmt: skip
def test_spellings_of_one_mailbox_have_one_key(one: str, other: str) -> None:
    assert email_key(one) == email_key(other)


@pytest.mark.parametrize("alike", LOOK_ALIKES)
async def test_a_look_alike_is_an_account_of_its_own(service: Service, alike: str) -> None:
    """Neither signs in as the other, neither keeps the other from registering, and dev headers name each."""
    host = service.new_email().replace("@", "-").rpartition("-")[0] + ".example"
    boss = await service.register(f"boss@{host}")
    other = await service.register(f"{alike}@{host}")
    assert boss.id != other.id
    for person in (boss, other):
        answer = await service.client.post("/auth/login", json={"email": person.email, "password": PASSWORD})
        assert answer.json()["user_id"] == person.id
        headers = {"X-User-Email": person.email.encode(), "X-User-Name": b"Any"}
        assert (await service.client.get("/auth/me", headers=headers)).json()["id"] == person.id


async def test_the_commands_find_who_has_this_very_address(service: Service, postgres: EmbeddedPostgres) -> None:
    """`idp users show` and `create-admin --existing` never take one for the other."""
    boss = await service.register(f"boss@{service.new_email().partition('@')[0]}.example")
    other = await service.register(boss.email.replace("boss", "bo\u017fs"))
    admin = await service.register_admin()
    found = await service.client.get("/api/auth/admin/users", params={"search": other.email}, headers=admin.bearer)
    assert [each["user_id"] for each in found.json()["users"]] == [other.id]
    done = idp("users", "create-admin", other.email, "--existing", DATABASE_URL=service.database_url)
    assert done.returncode == 0, done.stderr
    admins = await service.sql("SELECT user_id FROM idp.user_roles WHERE role = 'admin' AND user_id = ANY($1)",
                               [boss.id, other.id])  # fmt: skip
    assert [row["user_id"] for row in admins] == [other.id]


async def test_check_db_names_an_address_that_finds_another_user(service: Service) -> None:
    """An old row: stored under the key of another mailbox."""
    boss = await service.register(f"boss@{service.new_email().partition('@')[0]}.example")
    lost = await service.register()
    looks = boss.email.replace("boss", "BOSS")
    try:
        await service.sql("UPDATE idp.users SET email = $1 WHERE id = $2", looks, lost.id)
        done = idp("check-db", DATABASE_URL=service.database_url)
        assert done.returncode == 0, done.stderr
        assert f"The address {looks} of user {lost.id} finds user {boss.id}" in done.stdout
        await service.sql("UPDATE idp.users SET email = $1 WHERE id = $2", looks.replace("BOSS", "bo\u017fs"), lost.id)
        done = idp("check-db", DATABASE_URL=service.database_url)
        assert f"User {lost.id} is not found by the address bo\\u017fs@" in done.stdout
    finally:
        await service.sql("UPDATE idp.users SET email = $1 WHERE id = $2", lost.email, lost.id)


async def test_the_migration_gives_old_rows_their_own_key(service: Service) -> None:
    """A row that was keyed by folding is keyed by its mailbox, and its look-alike can register."""
    import importlib.util
    from pathlib import Path

    import sqlalchemy as sa
    from alembic.migration import MigrationContext
    from alembic.operations import Operations

    from idp.db.engine import Database

    host = service.new_email().partition("@")[0] + ".example"
    old = await service.register(f"bo\u017fs@{host}")
    await service.sql("UPDATE idp.users SET email_key = $1 WHERE id = $2", f"boss@{host}", old.id)
    assert (
        await service.client.post("/auth/login", json={"email": old.email, "password": PASSWORD})
    ).status_code == 401
    (path,) = Path(__file__).parents[2].glob("db/migrations/versions/0005_*.py")
    spec = importlib.util.spec_from_file_location("migration", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def upgrade(connection: sa.Connection) -> None:
        with Operations.context(MigrationContext.configure(connection)):
            module.upgrade()

    database = Database(service.loaded.settings.database)
    async with database.engine.begin() as connection:
        await connection.run_sync(upgrade)
    await database.close()
    assert (await service.sign_in(old)).id == old.id
    assert (await service.register(f"boss@{host}")).id != old.id
