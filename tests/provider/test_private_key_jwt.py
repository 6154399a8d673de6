"""Clients that sign assertions with a key of their own (RFC 7523, `private_key_jwt`; SEC-54)."""

import asyncio
import base64
import secrets
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import jwt as pyjwt
import pytest
import time_machine
from joserfc.jwk import ECKey, RSAKey

from authn.issuer_support import Issuer, key_of, running_issuer
from factories import Person, Service, root_secret, running
from idp.dev.embedded import EmbeddedPostgres
from provider.test_client_credentials import CLIENTS, TOKEN, basic

TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
EC, RSA = ECKey.generate_key("P-256", private=True), RSAKey.generate_key(2048, private=True)
STRANGER = ECKey.generate_key("P-256", private=True)
LEFT_OUT = object()


@pytest.fixture(scope="module")
async def service(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    async with running(postgres.create_database("private_key_jwt")) as service:
        yield service


@pytest.fixture(scope="module")
async def admin(service: Service) -> Person:
    return await service.register_admin()


@pytest.fixture(scope="module")
async def client(service: Service, admin: Person) -> str:
    """A client with two registered keys; only one has an id."""
    keys = [EC.as_dict(private=False) | {"kid": "ec"}, RSA.as_dict(private=False)]
    return await register(service, admin, jwks={"keys": keys})


async def register(service: Service, admin: Person, **keys: Any) -> str:
    body = {"client_name": "Signing", "scope": "read", "token_endpoint_auth_method": "private_key_jwt", **keys}
    answer = await service.client.post(CLIENTS, headers=admin.bearer, json=body)
    assert answer.status_code == 201, answer.text
    assert "client_secret" not in answer.json()
    return str(answer.json()["client_id"])


def assertion(service: Service, client_id: str, *, key: Any = EC, alg: str = "ES256", **changes: Any) -> str:
    header = {"kid": "ec", **changes.pop("header", {})}
    claims = {
        "iss": client_id,
        "sub": client_id,
        "aud": service.app.core.tokens.issuer,
        "exp": int(time.time()) + 60,
        "iat": int(time.time()),
        "jti": secrets.token_hex(8),
        **changes,
    }
    claims = {name: value for name, value in claims.items() if value is not LEFT_OUT}
    header = {name: value for name, value in header.items() if value is not LEFT_OUT}
    return pyjwt.encode(claims, key.as_pem(private=True), algorithm=alg, headers=header)


async def ask(service: Service, token: str, **form: Any) -> httpx2.Response:
    fields = {"grant_type": "client_credentials", "client_assertion_type": TYPE, "client_assertion": token, **form}
    return await service.client.post(TOKEN, data={name: each for name, each in fields.items() if each is not None})


async def test_a_client_authenticates_with_its_key(service: Service, client: str) -> None:
    """RFC 7523 section 2.2; with and without an id of the key, and with `client_id` beside it."""
    issuer = service.app.core.tokens.issuer
    for token in (
        assertion(service, client),
        assertion(service, client, header={"kid": LEFT_OUT}),
        assertion(service, client, key=RSA, alg="RS256", header={"kid": LEFT_OUT}),
        assertion(service, client, key=RSA, alg="PS256", header={"kid": LEFT_OUT}),
        assertion(service, client, aud=f"{issuer}{TOKEN}"),
        assertion(service, client, aud=[issuer, f"{issuer}{TOKEN}"]),
        assertion(service, client, iat=LEFT_OUT),
        assertion(service, client, header={"typ": "client-authentication+jwt"}),
        assertion(service, client, exp=int(time.time()) + 3600),
    ):
        answer = await ask(service, token)
        assert (answer.status_code, answer.json().get("scope")) == (200, "read"), answer.text
    assert (await ask(service, assertion(service, client), client_id=client)).status_code == 200


async def test_an_assertion_is_used_once(service: Service, client: str) -> None:
    """SEC-54: under a race, and by another client's identifier too."""
    token = assertion(service, client)
    answers = await asyncio.gather(*(ask(service, token) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 19
    again = await ask(service, token)
    assert (again.status_code, again.json()["error"]) == (401, "invalid_client")
    assert "used already" in again.json()["error_description"]


async def test_an_assertion_is_used_once_in_all_processes(postgres: EmbeddedPostgres) -> None:
    """SEC-54, SEC-59."""
    environ = {"IDP_SECRET_KEY": root_secret(), "IDP_PUBLIC_URL": "http://two"}
    url = postgres.create_database("assertions_of_two")
    async with running(url, environ=environ) as one, running(url, environ=environ, migrate=False) as other:
        client_id = await register(one, await one.register_admin(), jwks={"keys": [EC.as_dict(private=False)]})
        token = assertion(one, client_id, header={"kid": LEFT_OUT})
        answers = await asyncio.gather(*(ask(each, token) for each in (one, other) * 5))
        assert sorted(answer.status_code for answer in answers) == [200] + [401] * 9


async def test_a_used_assertion_stays_used_until_it_has_expired(service: Service, client: str) -> None:
    """SEC-54: also at the end of the leeway for the client's clock."""
    token = assertion(service, client)
    assert (await ask(service, token)).status_code == 200
    for seconds in (89, 95):
        with time_machine.travel(datetime.now(UTC) + timedelta(seconds=seconds), tick=True):
            assert (await ask(service, token)).status_code == 401
    (row,) = await service.sql("SELECT max(expires_at) - now() AS left FROM idp.client_assertions")
    assert row["left"] > timedelta(seconds=60)


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "client_x"}, {"sub": "client_x"}, {"iss": LEFT_OUT}, {"sub": LEFT_OUT},
        {"aud": LEFT_OUT}, {"aud": "https://elsewhere.example"}, {"aud": []}, {"aud": ["https://elsewhere.example"]},
        {"exp": LEFT_OUT}, {"exp": int(time.time()) - 60}, {"exp": int(time.time()) + 7200}, {"exp": "soon"},
        {"iat": int(time.time()) + 3600}, {"nbf": int(time.time()) + 3600}, {"jti": LEFT_OUT}, {"jti": ""},
        {"jti": "x" * 513}, {"header": {"kid": "unknown"}}, {"header": {"typ": "at+jwt"}},
        {"header": {"crit": ["x"], "x": 1}}, {"key": STRANGER},
        {"key": RSA, "alg": "RS512", "header": {"kid": LEFT_OUT}},
    ],
)  # fmt: skip
async def test_anything_else_is_refused(service: Service, client: str, changes: dict[str, Any]) -> None:
    """SEC-20, SEC-23, SEC-25, SEC-26, SEC-54."""
    answer = await ask(service, assertion(service, client, **changes))
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client"), answer.text
    assert answer.headers["WWW-Authenticate"] == "Basic"


