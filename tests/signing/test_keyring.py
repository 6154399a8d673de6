"""The key ring: one key after concurrent starts, staged rotation, encrypted at rest, bounded reads (SEC-22, 31, 32)."""

import asyncio
import json
import os
import subprocess
import sys
import time
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import structlog
import time_machine
from sqlalchemy import event

import idp
from factories import PATIENT, Service, prepare, root_secret, running
from idp.db.engine import Database
from idp.dev.embedded import EmbeddedPostgres
from idp.errors import DatabaseUnavailable, SigningKeyNotFound, SigningKeysSealed
from idp.settings import LoadedSettings, Secret, load
from idp.settings_schema import Tokens
from idp.signing import keyring as keyring_module
from idp.signing.compact import parse
from idp.signing.id_token import IdTokens
from idp.signing.jwt import TokenService, TokenUser, VerifiedClaims
from idp.signing.key_upkeep import KeyUpkeep
from idp.signing.keyring import KEEP_AFTER_USE, PUBLISH_BEFORE_USE, Keyring
from idp.signing.sealing import Sealer
from idp.signing.signing_key import generate, public_jwk
from signing.forgery import Forge, b64url

ROOT = root_secret()
ISSUER = "https://id.example.com"
PAT = TokenUser(id="01990c7e-0000-7000-8000-000000000001", email="pat@example.com", email_verified=True)


class Process:
    """What one process of the service has of its own: connections, a key ring, a token service."""

    def __init__(self, loaded: LoadedSettings, *, root: str = ROOT, algorithm: Any = "ES256") -> None:
        self.database = Database(loaded.settings.database)
        self.keyring = Keyring(self.database, Sealer([Secret(root)]), algorithm)
        self.tokens = TokenService(self.keyring, Tokens(), issuer=ISSUER, profile="production")

    async def token(self, **options: Any) -> str:
        return (await self.tokens.issue_asymmetric(PAT, **options)).token

    async def verify(self, token: str) -> VerifiedClaims:
        return await self.tokens.verify(parse(token))

    async def accepts(self, token: str) -> bool:
        try:
            await self.verify(token)
        except idp.errors.TokenInvalid:
            return False
        return True

    async def published(self) -> set[str]:
        """Return the ids of published keys of access tokens."""
        return {key["kid"] for key in (await self.keyring.jwks())["keys"] if key["alg"] == self.keyring._algorithm}

    async def rotate(self, **options: Any) -> str:
        """Rotate the keys of access tokens, and return the new one's id."""
        (kid,) = await self.keyring.rotate(self.keyring._algorithm, **options)
        return kid

    async def signs_with(self) -> str:
        return (await self.keyring.signing_key()).kid


@pytest.fixture(scope="module")
async def migrated(postgres: EmbeddedPostgres) -> LoadedSettings:
    environ = {"DATABASE_URL": postgres.create_database("keyring"), "IDP_SECRET_KEY": ROOT, **PATIENT}
    loaded = load("production", environ=environ)
    await prepare(loaded)
    return loaded


Start = Callable[..., Process]


@pytest.fixture
async def start(migrated: LoadedSettings) -> AsyncIterator[Start]:
    """Start processes on a database without any key."""
    await rows(migrated, "TRUNCATE idp.signing_keys")
    started: list[Process] = []

    def start(**options: Any) -> Process:
        started.append(Process(migrated, **options))
        return started[-1]

    yield start
    for process in started:
        await process.database.close()


async def rows(loaded: LoadedSettings, statement: str, *values: Any) -> list[asyncpg.Record]:
    assert loaded.settings.database.url is not None
    connection = await asyncpg.connect(loaded.settings.database.url.reveal())
    try:
        return await connection.fetch(statement, *values)
    finally:
        await connection.close()


def later(**how_much: float) -> time_machine.travel:
    return time_machine.travel(datetime.now(UTC) + timedelta(**how_much), tick=True)


