"""The secret of a key: its format, shown once, never stored (C-03, C-03b; S0-19 to S0-21, S0-36 to S0-42)."""

import hashlib
import re
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeys.key_support import ADMIN, ADMIN_TOKEN, KEYS, TOKENS, code_of, get, make_key, make_token, new_name
from factories import Person, Service, root_secret, running
from idp.apikeys.secret import MAX_LENGTH, generate, is_intact
from idp.apikeys.usage import Usage
from idp.dev.embedded import EmbeddedPostgres

PAGE = (Path(__file__).parents[2] / "docs" / "api-keys.md").read_text("utf-8")
PUBLISHED = re.findall(r"^\\b.+\\b$", PAGE, re.MULTILINE)
OTHER_LETTERS = str.maketrans("0O1lI", "O0lI1")


def published_check() -> Callable[[str], bool]:
    """Return the function that the page gives to clients."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    check: Callable[[str], bool] = names["is_intact"]
    return check


# --- its form --------------------------------------------------------------------------------------------------------


async def test_a_key_has_the_published_form(keyed: Service, person: Person) -> None:
    """S0-19 S0-20 S0-42 S2-28 C-03b: scanners find it by the regular expressions, in the middle of a file too."""
    key, token = await make_key(keyed, person), await make_token(keyed)
    assert len(PUBLISHED) == 2
    for pattern, secret, prefix in zip(
        PUBLISHED, (key["secret"], token["token"]), ("sk_live_", "amp_live_"), strict=True
    ):
        assert secret.startswith(prefix)
        assert re.findall(pattern, f'API_KEY="{secret}"\nkey: {secret}, {secret}x') == [secret, secret]
        assert re.fullmatch(r"[0-9A-Za-z]{43}", secret.removeprefix(prefix))
        assert published_check()(secret)
    assert key["prefix"] == key["secret"][:12]
    assert len(key["prefix"]) == 12


@given(st.data())
def test_the_published_check_agrees_with_ours(data: st.DataObject) -> None:
    """C-03b S0-42: any one letter changed, left out or doubled breaks the checksum, for both."""
    check, secret = published_check(), generate("sk_live")
    assert check(secret)
    assert is_intact(secret, "sk_live")
    at = data.draw(st.integers(len("sk_live_"), len(secret) - 1))
    letter = data.draw(st.sampled_from("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-"))
    changed = secret[:at] + letter + secret[at + 1 :]
    assert check(changed) is is_intact(changed, "sk_live") is (changed == secret)
    cut = secret[:at] + secret[at + 1 :]
    assert not is_intact(cut, "sk_live")
    assert not is_intact(secret, "amp_live")
    assert not is_intact(secret.translate(OTHER_LETTERS), "sk_live") or not set("0O1lI") & set(secret)


def test_secrets_are_random() -> None:
    """SEC-17: 37 random characters of 62 are 220 bits; no two are alike, every character occurs everywhere."""
    made = [generate("sk_live") for _ in range(1000)]
    assert len({secret[8:45] for secret in made}) == 1000
    for at in range(8, 45):
        assert len({secret[at] for secret in made}) > 55


async def test_prefixes_are_settings(postgres: EmbeddedPostgres) -> None:
    """C-03b."""
    environ = {
        "ADMIN_TOKEN": ADMIN_TOKEN,
        "IDP_API_KEYS__USER_KEY_PREFIX": "acme",
        "IDP_API_KEYS__SERVICE_TOKEN_PREFIX": "acme_svc",
    }
    async with running(postgres.create_database("prefixes"), environ=environ) as service:
        key = await make_key(service, await service.register())
        token = await make_token(service)
        assert re.fullmatch(r"acme_[0-9A-Za-z]{43}", key["secret"])
        assert re.fullmatch(r"acme_svc_[0-9A-Za-z]{43}", token["token"])
        for secret in (key["secret"], token["token"]):
            assert published_check()(secret)
            assert await code_of(service, secret) == "valid"


# --- shown once ------------------------------------------------------------------------------------------------------


async def _everything(service: Service) -> str:
    """Return the text of every row of every table."""
    tables = await service.sql("SELECT table_name FROM information_schema.tables WHERE table_schema = 'idp'")
    texts = []
    for table in tables:
        texts += [row[0] for row in await service.sql(f'SELECT t::text FROM idp."{table["table_name"]}" t')]
    assert len(tables) > 8
    return "\n".join(texts)


async def test_a_secret_is_shown_once_and_stored_nowhere(
    keyed: Service, person: Person, capfd: pytest.CaptureFixture[str]
) -> None:
    """S0-07 S0-21 S0-41 S2-29 S2-36 SEC-17: in the answer that made it; in no table, no list, no record, no log."""
    made = await make_key(keyed, person)
    rotated = await keyed.client.post(f"{KEYS}/{made['key_id']}/rotate", headers=person.bearer)
    idempotent = await keyed.client.post(
        KEYS, json={"name": "k", "scopes": []}, headers=person.bearer | {"Idempotency-Key": new_name()}
    )
    token = await make_token(keyed)
    shown = [made["secret"], rotated.json()["secret"], idempotent.json()["secret"], token["token"]]
    for secret in shown:
        await code_of(keyed, secret)
    assert len(set(shown)) == 4
    stored = await _everything(keyed)
    answers = [
        await keyed.client.get(path, headers=headers)
        for path, headers in (
            (f"{KEYS}?include_revoked=true", person.bearer),
            (f"{KEYS}/{made['key_id']}", person.bearer),
            (f"{KEYS}/{made['key_id']}/audit", person.bearer),
            (f"{TOKENS}?include_revoked=true", ADMIN),
            (f"{TOKENS}/{token['token_id']}", ADMIN),
        )
    ]
    revoked = await keyed.client.delete(f"{KEYS}/{made['key_id']}", headers=person.bearer)
    said = capfd.readouterr()
    for text in (stored, *(answer.text for answer in (*answers, revoked)), said.out, said.err):
        for secret in shown:
            assert secret not in text
            assert secret[12:] not in text, "nor what is secret about it"
            assert hashlib.sha256(secret.encode()).hexdigest() not in text, "nor what anybody could compare it with"
    assert made["prefix"] in stored


async def test_only_a_keyed_digest_of_the_whole_secret_is_stored(keyed: Service, person: Person) -> None:
    """S0-36 S0-37 C-03: one unique, indexed digest under the pepper, and 12 characters for people."""
    made = await make_key(keyed, person)
    (row,) = await keyed.sql("SELECT * FROM idp.api_keys WHERE user_id = $1", person.id)
    assert re.fullmatch(r"[0-9a-f]{64}", row["digest"])
    assert (row["scheme"], row["prefix"], row["former_digest"]) == ("hmac", made["secret"][:12], None)
    assert row["digest"] == keyed.app.core.peppers.digest(made["secret"]).hex
    assert row["digest"] != keyed.app.core.peppers.digest(made["secret"][:-1]).hex
    with pytest.raises(asyncpg.UniqueViolationError):
        await keyed.sql(
            "INSERT INTO idp.api_keys (id, kind, user_id, name, prefix, digest, scheme, scopes, metadata, created_at,"
            " created_by) SELECT gen_random_uuid(), kind, user_id, name, prefix, digest, scheme, scopes, metadata,"
            " created_at, created_by FROM idp.api_keys WHERE user_id = $1",
            person.id,
        )


async def test_neither_the_digest_nor_the_prefix_is_a_key(keyed: Service, person: Person) -> None:
    """SEC-17: a copy of the table contains no usable secret."""
    await make_key(keyed, person)
    (row,) = await keyed.sql("SELECT digest, prefix FROM idp.api_keys WHERE user_id = $1", person.id)
    for text in (row["digest"], "sk_live_" + row["digest"], row["prefix"], row["prefix"] + "%"):
        assert await code_of(keyed, text) == "token_not_found"


# --- imported ones ---------------------------------------------------------------------------------------------------


async def import_s2_token(service: Service, token: str, **changes: Any) -> str:
    """Insert a row as S2 stored it, with its plain SHA-256; return its id."""
    values = {"name": new_name("imported"), "scopes": ["read", "write"]} | changes
    (row,) = await service.sql(
        "INSERT INTO idp.api_keys (id, kind, name, prefix, digest, scheme, scopes, metadata, created_at, created_by)"
        " VALUES (gen_random_uuid(), 'service_token', $1, $2, $3, 'sha256', $4, '{}', now(), 'import') RETURNING id",
        values["name"],
        token[:12],
        hashlib.sha256(token.encode()).hexdigest(),
        values["scopes"],
    )
    return str(row["id"])


def usage_of(service: Service) -> Usage:
    """Return what notes uses and new digests in this service."""
    (middleware,) = service.app.middleware
    usage: Usage = middleware.introspector._usage  # type: ignore[union-attr]
    return usage


async def stored(service: Service, table_id: str) -> asyncpg.Record:
    (row,) = await service.sql("SELECT * FROM idp.api_keys WHERE id = $1::text::uuid", table_id.removeprefix("key_"))
    return row


@pytest.mark.parametrize("characters", [43, 46], ids=["S2's 43 characters", "S2's own example, 46"])
async def test_an_imported_s2_token_works_and_moves_to_the_keyed_digest(keyed: Service, characters: int) -> None:
    """S2-28 S2-29 C-03 C-03b: no length, no checksum, `-` and `_`; found by its SHA-256, stored better after a use."""
    token = "amp_live_" + secrets.token_urlsafe(64).replace("-", "_")[: characters - 1] + "-"
    token_id = await import_s2_token(keyed, token)
    for _ in range(2):
        verdict = await keyed.validate(token, required_scopes=["read", "write"])
        assert (verdict["valid"], verdict["token_id"], verdict["kind"]) == (True, token_id, "service_token")
        await usage_of(keyed).flush()
        row = await stored(keyed, token_id)
        assert (row["scheme"], row["digest"]) == ("hmac", keyed.app.core.peppers.digest(token).hex)
        assert row["pepper"] == keyed.app.core.peppers.current
    assert (await keyed.client.post(f"{TOKENS}/{token_id}/revoke", headers=ADMIN)).status_code == 200
    assert await code_of(keyed, token) == "token_revoked"


async def test_a_refused_credential_is_not_stored_again(keyed: Service) -> None:
    """C-03: what was revoked keeps the digest that it had."""
    token = "amp_live_" + secrets.token_urlsafe(32)
    token_id = await import_s2_token(keyed, token)
    await keyed.client.post(f"{TOKENS}/{token_id}/revoke", headers=ADMIN)
    assert await code_of(keyed, token) == "token_revoked"
    await usage_of(keyed).flush()
    assert (await stored(keyed, token_id))["scheme"] == "sha256"


async def test_a_rotation_between_use_and_flush_wins(keyed: Service, person: Person) -> None:
    """C-27: re-digesting compares and sets, so that it never brings an old secret back."""
    made = await make_key(keyed, person)
    plain = hashlib.sha256(made["secret"].encode()).hexdigest()
    await keyed.sql("UPDATE idp.api_keys SET digest = $2, scheme = 'sha256' WHERE user_id = $1", person.id, plain)
    assert await code_of(keyed, made["secret"]) == "valid"
    rotated = (await keyed.client.post(f"{KEYS}/{made['key_id']}/rotate", headers=person.bearer)).json()
    await usage_of(keyed).flush()
    assert await code_of(keyed, made["secret"]) == "token_revoked"
    assert await code_of(keyed, rotated["secret"]) == "valid"


async def test_a_checksum_can_be_required(postgres: EmbeddedPostgres) -> None:
    """C-03b: then a damaged key is refused without a look-up; and so is an imported one."""
    environ = {"ADMIN_TOKEN": ADMIN_TOKEN, "IDP_API_KEYS__REQUIRE_CHECKSUM": "true"}
    async with running(postgres.create_database("checksums"), environ=environ) as service:
        token = (await make_token(service))["token"]
        assert await code_of(service, token) == "valid"
        verdict = await service.validate(token[:-1])
        assert (verdict["error"], "damaged" in verdict["detail"]) == ("token_invalid", True)
        imported = "amp_live_" + secrets.token_urlsafe(32)
        await import_s2_token(service, imported)
        assert await code_of(service, imported) == "token_invalid"


async def test_a_bearer_longer_than_any_key_is_not_looked_up(keyed: Service) -> None:
    """SEC-28: MAX_LENGTH characters."""
    fits, longer = "amp_live_" + "x" * (MAX_LENGTH - 9), "amp_live_" + "x" * (MAX_LENGTH - 8)
    await import_s2_token(keyed, fits)
    await import_s2_token(keyed, longer)
    assert [await code_of(keyed, token) for token in (fits, longer)] == ["valid", "token_not_found"]


# --- the root secret is replaced -------------------------------------------------------------------------------------


@asynccontextmanager
async def _serving(url: str, *, migrate: bool, **environ: str) -> AsyncIterator[Service]:
    async with running(url, environ={"ADMIN_TOKEN": ADMIN_TOKEN} | environ, migrate=migrate) as service:
        yield service


async def test_keys_live_through_a_new_root_secret_and_depend_on_it_after_one_use(postgres: EmbeddedPostgres) -> None:
    """C-06c: the pepper changes, the key does not; what was never used still needs the previous one."""
    url, old, new = postgres.create_database("new_pepper"), root_secret(), root_secret()

    def start(*, migrate: bool = False, **environ: str) -> AbstractAsyncContextManager[Service]:
        return _serving(url, migrate=migrate, **environ)

    async with start(migrate=True, IDP_SECRET_KEY=old) as service:
        person = await service.register()
        used, unused = await make_key(service, person), await make_key(service, person)
        overlapping = await make_key(service, person)
        token = await make_token(service)
    async with start(IDP_SECRET_KEY=new, IDP_PREVIOUS_SECRET_KEYS=f"{root_secret()},{old}") as service:
        before = await stored(service, used["key_id"])
        for secret in (used["secret"], token["token"]):
            assert await code_of(service, secret) == "valid"
        login = {"email": person.email, "password": person.password}
        session = (await service.client.post("/auth/login", json=login)).json()["access_token"]
        rotated = await service.client.post(
            f"{KEYS}/{overlapping['key_id']}/rotate",
            json={"overlap_seconds": 3600},
            headers={"Authorization": f"Bearer {session}"},
        )
        assert await code_of(service, overlapping["secret"]) == "valid", "the former one, under the former pepper"
        assert await code_of(service, rotated.json()["secret"]) == "valid"
    # Stopping wrote what was noted.
    async with start(IDP_SECRET_KEY=new) as service:
        after = await stored(service, used["key_id"])
        assert after["pepper"] == service.app.core.peppers.current != before["pepper"]
        assert after["digest"] != before["digest"]
        assert (await stored(service, unused["key_id"]))["pepper"] == before["pepper"]
        codes = [await code_of(service, secret) for secret in (used["secret"], token["token"], unused["secret"])]
        assert codes == ["valid", "valid", "token_not_found"]
        assert (await get(service, f"{TOKENS}/{token['token_id']}", ADMIN))["revoked"] is False
    async with start(IDP_SECRET_KEY=new, IDP_PREVIOUS_SECRET_KEYS=old) as service:
        assert await code_of(service, unused["secret"]) == "valid", "nothing was lost for good"
