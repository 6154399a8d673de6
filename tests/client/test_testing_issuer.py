"""The issuer of `idp_client.testing` beside the client, and its catalogue of bad tokens."""

from collections.abc import Iterator

import httpx2
import pytest

from idp_client import AuthClient, Gate, OfflineVerifier, TokenRejected
from idp_client.caller import Authenticated, Rejected, Unavailable
from idp_client.errors import DevelopmentToken, TokenExpired
from idp_client.testing import Issuer, bad_tokens
from idp_client.testing.bad_tokens import expected_code
from table_tests import table


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with Issuer() as issuer:
        yield issuer


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
async def test_every_bad_kind_is_refused_and_a_good_token_is_not(algorithm: str) -> None:
    """SEC-20 to SEC-28, offline, with an audience of the service's own."""
    with Issuer(algorithm=algorithm, audience="https://api.example.com") as issuer, table() as row:  # type: ignore[arg-type]
        verifier = issuer.verifier()
        for name, token in bad_tokens(issuer).items():
            with row(name):
                with pytest.raises(TokenRejected) as refusal:
                    await verifier.verify(token)
                assert refusal.value.code == expected_code(name)
        user = issuer.user(roles=["user", "admin"])
        caller = await verifier.verify(issuer.token(user, "openid read"))
        assert caller.user is not None
        assert (caller.kind, caller.user.id, caller.user.email) == ("user", user.id, user.email)
        assert (caller.scopes, caller.user.roles) == (("openid", "read"), ("user", "admin"))


async def test_every_bad_kind_is_refused_online(issuer: Issuer) -> None:
    async with AuthClient(issuer.url) as client:
        with table() as row:
            for name, token in bad_tokens(issuer).items():
                with row(name):
                    assert (await client.validate_token(token)).valid is False


async def test_the_clock_of_the_issuer_is_a_parameter() -> None:
    """Tokens of another time are good at that time."""
    with Issuer(clock=lambda: 2_000_000_000.0) as future:
        with pytest.raises(TokenRejected, match="iat is in the future"):
            await future.verifier().verify(future.token(future.user()))
        async with AuthClient(future.url) as client:
            assert (await client.validate_token(future.token(future.user()))).valid


async def test_a_service_with_another_issuer_refuses_its_tokens(issuer: Issuer) -> None:
    """The real issuer is not a loopback address; even with these keys, the tokens are of another issuer."""
    real = OfflineVerifier("https://id.example.com", keys=issuer.verifier()._keys)
    with pytest.raises(TokenRejected, match="another issuer"):
        await real.verify(issuer.token(issuer.user()))
    assert issuer.url.startswith("http://127.0.0.1:")


async def test_offline_and_online_verification_return_the_same_caller(issuer: Issuer) -> None:
    user = issuer.user(name="Ada Lovelace")
    token = issuer.token(user)
    offline = await issuer.verifier().verify(token)
    async with AuthClient(issuer.url) as client:
        outcome = await Gate(online=client).decide([(b"authorization", f"Bearer {token}".encode())])
    assert isinstance(outcome, Authenticated)
    online = outcome.caller
    assert online.user is not None
    assert offline.user is not None
    assert (online.kind, online.scopes, online.token_id) == (offline.kind, offline.scopes, offline.token_id)
    assert (online.user.id, online.user.email, online.user.roles) == (user.id, user.email, offline.user.roles)
    assert (online.user.name, online.user.teams) == ("Ada Lovelace", ())


async def test_the_outcomes_of_a_gate(issuer: Issuer) -> None:
    gate, user = Gate.at(issuer.url), issuer.user()
    key, service = issuer.api_key(user, "read"), issuer.service_token(["read", "write"])

    async def decide(credential: str) -> object:
        return await gate.decide([(b"x-api-key", credential.encode())])

    for good in (key, service):
        assert isinstance(await decide(good), Authenticated)
    issuer.revoke(key)
    refused = await decide(key)
    assert isinstance(refused, Rejected)
    assert refused.error.code == "token_revoked"
    with issuer.outage():
        assert isinstance(await decide(service), Unavailable)
    assert isinstance(await decide(service), Authenticated)
    await gate.close()