@asynccontextmanager
async def looks(database: Database) -> AsyncIterator[list[str]]:
    """Collect the statements that read or write signing keys on these connections."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "signing_keys" in statement:
            seen.append(statement)

    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(database.engine.sync_engine, "before_cursor_execute", note)


# --- the first key ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [3, 12])
async def test_processes_that_start_at_once_make_one_key(start: Start, migrated: LoadedSettings, number: int) -> None:
    """SEC-31: whoever is first makes it, and the others sign with the same."""
    processes = [start() for _ in range(number)]
    kids = await asyncio.gather(*(process.signs_with() for process in processes))
    assert len(set(kids)) == 1
    assert [row["kid"] for row in await rows(migrated, "SELECT kid FROM idp.signing_keys")] == [kids[0]]


async def test_three_real_processes_that_start_at_once_make_one_key(start: Start, migrated: LoadedSettings) -> None:
    """The same through the command line: `idp signing-keys list` makes the first key if there is none."""
    assert migrated.settings.database.url is not None
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(idp.__file__).parents[1]),
        "DATABASE_URL": migrated.settings.database.url.reveal(),
        "IDP_SECRET_KEY": ROOT,
    }
    commands = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "idp.cli.main",
            "signing-keys",
            "list",
            "-o",
            "json",
            env=environ,
            stdout=subprocess.PIPE,
        )
        for _ in range(3)
    ]
    said = [(await command.communicate())[0] for command in commands]
    assert [command.returncode for command in commands] == [0, 0, 0]
    kids = {key["kid"] for text in said for key in json.loads(text)}
    assert len(kids) == 2, "one of each algorithm"
    assert kids == {key.kid for key in (await start().keyring.signing_keys()).values()}


async def test_one_process_under_load_makes_one_key(start: Start, migrated: LoadedSettings) -> None:
    """Single flight: a hundred requests at the first second."""
    process = start()
    tokens = await asyncio.gather(*(process.token() for _ in range(100)))
    assert len(await rows(migrated, "SELECT kid FROM idp.signing_keys")) == 1
    assert all([await start().accepts(token) for token in tokens[:3]])


async def test_each_algorithm_has_a_key_of_its_own(start: Start) -> None:
    """C-06b: another algorithm is another key; tokens signed with the old one stay good, and both are published."""
    elliptic, rsa = start(), start(algorithm="RS256")
    old, new = await elliptic.token(), await rsa.token()
    assert await rsa.accepts(old)
    assert await start().accepts(new)
    published = (await start().keyring.jwks())["keys"]
    assert {key["alg"] for key in published} == {"ES256", "RS256"}


# --- staged rotation: SEC-31 -----------------------------------------------------------------------------------------


def test_a_key_is_published_longer_than_anyone_caches_the_jwks_and_kept_longer_than_any_token_lives() -> None:
    """SEC-31: five minutes at a verifier, one in another process; twelve hours for a token of `idp dev`."""
    assert timedelta(seconds=300 + keyring_module._RELOAD_SECONDS) < PUBLISH_BEFORE_USE
    assert timedelta(hours=12) < KEEP_AFTER_USE


async def test_a_new_key_is_published_before_it_signs(start: Start) -> None:
    process = start()
    old = await process.signs_with()
    new = await process.rotate()
    assert await process.published() == await start().published() == {old, new}
    assert await process.signs_with() == await start().signs_with() == old
    with later(minutes=9, seconds=50):
        assert await start().signs_with() == old
    with later(minutes=10, seconds=1):
        assert await process.signs_with() == new, "the process that rotated, from its memory"
        assert await start().signs_with() == new, "and one that reads it now"


async def test_tokens_in_flight_stay_valid_through_a_rotation(start: Start) -> None:
    """SEC-31: a token made by the old key in its last second, to the end of its life."""
    process = start()
    before = await process.token(life=timedelta(hours=1))
    await process.rotate()
    with later(minutes=9, seconds=58):
        last = await process.token(life=timedelta(hours=12))
    with later(minutes=11):
        after = await process.token(life=timedelta(hours=1))
        assert json.loads(_part(after, 0))["kid"] != json.loads(_part(before, 0))["kid"]
        for each in (process, start()):
            assert [await each.accepts(token) for token in (before, last, after)] == [True, True, True]
    with later(hours=12):
        assert await start().accepts(last)


def _part(token: str, number: int) -> bytes:
    part = token.split(".")[number]
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


async def test_an_expired_key_is_refused_and_no_longer_published(start: Start) -> None:
    """SEC-31: by the process that holds it in memory as by one that starts later."""
    process = start()
    old = await process.token(life=timedelta(days=2))
    kid = await process.signs_with()
    await process.rotate()
    with later(hours=13, minutes=9):
        assert await process.accepts(old)
        assert kid in await start().published()
    with later(hours=13, minutes=11):
        for each in (process, start()):
            assert not await each.accepts(old)
            assert kid not in await each.published()


async def test_a_second_rotation_right_after_the_first_keeps_all_three(start: Start) -> None:
    process = start()
    first = await process.token(life=timedelta(hours=1))
    middle, last = await process.rotate(), await process.rotate()
    with later(minutes=11):
        assert await start().signs_with() == last
        assert {middle, last} < await start().published()
        assert await start().accepts(first)


async def test_a_rotation_before_the_first_token_never_leaves_a_dying_key_to_sign(start: Start) -> None:
    """SEC-31: whoever signs must stay published for the life of its tokens."""
    process = start()
    await process.rotate()
    for hours in (0, 0.2, 6, 12.9, 13.5):
        with later(hours=hours):
            key = await start().keyring.signing_key()
            assert key.expires_at is None, f"after {hours} hours a key signs that is about to go"


async def test_a_validator_that_caches_the_jwks_never_fails(start: Start) -> None:
    """SEC-31: it fetches every five minutes, as the JWKS allows; access tokens and ID tokens of both algorithms."""
    signer, rotator = start(), start()
    ids = IdTokens(signer.keyring, issuer=ISSUER, profile="production")
    cached: set[str] = set()
    seen: set[str] = set()
    for minute in range(40):
        with later(minutes=minute):
            if minute % 5 == 0:
                cached = {key["kid"] for key in (await start().keyring.jwks())["keys"]}
            if minute == 7:
                await rotator.keyring.rotate()
                await signer.keyring._refresh(0)
            claims = {"sub": PAT.id, "aud": "client", "exp": 2**33}
            tokens = [await signer.token()] + [await ids.sign(claims, algorithm=each) for each in ("RS256", "ES256")]
            kids = {json.loads(_part(token, 0))["kid"] for token in tokens}
            assert kids <= cached, f"minute {minute}"
            seen |= kids
    assert len(seen) == 4, "both keys were replaced meanwhile"


# --- by age, and one by one ------------------------------------------------------------------------------------------

MONTH = timedelta(days=30)


async def test_keys_are_rotated_by_age_once(start: Start, migrated: LoadedSettings) -> None:
    """SEC-31: many processes notice at once; the new key is announced as by hand."""
    processes = [start() for _ in range(5)]
    old = {key.kid for key in (await processes[0].keyring.signing_keys()).values()}
    assert await processes[0].keyring.rotate_due(MONTH) == []
    with later(days=31):
        made = await asyncio.gather(*(process.keyring.rotate_due(MONTH) for process in processes))
        new = {kid for kids in made for kid in kids}
        assert sum(map(len, made)) == len(new) == 2, "one of each algorithm"
        assert {row["kid"] for row in await rows(migrated, "SELECT kid FROM idp.signing_keys")} == old | new
        assert await start().signs_with() in old
        assert await start().keyring.rotate_due(MONTH) == []
    with later(days=31, minutes=11):
        assert await start().signs_with() in new
    with later(days=31, hours=14):
        assert set(await start().published()) < new


async def test_rotation_by_age_can_be_off(start: Start) -> None:
    process = start()
    await process.signs_with()
    with later(days=4000):
        await KeyUpkeep(process.keyring, None).rotate()
        assert len(await process.published()) == 1
        await KeyUpkeep(process.keyring, MONTH).rotate()
        assert len(await process.published()) == 2


async def test_a_signing_key_is_retired_by_a_successor(start: Start) -> None:
    process = start()
    old = await process.signs_with()
    token = await process.token(life=timedelta(hours=1))
    new = await process.keyring.retire(old)
    assert await process.signs_with() == old
    with later(minutes=11):
        assert await start().signs_with() == new
        assert await start().accepts(token)
        assert await process.keyring.retire(old) is None, "it expires already"
        assert await start().accepts(token)


async def test_an_announced_key_is_withdrawn(start: Start) -> None:
    """The one that signs goes on, without an end."""
    process = start()
    old = await process.signs_with()
    new = await process.rotate()
    assert await process.keyring.retire(new) is None
    for hours in (0, 1, 20):
        with later(hours=hours):
            assert await start().signs_with() == old
            assert await start().published() == {old}


async def test_one_leaked_key_is_revoked_alone(start: Start) -> None:
    """SEC-31: its tokens are refused at once; the key of the other algorithm stays."""
    process = start()
    keys = await process.keyring.signing_keys()
    token, leaked = await process.token(), keys["ES256"].kid
    new = await process.keyring.retire(leaked, at_once=True)
    for each in (process, start()):
        assert await each.signs_with() == new
        assert not await each.accepts(token)
        assert (await each.keyring.signing_key("RS256")).kid == keys["RS256"].kid
    with pytest.raises(SigningKeyNotFound):
        await process.keyring.retire(leaked)


async def test_a_leaked_key_is_ended_at_once(start: Start) -> None:
    """`idp signing-keys rotate --now`: what the thief signs is refused, and the new key signs in the same second."""
    thief, honest = start(), start()
    stolen = await thief.signs_with()
    new = await honest.rotate(at_once=True)
    forged = await thief.token()
    assert json.loads(_part(forged, 0))["kid"] == stolen
    for each in (honest, start()):
        assert await each.signs_with() == new
        assert not await each.accepts(forged)
        assert await each.published() == {new}


async def test_a_key_staged_during_a_leak_is_not_restored(start: Start) -> None:
    process = start()
    await process.signs_with()
    await process.rotate()
    new = await process.rotate(at_once=True)
    with later(minutes=11):
        assert await start().signs_with() == await process.signs_with() == new


async def test_a_process_that_only_verifies_learns_of_a_revoked_key(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SEC-31: it knows the key and never signs, so nothing else would make it look."""
    monkeypatch.setattr(keyring_module, "_RELOAD_SECONDS", 0.05)
    signer, verifier = start(), start()
    token = await signer.token()
    assert await verifier.accepts(token)
    await signer.rotate(at_once=True)
    await asyncio.sleep(0.1)
    assert not await verifier.accepts(token)


