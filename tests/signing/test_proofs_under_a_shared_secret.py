"""A secret that other services know signs no proof in a request (decision 0025)."""

import base64
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from factories import PASSWORD, Service, principal, root_secret, running, until_it_hears, user
from idp.apikeys.secret import generate
from idp.authn.verdicts import Verdict, Verdicts
from idp.cache import SharedCache, SharedStore, connect
from idp.db.snapshot import STAMP, Stamp
from idp.dev.embedded import EmbeddedPostgres, EmbeddedValkey
from idp.principal.model import AuthMethod
from idp.settings import Secret
from idp.signing.sealing import derive

USERS = "/api/auth/admin/users"
SHARED = root_secret()
STAND_INS = [
    {"IDP_SECRET_KEY": "", "AUTH_JWT_SECRET_KEY": SHARED},
    {"IDP_SECRET_KEY": "", "JWT_SECRET_KEY": SHARED},
]
SHARED_BESIDE_AN_OWN_ONE = [
    {"AUTH_JWT_SECRET_KEY": SHARED},
    {"JWT_SECRET_KEY": SHARED},
    {"AUTH_JWT_PREVIOUS_SECRET_KEYS": f"{root_secret()},{SHARED}"},
]


@asynccontextmanager
async def deployed(postgres: EmbeddedPostgres, valkey: EmbeddedValkey, **environ: str) -> AsyncIterator[Service]:
    url = postgres.create_database(f"proofs_{uuid7().hex[-8:]}")
    async with running(url, valkey_url=valkey.url, profile="production", environ=environ) as service:
        yield service


def label_of_verdicts(service: Service) -> str:
    """Return what the key of shared verdicts is derived for: everybody can know that."""
    (label,) = (label for label in service.app.core.proofs.labels if label.startswith("verdicts of "))
    return label


@asynccontextmanager
async def forging(service: Service, key: bytes) -> AsyncIterator[Verdicts]:
    """Give a writer of shared verdicts that signs with this key; at the end of the block they are in Valkey."""
    await until_it_hears(service)
    client = connect(service.loaded.settings.valkey.url.reveal())  # type: ignore[union-attr]
    assert client is not None
    cache = SharedCache(SharedStore(client))
    yield Verdicts(service.app.core.change_listener, cache, key=key, ttl=600, entries=100)
    assert cache._task is not None
    await cache._task
    await client.aclose()


async def stamp_of(service: Service) -> Stamp:
    (row,) = await service.sql(f"SELECT {STAMP}")
    return Stamp.parse(row["instance"], row["snapshot"])


async def apply(service: Service, key: bytes) -> str:
    """Write a verdict to Valkey, signed with this key: a service token that manages everything. Return the token."""
    token = generate("amp_live")
    who = principal(method=AuthMethod.SERVICE_TOKEN, id=str(uuid7()), name="forged", scopes=("idp:manage",))
    async with forging(service, key) as forger:
        stamp = await stamp_of(service)
        forger.keep(forger.name(token), Verdict(who), stamp, (f"credential:{uuid7()}",), read_version=-1)
    return token


