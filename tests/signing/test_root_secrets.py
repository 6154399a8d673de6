"""The root secret: what it decrypts, its rotation, and its replacement by a shared secret (C-06c, SEC-32)."""

import base64
import hashlib
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from joserfc import jwe
from joserfc.jwk import OctKey

from factories import Person, Service, root_secret, running
from idp.dev.embedded import EmbeddedPostgres
from idp.settings import Secret
from idp.signing.jwt import TokenUser
from idp.signing.sealing import Sealer, derive
from signing.forgery import Forge

PUBLIC_URL = "https://id.example.com"
_numbers = itertools.count(1)


class Deployment:
    """One deployment through its restarts: the database and the public address stay, the environment changes."""

    def __init__(self, postgres: EmbeddedPostgres) -> None:
        self.database_url = postgres.create_database(f"deployment_{next(_numbers)}")
        self._migrated = False

    @asynccontextmanager
    async def start(self, *, production: bool = True, **environ: str) -> AsyncIterator[Service]:
        variables = {"IDP_SECRET_KEY": "", "IDP_PUBLIC_URL": PUBLIC_URL} | environ
        async with running(
            self.database_url,
            profile="production" if production else "development",
            environ=variables,
            migrate=not self._migrated,
        ) as service:
            self._migrated = True
            yield service


@pytest.fixture
def deployment(postgres: EmbeddedPostgres) -> Deployment:
    return Deployment(postgres)


async def asymmetric(service: Service, person: Person) -> str:
    about = TokenUser(id=person.id, email=person.email, email_verified=False)
    return (await service.app.core.tokens.issue_asymmetric(about)).token


async def code_of(service: Service, token: str) -> str:
    """Return "accepted", or the code of the refusal."""
    answer = await service.me({"Authorization": f"Bearer {token}"})
    assert answer.status_code in {200, 401}, answer.text
    return "accepted" if answer.status_code == 200 else answer.json()["code"]


async def kids(service: Service) -> set[str]:
    answer = await service.client.get("/.well-known/jwks.json")
    assert answer.status_code == 200, answer.text
    return {key["kid"] for key in answer.json()["keys"]}


# --- replacing it ----------------------------------------------------------------------------------------------------


async def test_after_a_restart_with_the_same_secret_everything_is_as_before(deployment: Deployment) -> None:
    secret = root_secret()
    async with deployment.start(IDP_SECRET_KEY=secret) as service:
        person, before = await service.register(), await kids(service)
    async with deployment.start(IDP_SECRET_KEY=secret) as service:
        assert await code_of(service, person.token) == "accepted"
        assert await kids(service) == before


async def test_a_previous_secret_opens_the_signing_keys(deployment: Deployment) -> None:
    """C-06c: IDP_PREVIOUS_SECRET_KEYS, at any place in the list: no token dies, the JWKS stays the same."""
    old, new = root_secret(), root_secret()
    async with deployment.start(IDP_SECRET_KEY=old) as service:
        person, before = await service.register(), await kids(service)
    previous = f"{root_secret()},{old}"
    async with deployment.start(IDP_SECRET_KEY=new, IDP_PREVIOUS_SECRET_KEYS=previous) as service:
        assert await code_of(service, person.token) == "accepted"
        assert await kids(service) == before
        rotated = await service.app.core.keyring.rotate(at_once=True)
        token = await asymmetric(service, person)
    async with deployment.start(IDP_SECRET_KEY=new) as service:
        assert await code_of(service, token) == "accepted", "a rotated key is sealed under the new secret alone"
        assert await kids(service) == set(rotated)