async def test_a_key_that_another_process_made_is_found_at_once(start: Start) -> None:
    """SEC-22: the first unknown `kid` after a cool-down makes a look, and that look finds it."""
    signer, verifier = start(), start()
    await verifier.signs_with()
    await signer.rotate(at_once=True)
    token = await signer.token()
    await asyncio.sleep(keyring_module._COOL_DOWN_SECONDS + 0.1)
    assert await verifier.accepts(token)


# --- at rest: SEC-32 -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
async def test_private_keys_are_sealed_at_rest(start: Start, migrated: LoadedSettings, algorithm: str) -> None:
    """SEC-32: read the whole row as text; no private number is in it, in no spelling."""
    key = await start(algorithm=algorithm).keyring.signing_key()
    private = key.key.as_dict(private=True)
    (row,) = await rows(migrated, "SELECT k::text AS text, k.* FROM idp.signing_keys k")
    secrets = {name: private[name] for name in ("d", "p", "q", "dp", "dq", "qi") if name in private}
    assert secrets
    for name, value in secrets.items():
        raw = urlsafe_b64decode(value + "=" * (-len(value) % 4))
        for spelling in (value, raw.hex(), str(int.from_bytes(raw, "big")), b64url(raw.rstrip(b"\0"))):
            assert spelling not in row["text"], f"{name} is readable"
    assert not secrets.keys() & json.loads(row["public_jwk"]).keys()
    header = json.loads(_part(row["sealed_private_jwk"], 0))
    assert (header["alg"], header["enc"]) == ("A256KW", "A256GCM")


