"""The requests to the service in each scenario, and the process they are sent to."""

import base64
import json
from collections.abc import Callable
from urllib.parse import urlencode

import httpx2

from bench import population
from bench.population import NotBuilt
from bench.server import Server
from bench.sources import Source
from bench.traffic import Request, Traffic
from bench.world import World

_JSON = {"content-type": "application/json"}
_FORM = {"content-type": "application/x-www-form-urlencoded"}
_MEMORY, _SHARED, _DATABASE = Source("memory"), Source("shared"), Source("database")
_DATABASE_AND_CALLER = Source("database", 0.45)  # every other look-up is that of the caller's credential
Scenario = tuple[Server, Traffic]


def _validate(token: str) -> Request:
    body = json.dumps({"token": token, "required_scopes": []})
    return Request("POST", "/auth/validate", _JSON, body, {"valid": True})


def _validate_one(world: World) -> Scenario:
    return world.idp, Traffic([_validate(world.token["token"])], source=_MEMORY)


def _validate_thousand(world: World) -> Scenario:
    return world.idp, _cached(world.idp, _tokens(world, 1000), _MEMORY)


def _validate_jwt(world: World) -> Scenario:
    return world.idp, Traffic([_validate(world.person.token)], source=_MEMORY)


def _validate_shared(world: World) -> Scenario:
    return world.small_cache, _cached(world.small_cache, _tokens(world, 1000), _SHARED)


def _validate_database(world: World) -> Scenario:
    return world.small_cache, Traffic(_tokens(world, world.new_requests), once=True, source=_DATABASE)


def _tokens(world: World, count: int) -> list[Request]:
    return [_validate(token) for token in population.many_tokens(world.deployment, world.token, count)]


def _cached(server: Server, requests: list[Request], source: Source) -> Traffic:
    """Send each request once, to fill the caches."""
    with httpx2.Client(base_url=server.base_url, headers=_JSON) as client:
        for request in requests:
            client.post(request.path, content=request.body).raise_for_status()
    return Traffic(requests, source=source)


def _introspect(world: World, token: str) -> Request:
    body = urlencode({"token": token})
    return Request("POST", "/oauth2/introspect", _FORM | world.introspector, body, {"active": True})


def _introspect_token(world: World) -> Scenario:
    return world.idp, Traffic([_introspect(world, world.token["token"])], source=_MEMORY)


def _introspect_jwt(world: World) -> Scenario:
    return world.idp, Traffic([_introspect(world, world.person.token)], source=_MEMORY)


def _introspect_new(world: World) -> Scenario:
    tokens = population.many_jwts(world.deployment, world.person, world.new_requests)
    return world.idp, Traffic([_introspect(world, token) for token in tokens], once=True, source=_DATABASE_AND_CALLER)


def _me(world: World) -> Scenario:
    return world.idp, _me_with(world, world.person.bearer)


def _me_by_key(world: World) -> Scenario:
    key = population.api_key(world.idp.base_url, world.person)
    return world.idp, _me_with(world, {"x-api-key": key})


def _me_with(world: World, headers: dict[str, str]) -> Traffic:
    return Traffic([Request("GET", "/auth/me", headers, "", {"email": world.person.email})], source=_MEMORY)


def _client_credentials(world: World) -> Scenario:
    client = population.oauth_client(world.idp.base_url)
    pair = base64.b64encode(f"{client['client_id']}:{client['client_secret']}".encode()).decode()
    headers = {**_FORM, "authorization": f"Basic {pair}"}
    request = Request("POST", "/oauth2/token", headers, "grant_type=client_credentials", {"token_type": "Bearer"})
    return world.idp, Traffic([request])


def _code(world: World) -> Scenario:
    app = population.app(world.idp.base_url)
    pair = base64.b64encode(f"{app['client_id']}:{app['client_secret']}".encode()).decode()
    headers = {**_FORM, "authorization": f"Basic {pair}"}
    form = {"grant_type": "authorization_code", "redirect_uri": population.CALLBACK}
    codes = population.many_codes(world.deployment, world.person, app["client_id"], world.new_requests)
    bodies = [urlencode({**form, "code": code, "code_verifier": population.VERIFIER}) for code in codes]
    requests = [Request("POST", "/oauth2/token", headers, body, {"token_type": "Bearer"}) for body in bodies]
    return world.idp, Traffic(requests, once=True)


def _discovery(world: World) -> Scenario:
    return world.idp, Traffic([Request("GET", "/.well-known/openid-configuration")])


def _not_built(_: World) -> Scenario:
    raise NotBuilt("opaque access tokens of clients")


def _jwks(world: World) -> Scenario:
    return world.idp, Traffic([Request("GET", "/.well-known/jwks.json")])


def _health(world: World) -> Scenario:
    return world.idp, Traffic([Request("GET", "/health", expect={"status": "healthy"})])


REQUESTS_OF: dict[str, Callable[[World], Scenario]] = {
    "validate": _validate_one,
    "validate-1000": _validate_thousand,
    "validate-jwt": _validate_jwt,
    "validate-shared": _validate_shared,
    "validate-database": _validate_database,
    "introspect": _introspect_token,
    "introspect-jwt": _introspect_jwt,
    "introspect-new": _introspect_new,
    "me": _me,
    "me-key": _me_by_key,
    "client-credentials": _client_credentials,
    "client-credentials-opaque": _not_built,
    "code": _code,
    "discovery": _discovery,
    "jwks": _jwks,
    "health": _health,
}