async def test_a_deactivated_user_is_refused_online(issuer: Issuer) -> None:
    user = issuer.user()
    token, key = issuer.token(user), issuer.api_key(user, "read")
    issuer.deactivate(user)
    async with AuthClient(issuer.url) as client:
        for credential in (token, key):
            assert (await client.validate_token(credential)).error == "user_inactive"


async def test_a_missing_scope_and_an_unknown_credential_have_their_codes(issuer: Issuer) -> None:
    async with AuthClient(issuer.url) as client:
        assert (await client.validate_token(issuer.service_token("read"), ["write"])).error == "insufficient_scopes"
        assert (await client.validate_token("idp_test_key_nobody")).error == "token_not_found"
        assert (await client.validate_token(issuer.token(issuer.user(), expires_in=-60))).error == "token_expired"
    with pytest.raises(LookupError):
        issuer.revoke("idp_test_key_nobody")


async def test_tokens_with_chosen_claims(issuer: Issuer) -> None:
    user, verifier = issuer.user(), issuer.verifier()
    caller = await verifier.verify(issuer.token(user, roles=["auditor"], department="research"))
    assert caller.claims["department"] == "research"
    assert caller.user is not None
    assert caller.user.roles == ("auditor",)
    assert (await verifier.verify(issuer.client_token("billing", "read"))).kind == "client"
    with pytest.raises(TokenExpired):
        await verifier.verify(issuer.token(user, expires_in=-60))
    with pytest.raises(DevelopmentToken):
        await verifier.verify(issuer.token(user, idp_env="development"))


async def test_a_token_for_a_service_is_introspected_and_not_validated() -> None:
    """As the service: /auth/validate decides about tokens for the issuer itself."""
    with Issuer(audience="https://api.example.com") as issuer:
        token = issuer.token(issuer.user())
        await issuer.verifier().verify(token)
        async with AuthClient(issuer.url) as client, httpx2.AsyncClient() as http:
            assert (await client.validate_token(token)).error == "token_invalid"
            answer = await http.post(f"{issuer.url}/oauth2/introspect", data={"token": token}, auth=("api", "secret"))
            assert answer.json()["active"] is True


async def test_rotated_keys_need_no_new_fetch_and_a_removed_key_is_refused() -> None:
    with Issuer() as issuer:
        verifier, user = issuer.verifier(), issuer.user()
        old = issuer.token(user)
        await verifier.verify(old)
        issuer.rotate_keys()
        with issuer.outage():
            await verifier.verify(issuer.token(user))
        stolen = issuer.token(user)
        issuer.rotate_keys(remove_old=True)
        fresh = issuer.verifier()
        await fresh.verify(old)
        with pytest.raises(TokenRejected, match="unknown key"):
            await fresh.verify(stolen)


async def test_its_other_endpoints_answer(issuer: Issuer) -> None:
    user = issuer.user()
    token, reader = issuer.token(user), issuer.service_token("idp:introspect")
    async with httpx2.AsyncClient(base_url=issuer.url) as http:
        metadata = (await http.get("/.well-known/openid-configuration")).json()
        assert metadata["issuer"] == issuer.url
        jwks = (await http.get(metadata["jwks_uri"])).json()
        assert {key["kid"] for key in jwks["keys"]} >= {issuer.key.kid}
        assert not any("d" in key for key in jwks["keys"])
        bearer = {"Authorization": f"Bearer {token}"}
        assert (await http.get("/auth/me", headers=bearer)).json()["email"] == user.email
        assert (await http.get("/auth/me")).status_code == 401
        introspect = metadata["introspection_endpoint"]
        answer = await http.post(introspect, data={"token": token}, headers={"Authorization": f"Bearer {reader}"})
        assert (answer.json()["active"], answer.json()["sub"]) == (True, user.id)
        answer = await http.post(introspect, data={"token": "nobody"}, auth=("service", "secret"))
        assert answer.json() == {"active": False}
        assert (await http.post(introspect, data={"token": token})).status_code == 401
        assert (await http.post("/auth/validate", content=b"{")).status_code == 422
        assert (await http.get("/nothing")).status_code == 404