async def test_no_key_shows_itself_in_a_log(start: Start) -> None:
    """SEC-32: `repr` of a key, of a ring and of a token hides what is in them."""
    process = start()
    key = await process.keyring.signing_key()
    issued = await process.tokens.issue_asymmetric(PAT)
    shown = f"{key!r} {process.keyring!r} {issued!r} {parse(issued.token)!r} {await process.verify(issued.token)!r}"
    assert str(key.key.as_dict(private=True)["d"]) not in shown
    assert issued.token not in shown
    assert issued.token.split(".")[2] not in shown


async def apply(migrated: LoadedSettings, key: Any, sealed: str, kid: str | None = None) -> str:
    """Write a key into the table, as somebody could who reached the database."""
    kid = kid or key.thumbprint()
    await rows(
        migrated,
        "INSERT INTO idp.signing_keys (kid, algorithm, public_jwk, sealed_private_jwk, created_at, signs_from)"
        " VALUES ($1, 'ES256', $2, $3, now(), now())",
        kid,
        json.dumps(public_jwk(key, "ES256")),
        sealed,
    )
    return kid


@pytest.mark.parametrize(
    "sealed", ["", ".", "x", "e30.e30.e30.e30.e30", "bnVsbA.x.x.x.x", "W10.x.x.x.x", "MQ.x.x.x.x", "é", "{}", "."*4]
)  # fmt: skip
async def test_a_row_that_we_did_not_seal_is_neither_used_nor_published(
    start: Start, migrated: LoadedSettings, sealed: str
) -> None:
    """SEC-32: nobody adds a key by writing a row, and a broken row breaks nothing."""
    ours = await start().token()
    attacker = generate("ES256")
    kid = await apply(migrated, attacker, sealed)
    process = start()
    with structlog.testing.capture_logs() as logged:
        assert kid not in await process.published()
        assert await process.signs_with() != kid
        assert await process.accepts(ours)
        assert await process.keyring.verification_key(kid) is None
    assert {"kid": kid, "log_level": "error"}.items() <= logged[0].items()


