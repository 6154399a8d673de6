"""Access tokens verified with the JWKS of the real service, and every attack that the service itself refuses."""

import time

import msgspec
import pytest
from joserfc.jwk import ECKey, RSAKey

from client.client_support import ISSUER, Issuer, Reply, answering
from factories import Service, running
from idp.dev.embedded import EmbeddedPostgres
from idp_client import OfflineVerifier, TokenExpired, TokenRejected
from idp_client.claims import AccessToken
from idp_client.compact import Parser
from idp_client.errors import DevelopmentToken, NotOurs
from signing.forgery import LEFT_OUT, Forge, json_bytes
from signing.test_attacks import ACCEPTED, EXPIRED, FOREIGN, Attack, all_attacks
from table_tests import table

# The service looks the user up; offline nobody can. And it gives no leeway to `exp`, which a machine elsewhere needs.
ONLY_THE_SERVICE_CAN = {"sub and uid of nobody", "exp a second ago", "exp is now"}


@pytest.fixture(scope="module")
async def forge(service: Service) -> Forge:
    return await Forge.of(service, await service.register(name="Vic Victim"))


@pytest.fixture(scope="module")
def verifier(service: Service) -> OfflineVerifier:
    return OfflineVerifier(service.base_url, leeway=5)


async def test_what_the_service_refuses_the_client_refuses(forge: Forge, verifier: OfflineVerifier) -> None:
    """SEC-20 to SEC-28: the same tokens, one thing wrong with each, against the service's own keys."""
    with table() as row:
        for line, attack in all_attacks():
            if attack.name not in ONLY_THE_SERVICE_CAN:
                with row(f"{line} {attack.name}"):
                    await check_refused(verifier, attack.make(forge), attack)


async def check_refused(verifier: OfflineVerifier, token: str, attack: Attack) -> None:
    with pytest.raises(TokenRejected) as refusal:
        await verifier.verify(token)
    assert refusal.value.status == 401
    assert isinstance(refusal.value, TokenExpired) == (attack.code == EXPIRED)
    assert not isinstance(refusal.value, NotOurs) or attack.code == FOREIGN
    with pytest.raises(TokenRejected):
        verifier.verify_sync(token)


async def test_what_the_service_accepts_the_client_accepts(forge: Forge, verifier: OfflineVerifier) -> None:
    """The table of attacks means something only if good tokens made the same way pass."""
    with table() as row:
        for name, make in ACCEPTED.items():
            with row(name):
                caller = await verifier.verify(make(forge))
                assert caller.user is not None
                assert (caller.kind, caller.user.id, caller.source) == ("user", forge.person.id, "offline")


async def test_offline_and_online_verification_return_the_same_caller(production: Service) -> None:
    """Rule 3: one person, whichever way they are looked at."""
    person = await production.register()
    caller = await OfflineVerifier(production.base_url).verify(person.token)
    verdict = await production.validate(person.token)
    assert caller.user is not None
    assert (caller.user.id, caller.user.email) == (person.id, person.email)
    assert caller.user.email_verified is verdict["user"]["email_verified"]
    assert list(caller.scopes) == verdict["scopes"]
    assert caller.token_id == verdict["token_id"] == caller.claims["jti"]
    assert list(caller.user.roles or ()) == verdict["user"]["roles"]
    assert caller.user.teams is None, "a token does not say; None is unknown, and not none"


async def test_a_development_token_is_refused_unless_the_service_allows_it(service: Service) -> None:
    """Rule 7: production and the client library refuse `idp_env`."""
    person = await service.register()
    with pytest.raises(DevelopmentToken):
        await OfflineVerifier(service.base_url).verify(person.token)
    caller = await OfflineVerifier(service.base_url, allow_development=True).verify(person.token)
    assert caller.user is not None
    assert caller.user.id == person.id


async def test_an_rs256_token_of_the_real_service_is_verified(postgres: EmbeddedPostgres) -> None:
    """C-06b: ES256 by default, RS256 where the service is set so."""
    environ = {"AUTH_JWT_ALGORITHM": "RS256"}
    async with running(postgres.create_database("rs256"), profile="production", environ=environ) as rsa:
        person = await rsa.register()
        caller = await OfflineVerifier(rsa.base_url).verify(person.token)
        assert caller.user is not None
        assert caller.user.id == person.id