async def test_a_changed_secret_is_noticed_and_nothing_new_is_made_silently(deployment: Deployment) -> None:
    """/readyz says so; whoever lost the old one makes a new key deliberately."""
    async with deployment.start(IDP_SECRET_KEY=root_secret()) as service:
        person, before = await service.register(), await kids(service)
    changed = root_secret()
    async with deployment.start(IDP_SECRET_KEY=changed) as service:
        assert await code_of(service, person.token) == "token_invalid"
        ready = await service.client.get("/readyz")
        assert ready.status_code == 503
        assert "IDP_PREVIOUS_SECRET_KEYS" in ready.json()["reason"]
        jwks = await service.client.get("/.well-known/jwks.json")
        assert (jwks.status_code, jwks.json()["code"]) == (503, "signing_keys_sealed")
        assert len(await service.sql("SELECT kid FROM idp.signing_keys")) == 2
        await service.app.core.keyring.rotate(at_once=True)
    async with deployment.start(IDP_SECRET_KEY=changed) as service:
        assert (await service.client.get("/readyz")).json() == {"status": "ok"}
        after = await kids(service)
        assert len(after) == 2
        assert not after & before
        body = {"email": person.email, "password": person.password}
        login = await service.client.post("/auth/login", json=body)
        assert await code_of(service, login.json()["access_token"]) == "accepted"


async def test_going_back_to_the_old_secret_brings_its_key_back(deployment: Deployment) -> None:
    """A wrong secret at one start must not destroy what the right one opens."""
    secret = root_secret()
    async with deployment.start(IDP_SECRET_KEY=secret) as service:
        person = await service.register()
    async with deployment.start(IDP_SECRET_KEY=root_secret()) as service:
        assert (await service.client.get("/readyz")).status_code == 503
    async with deployment.start(IDP_SECRET_KEY=secret) as service:
        assert await code_of(service, person.token) == "accepted"


# --- AUTH_JWT_SECRET_KEY stands in -----------------------------------------------------------------------------------


async def test_the_shared_secret_stands_in_and_becomes_a_previous_one_by_itself(deployment: Deployment) -> None:
    """C-06c: an old deployment brings AUTH_JWT_SECRET_KEY alone; adding IDP_SECRET_KEY later costs nobody anything."""
    shared = root_secret()
    async with deployment.start(AUTH_JWT_SECRET_KEY=shared) as service:
        person, before = await service.register(), await kids(service)
        token = await asymmetric(service, person)
        assert await code_of(service, token) == "accepted"
    root = root_secret()
    async with deployment.start(AUTH_JWT_SECRET_KEY=shared, IDP_SECRET_KEY=root) as service:
        assert await kids(service) == before
        assert await code_of(service, token) == "accepted"
        assert await code_of(service, person.token) == "accepted", "HS256, with the shared secret itself"
        await service.app.core.keyring.rotate(at_once=True)
        rotated = await asymmetric(service, person)
    async with deployment.start(IDP_SECRET_KEY=root) as service:
        assert await code_of(service, rotated) == "accepted", "what is sealed from then on needs the root secret only"


async def test_the_shared_secret_does_not_open_keys_sealed_under_the_root_secret(
    deployment: Deployment,
) -> None:
    """C-06c: sibling services know AUTH_JWT_SECRET_KEY and must not learn a signing key by it."""
    shared = root_secret()
    async with deployment.start(AUTH_JWT_SECRET_KEY=shared, IDP_SECRET_KEY=root_secret()) as service:
        await kids(service)
        rows = await service.sql("SELECT sealed_private_jwk FROM idp.signing_keys")
    sibling = Sealer([Secret(shared)])
    assert [sibling.open(row["sealed_private_jwk"], purpose="signing-key") for row in rows] == [None, None]


# --- sealing ---------------------------------------------------------------------------------------------------------


def test_each_label_gives_a_key_of_its_own() -> None:
    """C-06c: HKDF, one label each; the same secret and label give the same key (RFC 5869)."""
    root = Secret(root_secret())
    keys = [derive(root, label) for label in ("key-encryption", "pepper", "csrf", "successor")]
    assert len(set(keys)) == 4
    assert {len(key) for key in keys} == {32}
    assert derive(root, "pepper") == keys[1]
    assert root.reveal().encode() not in keys