async def test_an_assertion_for_another_server_too_is_refused(service: Service, client: str) -> None:
    """SEC-54: the other server could present it here."""
    audience = [service.app.core.tokens.issuer, "https://elsewhere.example"]
    assert (await ask(service, assertion(service, client, aud=audience))).status_code == 401


async def test_unsigned_symmetric_and_broken_ones_are_refused(service: Service, client: str) -> None:
    """SEC-20, SEC-27, SEC-28: the public key is no shared secret."""
    good = assertion(service, client)
    header, payload, signature = good.split(".")
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    claims = pyjwt.decode(good, options={"verify_signature": False})
    symmetric = pyjwt.encode(claims, EC.as_dict(private=False)["x"], algorithm="HS256", headers={"kid": "ec"})
    for token in ("x", "", f"{none}.{payload}.", f"{header}.{payload}.", f"{header}=.{payload}.{signature}", symmetric):
        answer = await ask(service, token)
        assert answer.json()["error"] in {"invalid_client", "invalid_request"}, answer.text
        assert answer.status_code in {400, 401}
    assert (await ask(service, good)).status_code == 200, "what was refused used nothing up"


async def test_one_method_per_request(service: Service, client: str) -> None:
    """SEC-48."""
    for form in ({"client_secret": "x"}, {"client_assertion_type": "other"}, {"client_assertion_type": None}):
        answer = await ask(service, assertion(service, client), **form)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request"), form
    fields = {"grant_type": "client_credentials", "client_assertion_type": TYPE}
    fields["client_assertion"] = assertion(service, client)
    both = await service.client.post(TOKEN, headers=basic(client, "x"), data=fields)
    assert (both.status_code, both.json()["error"]) == (400, "invalid_request")
    assert (await ask(service, assertion(service, client), client_id="client_x")).status_code == 401
    for headers, form in (({}, {"client_id": client}), (basic(client, "guess"), {}), (basic(client, ""), {})):
        answer = await service.client.post(TOKEN, headers=headers, data={"grant_type": "client_credentials", **form})
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