async def test_a_key_sealed_under_another_root_secret_is_neither_used_nor_published(
    start: Start, migrated: LoadedSettings
) -> None:
    """C-06c, decision 0027: and this process makes one of its own only when it is told to."""
    stranger = start(root=root_secret())
    token, theirs = await stranger.token(), await stranger.signs_with()
    process = start()
    with pytest.raises(SigningKeysSealed):
        await process.signs_with()
    await process.rotate(at_once=True)
    assert await process.signs_with() != theirs
    assert await process.published() == {await process.signs_with()}
    assert not await process.accepts(token)


# --- floods and outages: SEC-22 --------------------------------------------------------------------------------------


async def test_a_flood_of_unknown_kids_makes_one_look_up(start: Start) -> None:
    """SEC-22: a thousand at once, one look; and none more within the cool-down."""
    process = start()
    await process.token()
    await asyncio.sleep(keyring_module._COOL_DOWN_SECONDS + 0.1)
    async with looks(process.database) as seen:
        found = await asyncio.gather(*(process.keyring.verification_key(f"unknown-{n}") for n in range(1000)))
        assert found == [None] * 1000
        assert len(seen) == 1
        for n in range(100):
            await process.keyring.verification_key(f"another-{n}")
        assert len(seen) == 1


@pytest.mark.alone
async def test_a_flood_over_http_makes_one_look_up_per_cool_down(service: Service) -> None:
    """SEC-22: with tokens that look like ours in everything but the key."""
    forge = await Forge.of(service, await service.register())
    tokens = [forge.token(header=forge.header(kid=f"unknown-{n}")) for n in range(200)]
    began = time.monotonic()
    async with looks(service.app.core.database) as seen:
        answers = await asyncio.gather(*(service.me({"Authorization": f"Bearer {token}"}) for token in tokens))
    cool_downs = (time.monotonic() - began) / keyring_module._COOL_DOWN_SECONDS
    assert {answer.status_code for answer in answers} == {401}
    assert len(seen) <= cool_downs + 1, f"{len(seen)} looks in {cool_downs:.1f} cool-downs"


async def test_a_key_in_memory_needs_no_database(start: Start) -> None:
    """SEC-30: what was read within the last minute is enough to verify a signature."""
    process = start()
    token = await process.token()
    async with looks(process.database) as seen:
        for _ in range(50):
            assert await process.accepts(token)
        assert seen == []


@pytest.mark.alone
async def test_without_a_database_an_unknown_key_is_unavailable_and_never_invalid(tmp_path: Path) -> None:
    """SEC-30, rule 1: refused connections and a frozen server; nobody waits in line behind the others."""
    with EmbeddedPostgres(tmp_path / "postgres") as server:
        loaded = load("production", environ={"DATABASE_URL": server.url, "IDP_SECRET_KEY": ROOT})
        await prepare(loaded)
        process, fresh, late = Process(loaded), Process(loaded), Process(loaded)
        token = await process.token()
        server.pause()
        began = time.monotonic()
        outcomes = await asyncio.gather(*(fresh.verify(token) for _ in range(40)), return_exceptions=True)
        seconds = time.monotonic() - began
        server.resume()
        assert {type(outcome) for outcome in outcomes} == {DatabaseUnavailable}
        assert seconds < 5, f"40 requests waited {seconds:.1f} s in line"
        await asyncio.sleep(keyring_module._RETRY_SECONDS + 0.1)
        assert await fresh.accepts(token), "recovery needs no restart"
        server.stop()
        with pytest.raises(DatabaseUnavailable):
            await late.verify(token)
        assert await process.accepts(token), "its keys are in memory"
        for each in (process, fresh, late):
            await each.database.close()


async def test_without_a_database_the_jwks_is_503_and_not_an_empty_set(tmp_path: Path) -> None:
    """SEC-30: a verifier that cached an empty set would refuse everyone."""
    with EmbeddedPostgres(tmp_path / "postgres") as server:
        async with running(server.url, profile="production") as service:
            server.stop()
            answer = await service.client.get("/.well-known/jwks.json")
            assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
            assert answer.headers["Retry-After"] == "1"
            assert answer.headers["Cache-Control"] == "no-store"