def test_ciphertext_opens_only_unchanged_and_only_with_its_secret() -> None:
    """SEC-32: each part changed in turn, and another secret; the answer is None, never an exception."""
    old, new = Secret(root_secret()), Secret(root_secret())
    sealed = Sealer([old]).seal(b"the private key", purpose="signing-key")
    assert Sealer([new, old]).open(sealed, purpose="signing-key") == b"the private key"
    assert Sealer([new]).open(sealed, purpose="signing-key") is None
    assert Sealer([old]).seal(b"the private key", purpose="signing-key") != sealed, "never the same twice"
    parts = sealed.split(".")
    for number, part in enumerate(parts):
        changed = [*parts]
        changed[number] = part[:-4] + ("AAAA" if part[-4:] != "AAAA" else "BBBB")
        assert Sealer([old]).open(".".join(changed), purpose="signing-key") is None, f"part {number} was changed"
        assert Sealer([old]).open(".".join(parts[:number]), purpose="signing-key") is None, f"cut before part {number}"


def test_a_value_sealed_for_one_purpose_does_not_open_for_another() -> None:
    """SEC-32: a value copied to another table is refused, and so is one whose header was changed to fit there."""
    sealer = Sealer([Secret(root_secret())])
    sealed = sealer.seal(b"an answer with a secret", purpose="idempotent-answer")
    assert sealer.open(sealed, purpose="idempotent-answer") == b"an answer with a secret"
    assert sealer.open(sealed, purpose="mail") is None
    head, rest = sealed.split(".", 1)
    header = json.loads(base64.urlsafe_b64decode(head + "=="))
    for changed in ({**header, "typ": "mail"}, {name: header[name] for name in header if name != "typ"}):
        forged = base64.urlsafe_b64encode(json.dumps(changed, separators=(",", ":")).encode()).rstrip(b"=").decode()
        assert sealer.open(f"{forged}.{rest}", purpose="mail") is None, changed


def test_values_sealed_by_version_1_0_0_still_open() -> None:
    """Values without a purpose are signing keys and mails that wait; they open until they are replaced."""
    root = Secret(root_secret())
    raw = derive(root, "key-encryption")
    header = {"alg": "A256KW", "enc": "A256GCM", "kid": hashlib.sha256(raw).hexdigest()[:16]}
    sealed = jwe.encrypt_compact(header, b"the private key", OctKey.import_key(raw), algorithms=["A256KW", "A256GCM"])
    assert Sealer([root]).open(sealed, purpose="signing-key") == b"the private key"


# --- whose tokens are ours -------------------------------------------------------------------------------------------


async def test_a_token_of_another_deployment_is_refused(service: Service, production: Service) -> None:
    """SEC-15 SEC-24: another issuer is another issuer, however alike everything else is."""
    theirs = await service.register()
    answer = await production.me(theirs.bearer)
    assert (answer.status_code, answer.json()["code"]) == (401, "credential_unrecognised")
    assert (await production.validate(theirs.token))["error"] == "token_invalid"


async def test_a_token_of_a_deployment_with_the_same_address_is_refused(postgres: EmbeddedPostgres) -> None:
    """SEC-20: a copy of the settings with another database has other keys."""
    secret = root_secret()
    async with Deployment(postgres).start(IDP_SECRET_KEY=secret) as one:
        person = await one.register()
    async with Deployment(postgres).start(IDP_SECRET_KEY=secret) as other:
        assert await code_of(other, person.token) == "token_invalid"


async def test_a_development_token_is_refused_in_production_although_its_key_is_right(
    deployment: Deployment,
) -> None:
    """Rule 7: same database, same root secret, same issuer: only `idp_env` differs, and it decides."""
    secret = root_secret()
    async with deployment.start(production=False, IDP_SECRET_KEY=secret) as development:
        person = await development.register()
        assert await code_of(development, person.token) == "accepted"
    async with deployment.start(IDP_SECRET_KEY=secret) as production:
        assert await code_of(production, person.token) == "development_token"
        verdict = await production.validate(person.token)
        assert (verdict["valid"], verdict["error"]) == (False, "token_invalid")
        assert "idp dev" in verdict["detail"]
        forge = await Forge.of(production, person)
        for value in ("production", "", None, False):
            token = forge.token(claims=forge.claims(idp_env=value))
            assert await code_of(production, token) == "development_token", (
                "whatever it says, it was made in development"
            )
        token = await asymmetric(production, person)
    async with deployment.start(production=False, IDP_SECRET_KEY=secret) as development:
        assert await code_of(development, token) == "accepted", "the other way round does no harm"