async def test_the_services_own_tokens_take_the_fast_way(service: Service, production: Service) -> None:
    """Speed: claims in the order in which the service writes them are read once. If this fails, follow its order."""
    for made_by in (service, production):
        person = await made_by.register()
        payload = Parser().parse(person.token.encode()).payload
        assert msgspec.json.encode(msgspec.json.decode(payload, type=AccessToken)) == payload


async def test_a_token_is_good_until_exp_and_the_leeway(issuer: Issuer) -> None:
    """SEC-23: exp is required, and the clocks of two machines may differ by a leeway of at most 60 seconds."""
    now = int(time.time())
    verifier = issuer.verifier(leeway=10)
    await verifier.verify(issuer.token(exp=now - 5, iat=now - 60))
    await verifier.verify(issuer.token(iat=now + 5, nbf=now + 5))
    for claims in ({"exp": now - 11, "iat": now - 60}, {"exp": now - 3600, "iat": now - 7200}):
        with pytest.raises(TokenExpired):
            await verifier.verify(issuer.token(**claims))
    for claims in ({"iat": now + 30}, {"nbf": now + 30}, {"iat": now, "exp": now}, {"iat": LEFT_OUT}):
        with pytest.raises(TokenRejected):
            await verifier.verify(issuer.token(**claims))


@pytest.mark.parametrize("leeway", [-1, 61, 3600])
def test_a_leeway_beyond_a_minute_does_not_start(leeway: float) -> None:
    """SEC-23."""
    with pytest.raises(ValueError, match="leeway"):
        OfflineVerifier(ISSUER, leeway=leeway)


async def test_a_configured_audience_is_exact(issuer: Issuer) -> None:
    """SEC-24: exact membership; the issuer as audience is not good enough for a service that has its own."""
    verifier = OfflineVerifier(ISSUER, "https://api.example.com", keys=issuer.cache())
    await verifier.verify(issuer.token(aud="https://api.example.com"))
    await verifier.verify(issuer.token(aud=["https://other.example.com", "https://api.example.com"]))
    for aud in (ISSUER, "https://api.example.com/", ["https://api.example.com.evil"], [["https://api.example.com"]]):
        with pytest.raises(TokenRejected):
            await verifier.verify(issuer.token(aud=aud))


async def test_a_token_of_an_oauth_client_names_no_person(issuer: Issuer) -> None:
    """RFC 9068 section 2.2: `sub` is the client where no resource owner takes part."""
    caller = await issuer.verifier().verify(issuer.token(uid=LEFT_OUT, sub="billing", client_id="billing"))
    assert (caller.kind, caller.name, caller.user, caller.scopes) == ("client", "billing", None, ("openid", "read"))


async def test_the_key_says_how_it_signs(issuer: Issuer) -> None:
    """SEC-20: an RSA key verifies RS256 only, an EC key ES256 only, whatever the header says."""
    rsa = RSAKey.generate_key(2048, private=True)
    issuer.publish(rsa)
    verifier = issuer.verifier()
    await verifier.verify(issuer.token(key=rsa))
    for header in ({"alg": "ES256"}, {"alg": "PS256"}, {"alg": "HS256"}, {"alg": "none"}, {"alg": "RS512"}):
        with pytest.raises(TokenRejected):
            await verifier.verify(issuer.token(key=rsa, header=header))
    with pytest.raises(TokenRejected):
        await verifier.verify(issuer.token(header={"alg": "RS256"}))
    with pytest.raises(TokenRejected):
        await verifier.verify(issuer.token(key=ECKey.generate_key("P-256"), header={"kid": rsa.thumbprint()}))


async def test_no_request_follows_what_a_token_says(issuer: Issuer) -> None:
    """SEC-21: `jku` and `x5u` name the attacker's server; it is never contacted, and the key in `jwk` is ignored."""
    attacker = ECKey.generate_key("P-256", private=True)
    with answering(lambda _: Reply(body=json_bytes({"keys": [attacker.as_dict(private=False)]}))) as server:
        verifier = issuer.verifier()
        for header in ({"jku": server.url}, {"x5u": server.url}, {"jwk": attacker.as_dict(private=False)}):
            with pytest.raises(TokenRejected):
                await verifier.verify(issuer.token(key=attacker, header=header))
            await verifier.verify(issuer.token(header=header))
        assert server.asked == []


async def test_refusals_say_why_to_the_log_and_not_to_the_caller(issuer: Issuer) -> None:
    with pytest.raises(TokenRejected) as refusal:
        await issuer.verifier().verify(issuer.token(aud="https://other.example.com"))
    assert refusal.value.detail == "Invalid token"
    assert refusal.value.reason == "another audience"
