"""HS256 tokens for services that decode with a shared secret, in each family's documented form (C-06b)."""

import json
import secrets
import time
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import jwt as pyjwt
import pytest
from jose import jwt as python_jose

from factories import Person, Service, running
from idp.dev.embedded import EmbeddedPostgres
from idp.signing.jwt import Family, TokenUser
from signing.forgery import LEFT_OUT, changed, compact, hs
from table_tests import table

AUTH_SECRET = secrets.token_urlsafe(40)  # S3's AUTH_JWT_SECRET_KEY
API_SECRET = secrets.token_urlsafe(40)  # S4's JWT_SECRET_KEY
PREVIOUS = secrets.token_urlsafe(40)
SESSION = {"sid", "auth_time", "amr", "acr"}
ENVIRON = {
    "AUTH_JWT_SECRET_KEY": AUTH_SECRET,
    "JWT_SECRET_KEY": API_SECRET,
    "AUTH_JWT_PREVIOUS_SECRET_KEYS": PREVIOUS,
}


@pytest.fixture(scope="module")
async def shared(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    """Production with both families' secrets and a previous one; tokens of the old services are refused."""
    async with running(postgres.create_database("shared_secret"), profile="production", environ=ENVIRON) as service:
        yield service


@pytest.fixture(scope="module")
async def legacy(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    """The same, and tokens of the old services are accepted."""
    environ = ENVIRON | {"IDP_TOKENS__ACCEPT_LEGACY": "true"}
    async with running(postgres.create_database("legacy"), profile="production", environ=environ) as service:
        yield service


def claims_of(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    return json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def made(claims: dict[str, Any], secret: str = AUTH_SECRET, *, alg: str = "HS256", **header: Any) -> str:
    """Return a token as any holder of the secret can make one."""
    return compact(changed({"alg": alg, "typ": "JWT"}, header), claims, hs(secret.encode(), alg))


def ours(person: Person, **changes: Any) -> dict[str, Any]:
    """Return the claims that we put into such a token ourselves."""
    now = int(time.time())
    claims = {"sub": person.email, "uid": person.id, "iat": now, "exp": now + 600, "jti": "j", "email_verified": False}
    return changed(claims | {"sid": person.session_id}, changes)


async def api_auth_token(service: Service, person: Person) -> str:
    """Return what `/api/auth/*` issues (S4-37)."""
    about = TokenUser(id=person.id, email=person.email, email_verified=False, roles=("user",))
    return (await service.app.core.tokens.issue(about, Family.API_AUTH, session=person.token_session)).token


# --- the shapes ------------------------------------------------------------------------------------------------------


async def test_pyjwt_and_python_jose_decode_a_login_without_an_audience(shared: Service) -> None:
    """S3-36 S3-70: `sub` is the e-mail, and the old call `decode(token, secret, algorithms=["HS256"])` still works."""
    person = await shared.register()
    for library in (pyjwt, python_jose):
        claims = library.decode(person.token, AUTH_SECRET, algorithms=["HS256"])
        assert claims["sub"] == person.email
        assert claims["exp"] > time.time()
    assert set(claims_of(person.token)) == SESSION | {"sub", "uid", "exp", "iat", "jti", "email_verified"}
    assert pyjwt.get_unverified_header(person.token) == {"alg": "HS256", "typ": "JWT"}


async def test_pyjwt_and_python_jose_decode_s4s_shape(shared: Service) -> None:
    """S4-37: `sub` is the id, `type` is "access", `roles` is a list; signed with the family's own secret (C-06)."""
    person = await shared.register()
    token = await api_auth_token(shared, person)
    for library in (pyjwt, python_jose):
        claims = library.decode(token, API_SECRET, algorithms=["HS256"])
        assert (claims["sub"], claims["type"], claims["roles"]) == (person.id, "access", ["user"])
    assert set(claims_of(token)) == SESSION | {"sub", "uid", "exp", "iat", "jti", "type", "roles"}
    with pytest.raises(pyjwt.InvalidSignatureError):
        pyjwt.decode(token, AUTH_SECRET, algorithms=["HS256"])


async def test_both_shapes_are_accepted_and_say_that_others_hold_the_secret(shared: Service) -> None:
    """C-06b: the same person either way."""
    person = await shared.register()
    for token in (person.token, await api_auth_token(shared, person)):
        answer = await shared.me({"Authorization": f"Bearer {token}"})
        assert (answer.status_code, answer.json()["id"]) == (200, person.id)


async def test_a_development_token_says_so_in_this_shape_too(postgres: EmbeddedPostgres, shared: Service) -> None:
    """Rule 7: production refuses it although the secret is right."""
    async with running(postgres.create_database("shared_secret_dev"), environ=ENVIRON) as development:
        person = await development.register()
        assert claims_of(person.token)["idp_env"] == "development"
        assert (await development.me(person.bearer)).status_code == 200
        answer = await shared.me(person.bearer)
        assert (answer.status_code, answer.json()["code"]) == (401, "development_token")


async def test_without_a_secret_for_a_family_its_tokens_stay_asymmetric(postgres: EmbeddedPostgres) -> None:
    """C-06: each family's routes sign with their own secret, never with the other family's."""
    environ = {"JWT_SECRET_KEY": API_SECRET}
    async with running(postgres.create_database("one_family"), environ=environ) as service:
        person = await service.register()
        assert pyjwt.get_unverified_header(person.token)["typ"] == "at+jwt"
        assert pyjwt.get_unverified_header(await api_auth_token(service, person))["alg"] == "HS256"


async def test_es256_can_be_chosen_although_a_secret_is_set(postgres: EmbeddedPostgres) -> None:
    """C-06b: then tokens are signed with the key ring, and the secret is only good for verifying old ones."""
    environ = {"AUTH_JWT_SECRET_KEY": AUTH_SECRET, "AUTH_JWT_ALGORITHM": "ES256"}
    async with running(postgres.create_database("chosen"), environ=environ) as service:
        person = await service.register()
        assert pyjwt.get_unverified_header(person.token)["alg"] == "ES256"
        old = made(ours(person))
        assert (await service.me({"Authorization": f"Bearer {old}"})).status_code == 200


# --- previous secrets and legacy tokens ------------------------------------------------------------------------------


async def test_a_previous_secret_still_verifies_and_no_longer_signs(shared: Service) -> None:
    """C-06: AUTH_JWT_PREVIOUS_SECRET_KEYS."""
    person = await shared.register()
    answer = await shared.me({"Authorization": f"Bearer {made(ours(person), PREVIOUS)}"})
    assert (answer.status_code, answer.json()["id"]) == (200, person.id)
    with pytest.raises(pyjwt.InvalidSignatureError):
        pyjwt.decode(person.token, PREVIOUS, algorithms=["HS256"])


def s3_token(person: Person, secret: str = AUTH_SECRET) -> str:
    """S3's payload was exactly `{sub, exp}` (S3-36), made by python-jose."""
    return python_jose.encode({"sub": person.email, "exp": int(time.time()) + 600}, secret, algorithm="HS256")


def s4_token(person: Person, **changes: Any) -> str:
    """S4's payload (S4-37), made by PyJWT."""
    now = int(time.time())
    claims = {"sub": person.id, "iat": now, "exp": now + 600, "type": "access", "roles": ["user"]}
    return pyjwt.encode(changed(claims, changes), API_SECRET, algorithm="HS256")


async def test_tokens_of_the_old_services_are_accepted_while_accept_legacy_is_on(legacy: Service) -> None:
    """C-06: S3 names people by e-mail, S4 by id."""
    person = await legacy.register()
    for token in (s3_token(person), s3_token(person, PREVIOUS), s4_token(person)):
        answer = await legacy.me({"Authorization": f"Bearer {token}"})
        assert (answer.status_code, answer.json()["id"]) == (200, person.id), answer.text
        assert (await legacy.validate(token))["user"]["email"] == person.email


async def test_tokens_of_the_old_services_are_refused_while_accept_legacy_is_off(shared: Service) -> None:
    """C-06: which is the default."""
    person = await shared.register()
    for token in (s3_token(person), s4_token(person)):
        answer = await shared.me({"Authorization": f"Bearer {token}"})
        assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid")


async def test_a_legacy_token_finds_its_user_in_any_spelling_of_the_address(legacy: Service) -> None:
    """C-13: and only there: an address that nobody has names nobody."""
    person = await legacy.register(legacy.new_email("Mixed.Case"))
    now = int(time.time())
    loud = made({"sub": person.email.upper(), "exp": now + 60})
    assert (await legacy.me({"Authorization": f"Bearer {loud}"})).json()["id"] == person.id
    nobody = await legacy.me({"Authorization": f"Bearer {made({'sub': 'nobody@example.com', 'exp': now + 60})}"})
    assert (nobody.status_code, nobody.json()["code"]) == (401, "token_not_found")


async def test_a_legacy_refresh_token_is_no_access_token(legacy: Service) -> None:
    """SEC-25, S4-37: `type` says which it is."""
    person = await legacy.register()
    for kind in ("refresh", "Access", "", None, 1, ["access"]):
        answer = await legacy.me({"Authorization": f"Bearer {s4_token(person, type=kind, family='f', jti='j')}"})
        assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid"), kind


async def test_a_legacy_token_of_an_admin_reads_and_never_manages(legacy: Service) -> None:
    """C-06b: whoever holds the secret could have made it."""
    admin = await legacy.register_admin()
    for token in (admin.token, s3_token(admin), s4_token(admin, roles=["admin"])):
        bearer = {"Authorization": f"Bearer {token}"}
        assert (await legacy.client.get("/teams/all", headers=bearer)).status_code == 200
        refused = await legacy.client.post("/teams", headers=bearer, json={"name": "Minted"})
        assert (refused.status_code, refused.json()["code"]) == (403, "shared_secret_token")


# --- attacks on this shape -------------------------------------------------------------------------------------------


ATTACKS: dict[str, Any] = {
    "SEC-20 alg none": lambda p: compact({"alg": "none", "typ": "JWT"}, ours(p), lambda _: b""),
    "SEC-20 HS384 with the right secret": lambda p: made(ours(p), alg="HS384"),
    "SEC-20 HS512 with the right secret": lambda p: made(ours(p), alg="HS512"),
    "SEC-20 another secret": lambda p: made(ours(p), "x" * 40),
    "SEC-20 an empty secret": lambda p: made(ours(p), ""),
    "SEC-20 the secret's first 32 characters": lambda p: made(ours(p), AUTH_SECRET[:32]),
    "SEC-20 the signature cut to half": lambda p: made(ours(p))[:-23],
    "SEC-21 a key in the header": lambda p: made(ours(p), "k" * 40, jwk={"kty": "oct", "k": "a2s"}),
    "SEC-23 exp left out": lambda p: made(ours(p, exp=LEFT_OUT)),
    "SEC-23 exp as a text": lambda p: made(ours(p, exp="9999999999")),
    "SEC-23 exp beyond the calendar": lambda p: made(ours(p, exp=10**15)),
    "SEC-23 SEC-33 ends later than ours can": lambda p: made(ours(p, exp=int(time.time()) + 3700)),
    "SEC-23 SEC-33 ends in ten years": lambda p: made(ours(p, exp=int(time.time()) + 315_360_000)),
    "SEC-23 issued in an hour": lambda p: made(ours(p, iat=int(time.time()) + 3600)),
    "SEC-23 not before the next hour": lambda p: made(ours(p, nbf=int(time.time()) + 3600)),
    "SEC-24 an issuer that is not ours": lambda p: made(ours(p, iss="https://other.example.com")),
    "SEC-24 an audience": lambda p: made(ours(p, aud="account")),
    "SEC-25 typ at+jwt": lambda p: made(ours(p), typ="at+jwt"),
    "SEC-25 typ refresh+jwt": lambda p: made(ours(p), typ="refresh+jwt"),
    "SEC-25 type refresh": lambda p: made(ours(p, type="refresh")),
    "SEC-25 type null": lambda p: made(ours(p, type=None)),
    "SEC-26 crit": lambda p: made(ours(p), crit=["exp"]),
    "SEC-27 uid twice": lambda p: compact(
        {"alg": "HS256"}, b'{"uid":"root",' + json.dumps(ours(p)).encode()[1:], hs(AUTH_SECRET.encode())
    ),
    "C-05 no uid, although sub names somebody": lambda p: made(ours(p, uid=LEFT_OUT)),
    "C-05 uid null": lambda p: made(ours(p, uid=None)),
    "C-05 uid a number": lambda p: made(ours(p, uid=7)),
    "C-05 uid empty": lambda p: made(ours(p, uid="")),
    "C-05 uid with a NUL": lambda p: made(ours(p, uid="a\x00b")),
    "C-05 uid half a sign": lambda p: made(ours(p, uid="\ud800")),
    "C-05 uid of nobody": lambda p: made(ours(p, uid="nobody")),
    "C-05 jti left out": lambda p: made(ours(p, jti=LEFT_OUT)),
    "SEC-24 no session": lambda p: made(ours(p, sid=LEFT_OUT)),
    "SEC-24 a session that never was": lambda p: made(ours(p, sid="01990c7e-0000-7000-8000-000000000001")),
    "SEC-24 a session that is no id": lambda p: made(ours(p, sid="1")),
    "SEC-24 session null": lambda p: made(ours(p, sid=None)),
}
CODES = {
    "SEC-24 a session that never was": "token_revoked",
    "SEC-20 alg none": "credential_unrecognised",  # without an issuer and not HS256, it is nobody's
    "SEC-20 HS384 with the right secret": "credential_unrecognised",
    "SEC-20 HS512 with the right secret": "credential_unrecognised",
    "SEC-24 an issuer that is not ours": "credential_unrecognised",
    "SEC-26 crit": "credential_unrecognised",
    "SEC-27 uid twice": "credential_unrecognised",
    "C-05 uid half a sign": "credential_unrecognised",
}


async def test_every_shared_secret_token_with_one_thing_wrong_is_refused(shared: Service) -> None:
    """SEC-20 to SEC-27, SEC-33, C-05: on a route with its code, and by /auth/validate."""
    person = await shared.register()
    with table() as row:
        for name, make in ATTACKS.items():
            with row(name):
                token = make(person)
                answer = await shared.me({"Authorization": f"Bearer {token}"})
                assert (answer.status_code, answer.json()["code"]) == (401, CODES.get(name, "token_invalid")), (
                    answer.text
                )
                assert (await shared.validate(token))["valid"] is False


async def test_a_shared_secret_token_with_nothing_wrong_is_accepted(shared: Service) -> None:
    """So the table above is not refused for another reason."""
    person = await shared.register()
    hour = int(time.time()) + 3600
    good = [made(ours(person, **changes)) for changes in ({}, {"exp": hour}, {"nbf": 0}, {"type": "access"})]
    for token in (*good, made(ours(person), typ=LEFT_OUT)):
        assert (await shared.me({"Authorization": f"Bearer {token}"})).status_code == 200


async def test_a_shared_secret_token_cannot_claim_our_issuer(shared: Service) -> None:
    """SEC-20 SEC-24: a holder of the secret cannot dress a token up as one of the key ring."""
    person = await shared.register()
    claims = ours(person, iss=shared.base_url, aud=shared.base_url, sub=person.id)
    for typ in ("JWT", "at+jwt"):
        answer = await shared.me({"Authorization": f"Bearer {made(claims, typ=typ)}"})
        assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid")


async def test_an_expired_token_is_distinguished_from_an_invalid_one(shared: Service) -> None:
    """SEC-14: expired, and nothing else is wrong with it."""
    person = await shared.register()
    about = TokenUser(id=person.id, email=person.email, email_verified=False)
    life = timedelta(seconds=-1)
    issued = await shared.app.core.tokens.issue(about, Family.AUTH, session=person.token_session, life=life)
    answer = await shared.me({"Authorization": f"Bearer {issued.token}"})
    assert (answer.status_code, answer.json()["code"]) == (401, "token_expired")
    forged = made(ours(person, exp=1), "x" * 40)
    answer = await shared.me({"Authorization": f"Bearer {forged}"})
    assert answer.json()["code"] == "token_invalid", "expiry is nobody's business before the signature holds"


async def test_a_shared_secret_token_ends_with_its_session(shared: Service) -> None:
    """SEC-24 C-06b: a holder of the secret cannot make one that outlives the session, nor one in another's session."""
    person, other = await shared.register(), await shared.register()
    forged = {"Authorization": f"Bearer {made(ours(person))}"}
    stolen = {"Authorization": f"Bearer {made(ours(person, sid=other.session_id))}"}
    assert (await shared.me(forged)).json()["id"] == person.id
    assert (await shared.me(stolen)).json()["code"] == "token_invalid"
    assert (await shared.client.post("/auth/logout", headers=person.bearer)).status_code == 200
    assert (await shared.me(forged)).json()["code"] == "token_revoked"


async def test_without_a_shared_secret_no_hs256_token_is_owned(service: Service) -> None:
    """C-06b: the default deployment knows no such tokens at all."""
    person = await service.register()
    answer = await service.me({"Authorization": f"Bearer {made(ours(person))}"})
    assert (answer.status_code, answer.json()["code"]) == (401, "credential_unrecognised")


async def test_what_a_shared_secret_token_may_change_ends_with_its_session(shared: Service) -> None:
    """C-06b: its owner signs out and changes the password, which is asked for; nothing is made that outlives it."""
    person = await shared.register()
    body = {"current_password": person.password, "new_password": "another good password"}
    changed = await shared.client.post("/api/auth/password/change", json=body, headers=person.bearer)
    assert changed.status_code == 200, changed.text
    key = await shared.client.post("/v1/api-keys", json={"name": "k", "scopes": ["read"]}, headers=person.bearer)
    assert (key.status_code, key.json()["code"]) == (403, "shared_secret_token")
    gone = await shared.client.request("DELETE", "/v1/me", json={"confirm": person.email}, headers=person.bearer)
    assert (gone.status_code, gone.json()["code"]) == (403, "shared_secret_token")
    assert (await shared.client.post("/auth/logout-all", headers=person.bearer)).status_code == 200
    assert (await shared.me(person.bearer)).json()["code"] == "token_revoked"