async def test_a_client_with_a_secret_cannot_sign_instead(service: Service, admin: Person) -> None:
    """SEC-48: one method per client."""
    body = {"client_name": "Secret", "jwks": {"keys": [EC.as_dict(private=False)]}}
    made = (await service.client.post(CLIENTS, headers=admin.bearer, json=body)).json()
    answer = await ask(service, assertion(service, made["client_id"], header={"kid": LEFT_OUT}))
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


async def test_a_replaced_key_is_refused_at_once(service: Service, admin: Person) -> None:
    """SEC-59: the client's keys are cached like verdicts."""
    client_id = await register(service, admin, jwks={"keys": [EC.as_dict(private=False)]})
    old = {"header": {"kid": LEFT_OUT}}
    assert (await ask(service, assertion(service, client_id, **old))).status_code == 200
    body = {
        "client_name": "Signing",
        "token_endpoint_auth_method": "private_key_jwt",
        "jwks": {"keys": [STRANGER.as_dict(private=False)]},
    }
    url = f"{CLIENTS}/{client_id}"
    assert (await service.client.put(url, headers=admin.bearer, json=body)).status_code == 200
    assert (await ask(service, assertion(service, client_id, **old))).status_code == 401
    assert (await ask(service, assertion(service, client_id, key=STRANGER, **old))).status_code == 200


# --- keys at an address ----------------------------------------------------------------------------------------------


@pytest.fixture
async def keys() -> AsyncIterator[Issuer]:
    async with running_issuer() as issuer:
        yield issuer


def remote(service: Service, client_id: str, kid: str = "rsa-1") -> str:
    return assertion(service, client_id, key=key_of(kid), alg="RS256", header={"kid": kid})


async def test_a_client_rotates_the_keys_at_its_address(service: Service, admin: Person, keys: Issuer) -> None:
    """SEC-54, SEC-66: a new key is found when an assertion names it; without a restart."""
    client_id = await register(service, admin, jwks_uri=f"{keys.url}/keys")
    for _ in range(3):
        assert (await ask(service, remote(service, client_id))).status_code == 200
    assert keys.asked == ["/keys"]
    assert (await ask(service, remote(service, client_id, "rsa-2"))).status_code == 401
    keys.kids.append("rsa-2")
    service.app.core.provider.client_authentication._assertions._remote[f"{keys.url}/keys"]._next_try = float("-inf")
    assert (await ask(service, remote(service, client_id, "rsa-2"))).status_code == 200


async def test_an_address_that_does_not_answer_is_no_error_of_ours(service: Service, admin: Person) -> None:
    """SEC-66: the request waits a bounded time, and the answer is that of a bad assertion."""
    client_id = await register(service, admin, jwks_uri="http://127.0.0.1:9/keys")
    answer = await ask(service, remote(service, client_id))
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert "cannot be fetched" in answer.json()["error_description"]


async def test_production_fetches_no_keys_from_loopback(postgres: EmbeddedPostgres, keys: Issuer) -> None:
    """SEC-66: also if the address was registered before."""
    async with running(postgres.create_database("keys_at_loopback"), profile="production") as service:
        admin = await service.register_admin()
        client_id = await register(service, admin, jwks={"keys": [EC.as_dict(private=False)]})
        await service.sql("UPDATE idp.oauth_clients SET jwks = NULL, jwks_uri = $1", f"{keys.url}/keys")
        assert (await ask(service, remote(service, client_id))).status_code == 401
        assert keys.asked == []