@pytest.mark.parametrize("environ", STAND_INS)
async def test_a_cached_verdict_that_a_sibling_service_signs_is_not_there(
    postgres: EmbeddedPostgres, valkey: EmbeddedValkey, environ: dict[str, str]
) -> None:
    """Where a shared secret stands in for the root secret, its key is mixed with a salt of the database."""
    async with deployed(postgres, valkey, **environ) as service:
        token = await apply(service, derive(Secret(SHARED), label_of_verdicts(service)))
        assert (await service.validate(token))["valid"] is False
        answer = await service.client.get(USERS, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 401


async def test_a_verdict_only_in_valkey_allows_no_management(
    postgres: EmbeddedPostgres, valkey: EmbeddedValkey
) -> None:
    """Even one that is signed with the right key: the database has to confirm it, for reading and for writing."""
    async with deployed(postgres, valkey) as service:
        key = service.app.core.proofs.of(label_of_verdicts(service)).current
        token = await apply(service, key)
        bearer = {"Authorization": f"Bearer {token}"}
        assert (await service.validate(token))["valid"] is True, "it is a verdict as the service itself writes it"
        for method, path in (("GET", USERS), ("GET", "/auth/tokens"), ("POST", "/auth/tokens"), ("POST", "/teams")):
            answer = await service.client.request(method, path, json={"name": "lasting"}, headers=bearer)
            assert answer.status_code in {401, 404, 405}, f"{method} {path}: {answer.text}"
        assert await service.sql("SELECT 1 FROM idp.api_keys") == []


async def test_a_verdict_that_only_valkey_holds_signs_no_user_out(
    postgres: EmbeddedPostgres, valkey: EmbeddedValkey
) -> None:
    """Routes that look at the caller themselves ask the database, too."""
    async with deployed(postgres, valkey) as service:
        person, token = await service.register(), generate("amp_live")
        who = principal(user(id=person.id, email=person.email), id=str(uuid7()))
        async with forging(service, service.app.core.proofs.of(label_of_verdicts(service)).current) as forger:
            stamp = await stamp_of(service)
            forger.keep(forger.name(token), Verdict(who), stamp, (f"user:{person.id}",), read_version=-1)
        bearer = {"Authorization": f"Bearer {token}"}
        assert (await service.me(bearer)).status_code == 200, "it is a verdict as the service itself writes it"
        for path in ("/auth/logout-all", f"/auth/logout?session_id={person.session_id}"):
            assert (await service.client.post(path, headers=bearer)).status_code == 401
        assert (await service.me(person.bearer)).status_code == 200


async def test_a_user_is_no_administrator_if_only_valkey_says_so(
    postgres: EmbeddedPostgres, valkey: EmbeddedValkey
) -> None:
    """A good access token, and a forged record of the session it names."""
    async with deployed(postgres, valkey) as service:
        person = await service.register()
        key = service.app.core.proofs.of(label_of_verdicts(service)).current
        admin = user(id=person.id, email=person.email, roles=("admin", "user"))
        who = principal(admin, id=person.session_id, session_id=person.session_id)
        about = (f"session:{person.session_id}", f"user:{person.id}")
        async with forging(service, key) as forger:
            name = forger.name_of_session(str(UUID(person.session_id)))
            forger.keep(name, Verdict(who), await stamp_of(service), about, read_version=-1)
        assert (await service.me(person.bearer)).json()["roles"] == ["admin", "user"], "as one of the service's own"
        assert (await service.client.get(USERS, headers=person.bearer)).status_code == 403


@pytest.mark.parametrize("environ", [*STAND_INS, *SHARED_BESIDE_AN_OWN_ONE])
@pytest.mark.parametrize("label", ["known-device", "csrf", "refresh-token-successor"])
async def test_no_proof_is_made_with_a_key_that_siblings_can_derive(
    postgres: EmbeddedPostgres, valkey: EmbeddedValkey, environ: dict[str, str], label: str
) -> None:
    """Neither where a shared secret stands in, nor beside an IDP_SECRET_KEY, now or as a previous one."""
    async with deployed(postgres, valkey, **environ) as service:
        keys = service.app.core.proofs.of(label).all
        assert derive(Secret(SHARED), label) not in keys
        (row,) = await service.sql("SELECT value FROM idp.installation WHERE name = 'proof_salt'")
        stands_in = environ.get("IDP_SECRET_KEY") == ""
        assert (derive(Secret(SHARED), label, salt=row["value"].encode()) in keys) is stands_in


async def test_a_forged_device_cookie_is_as_good_as_none(postgres: EmbeddedPostgres, valkey: EmbeddedValkey) -> None:
    """Guesses from a "known device" that a sibling service made up count against the account."""
    environ = {"AUTH_JWT_SECRET_KEY": SHARED, "IDP_RATE_LIMITS__FAILED_LOGINS_PER_PAIR": "3"}
    async with deployed(postgres, valkey, **environ) as service:
        person = await service.register()
        device = "A" * 22
        digest = hmac.digest(derive(Secret(SHARED), "known-device"), f"{device}\n1\n{person.id}".encode(), "sha256")[
            :16
        ]
        cookie = f"{device}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"
        statuses = []
        for number in range(8):
            answer = await service.client.post(
                "/auth/login",
                json={"email": person.email, "password": f"{PASSWORD}{number}"},
                headers={"Cookie": f"idp_device={cookie}"},
            )
            statuses.append(answer.status_code)
        assert statuses[-1] == 429


async def test_under_a_stand_in_everything_that_needs_a_proof_works_and_survives_a_restart(
    postgres: EmbeddedPostgres, valkey: EmbeddedValkey
) -> None:
    """C-06c: the salt is read at the start, from the one place that has it; two processes at once read the same."""
    url = postgres.create_database("stands_in")
    environ = {"IDP_SECRET_KEY": "", "JWT_SECRET_KEY": SHARED, "IDP_PUBLIC_URL": "https://id.example.com"}
    async with running(url, valkey_url=valkey.url, profile="production", environ=environ) as service:
        await service.sql("DELETE FROM idp.installation WHERE name = 'proof_salt'")
        person = await service.register()
        first = await service.refresh(person.refresh_token)
        assert first.status_code == 200
    async with (
        running(url, valkey_url=valkey.url, profile="production", environ=environ, migrate=False) as one,
        running(url, valkey_url=valkey.url, profile="production", environ=environ, migrate=False) as two,
    ):
        assert one.app.core.proofs.of("csrf").all == two.app.core.proofs.of("csrf").all
        again = await two.refresh(first.json()["refresh_token"])
        assert again.status_code == 200
        repeated = await one.refresh(first.json()["refresh_token"])
        assert repeated.json()["refresh_token"] == again.json()["refresh_token"], "derived alike by both"
