"""Attacks with keys, tokens and cached verdicts."""

import asyncio
import secrets

import pytest

from factories import running
from idp.app import create_app
from idp.authn.credential import Presented
from idp.authn.outcome import NOT_MINE, Authenticated, Outcome, Rejected
from idp.authn.outcome import Service as Somebody
from idp.dev.embedded import EmbeddedPostgres
from idp.development import Development
from idp.errors import TokenInvalid
from idp.principal.model import AuthMethod, Credential
from idp.settings import load
from idp.signing.jwt import TokenUser

ADMIN_TOKEN = secrets.token_urlsafe(40)
ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}


async def test_a_token_of_an_ended_signing_key_is_refused_by_every_process_at_once(postgres: EmbeddedPostgres) -> None:
    """SEC-31 SEC-59: also where it was seen between the rotation and the next look at the keys."""
    url = postgres.create_database("two_rings")
    environ = {"IDP_SECRET_KEY": secrets.token_urlsafe(48), "IDP_PUBLIC_URL": "http://two-rings"}
    async with running(url, environ=environ) as one, running(url, environ=environ, migrate=False) as other:
        person = await one.register()
        for service in (one, other):
            assert (await service.validate(person.token))["valid"]
        await one.app.core.keyring.rotate(at_once=True)
        await other.app.core.change_listener.catch_up()
        for service in (other, one):
            assert (await service.validate(person.token))["error"] == "token_invalid"


@pytest.mark.parametrize(
    ("method", "path"), [("POST", ""), ("PATCH", "/{id}"), ("POST", "/{id}/rotate"), ("DELETE", "/{id}")]
)
async def test_a_shared_secret_token_touches_no_keys(postgres: EmbeddedPostgres, method: str, path: str) -> None:
    """C-06b: a key would outlive the secret that made it possible."""
    environ = {"AUTH_JWT_SECRET_KEY": secrets.token_urlsafe(40)}
    async with running(postgres.create_database(f"shared_{method}_{len(path)}"), environ=environ) as service:
        person = await service.register()
        about = TokenUser(id=person.id, email=person.email, email_verified=False)
        good = {"Authorization": f"Bearer {(await service.app.core.tokens.issue_asymmetric(about)).token}"}
        body = {"name": "laptop", "scopes": ["read"]}
        key = (await service.client.post("/v1/api-keys", headers=good, json=body)).json()
        where = f"/v1/api-keys{path.format(id=key['key_id'])}"
        refused = await service.client.request(method, where, headers=person.bearer, json=None if path else body)
        assert (refused.status_code, refused.json()["code"]) == (403, "shared_secret_token")
        assert (await service.client.get("/v1/api-keys", headers=person.bearer)).json()[0]["key_id"] == key["key_id"]
        assert (await service.validate(key["secret"]))["valid"]


async def test_a_flood_of_bad_credentials_locks_no_other_client_out(postgres: EmbeddedPostgres) -> None:
    """SEC-8: the address may be a gateway, or that of the one who has to stop the flood."""
    environ = {"IDP_RATE_LIMITS__BAD_CREDENTIALS_PER_ADDRESS_PER_MINUTE": "5", "ADMIN_TOKEN": ADMIN_TOKEN}
    async with running(postgres.create_database("locked_out"), environ=environ) as service:
        for junk in ("junk", "e30.e30.", "sk_live_junk"):
            for number in range(8):
                await service.client.post("/auth/validate", json={"token": f"{junk}{number}"})
        shed = await service.client.post("/auth/validate", json={"token": "sk_live_more_junk"})
        assert shed.status_code == 429
        person = await service.register()
        assert (await service.me(person.bearer)).status_code == 200
        made = await service.client.post("/auth/tokens", headers=ADMIN, json={"name": "new", "scopes": ["read"]})
        assert made.status_code == 201
        assert (await service.validate(made.json()["token"]))["valid"]


class Proven:
    """Owns `bound_…` tokens, which are good only together with a proof in a header."""

    name = "proven"

    async def authenticate(self, presented: Presented) -> Outcome:
        if presented.token is None or not presented.token.startswith("bound_"):
            return NOT_MINE
        await asyncio.sleep(0.05)
        if presented.headers.get("x-proof") != "mine":
            return Rejected(TokenInvalid())
        return Authenticated(Somebody(), Credential(method=AuthMethod.PLUGIN, id="bound"))


async def test_a_stolen_token_does_not_ride_on_its_owners_request(postgres: EmbeddedPostgres) -> None:
    """SEC-63: requests with one token at one moment share a decision only if nothing but the token decides it."""
    url = postgres.create_database("proofs")
    environ = {"DATABASE_URL": url, "IDP_SECRET_KEY": secrets.token_urlsafe(48)}
    app = create_app(load("development", environ=environ), Development(authenticators=(lambda _parts: Proven(),)))
    async with running(url, app=app) as service:

        async def call(headers: dict[str, str]) -> int:
            answer = await service.client.get("/teams/all", headers={"Authorization": "Bearer bound_1", **headers})
            return answer.status_code

        for _ in range(3):
            assert await asyncio.gather(call({"X-Proof": "mine"}), call({}), call({"X-Proof": "mine"})) == [
                200,
                401,
                200,
            ]
            assert await asyncio.gather(call({}), call({"X-Proof": "mine"})) == [401, 200]


async def test_a_line_break_at_the_end_makes_no_second_name(postgres: EmbeddedPostgres) -> None:
    """C-32: names and scopes are one line, to their very end."""
    async with running(postgres.create_database("line_breaks"), environ={"ADMIN_TOKEN": ADMIN_TOKEN}) as service:
        for body in ({"name": "svc\n", "scopes": ["read"]}, {"name": "svc", "scopes": ["read\n"]}):
            refused = await service.client.post("/auth/tokens", headers=ADMIN, json=body)
            assert (refused.status_code, refused.json()["code"]) == (422, "validation_failed")
