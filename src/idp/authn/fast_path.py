"""The usual request of the routes that everyone calls all the time, answered without the framework.

Validate, validate-key, introspect, "me", the JWKS and health are ordinary handlers (`authn/routes.py`,
`signing/routes.py`, `ops/health.py`), with documentation, policies and exact errors. Litestar spends 60 µs on such a
request and the verdict takes five. So the envelope asks here first: a request that is well formed, simple and decided
is answered from the same verdict and the same faces. Whatever is unusual in any way (another method or content type,
a browser's Origin, a bad body) is `Cold`, and goes the long way with nothing lost.
"""

import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar, cast

import msgspec
from litestar.types import HTTPScope, Receive

from idp.authn import verdict_responses
from idp.authn.introspection import Introspector
from idp.authn.shapes import IntrospectIn, ValidateIn, ValidateKeyIn
from idp.authn.verdicts import Verdict
from idp.errors import IdpError, ValidationFailed
from idp.ops import health, metrics
from idp.ops.envelope import JSON, NO_STORE, FastRoute, UseFramework
from idp.ops.health import HealthChecks
from idp.ops.json_body import decode_body, parse_form
from idp.ops.misspelt_members import strict
from idp.principal.guards import INTERACTIVE, MACHINES
from idp.principal.model import AuthMethod, Principal
from idp.principal.permissions import IDP_INTROSPECT
from idp.settings_schema import Management
from idp.signing import routes as signing
from idp.signing.routes import PublishedKeys

_JSON = (b"application/json", b"application/json; charset=utf-8", b"application/json;charset=utf-8")
_STRICT_FORM = strict(IntrospectIn)  # what else is in a form, the long way looks at
_FORM = b"application/x-www-form-urlencoded"
_TOKEN_ALONE = re.compile(rb"token=[A-Za-z0-9._~-]+\Z")
_LARGEST_BODY = 65_536
_ME_ACCEPTS = INTERACTIVE | MACHINES
_UNUSUAL = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
Headers = Iterable[tuple[bytes, bytes]]
S = TypeVar("S")


class FastPath:
    """The hot routes that decide about a credential.

    Args:
        introspector: decides.
        management: with a credential for /internal/*, that route is left to the framework.
        issuer: named in introspection answers.
    """

    def __init__(self, introspector: Introspector, management: Management, *, issuer: str) -> None:
        self._introspector = introspector
        self._issuer = issuer
        self._decode_validate = msgspec.json.Decoder(strict(ValidateIn)).decode
        self._decode_key = msgspec.json.Decoder(strict(ValidateKeyIn)).decode
        self.routes: dict[tuple[str, str], FastRoute] = {
            ("POST", "/auth/validate"): FastRoute(self._validate),
            ("POST", "/oauth2/introspect"): FastRoute(self._introspect),
            **{("GET", path): FastRoute(self._me) for path in verdict_responses.ME},
        }
        if management.internal_token is None:
            self.routes["POST", "/internal/validate-key"] = FastRoute(self._validate_key)

    async def _validate(self, scope: HTTPScope, receive: Receive) -> bytes:
        message = await _json_body(scope, receive)
        try:
            asked = self._decode_validate(message["body"])
        except _UNUSUAL:
            asked = _with_unknown_members(message, ValidateIn)
        verdict = await self._decide(asked.token, scope)
        body, kind, result = verdict_responses.validate(verdict, asked.token, asked.required_scopes)
        metrics.count_validation(kind=kind, result=result)
        return body

    async def _validate_key(self, scope: HTTPScope, receive: Receive) -> bytes:
        message = await _json_body(scope, receive)
        try:
            asked = self._decode_key(message["body"])
        except _UNUSUAL:
            asked = _with_unknown_members(message, ValidateKeyIn)
        return verdict_responses.validate_key(await self._decide(asked.key, scope), asked.key)

    async def _introspect(self, scope: HTTPScope, receive: Receive) -> bytes:
        caller, content_type = _caller(scope["headers"])
        if content_type != _FORM:
            raise UseFramework
        principal = _accepted(await self._decide_caller(caller, scope))
        if principal.credential.method != AuthMethod.SERVICE_TOKEN or IDP_INTROSPECT not in principal.credential.scopes:
            raise UseFramework
        scope["user"] = principal
        message = await _whole_body(receive)
        token = _token_of(message)
        return verdict_responses.introspect(await self._decide(token, scope), self._issuer)

    async def _me(self, scope: HTTPScope, _receive: Receive) -> bytes:
        caller, content_type = _caller(scope["headers"])
        if content_type is not None:
            raise UseFramework
        verdict = await self._decide_caller(caller, scope)
        principal = _accepted(verdict)
        if principal.user is None or principal.credential.method not in _ME_ACCEPTS:
            raise UseFramework
        scope["user"] = principal
        return verdict_responses.me(verdict, scope["path"])

    async def _decide(self, token: str, scope: HTTPScope) -> Verdict:
        client = scope["client"]
        return await self._introspector.introspect_token(token, client=client[0] if client else None)

    async def _decide_caller(self, token: str, scope: HTTPScope) -> Verdict:
        client = scope["client"]
        return await self._introspector.introspect_caller(token, scope["headers"], client=client[0] if client else None)


def _with_unknown_members(message: Any, struct: type[S]) -> S:
    """Decode a body that has members which are ignored; the long way says what is wrong with any other."""
    try:
        return cast("S", decode_body(message["body"], struct))
    except (*_UNUSUAL, ValidationFailed):
        raise UseFramework(message) from None


def public_routes(published: PublishedKeys, checks: HealthChecks) -> dict[tuple[str, str], FastRoute]:
    """Return the hot routes that look at no credential, whichever comes along.

    Args:
        published: our public keys.
        checks: how each part is.
    """
    of_jwks = {"Content-Type": signing.JWKS_TYPE, **signing.JWKS_HEADERS}
    jwks_headers = tuple((name.lower().encode(), value.encode()) for name, value in of_jwks.items())
    return {
        ("GET", signing.JWKS_PATH): _public(published.document, headers=jwks_headers),
        **{("GET", path): _public(checks.document, headers=(JSON, NO_STORE)) for path in health.HEALTH_PATHS},
        **{("GET", path): _public(_alive, headers=(JSON, NO_STORE)) for path in health.LIVENESS_PATHS},
    }


async def _alive() -> bytes:
    return health.ALIVE


def _public(body: Callable[[], Awaitable[bytes]], *, headers: tuple[tuple[bytes, bytes], ...]) -> FastRoute:
    async def answer(scope: HTTPScope, _receive: Receive) -> bytes:
        for name, _ in scope["headers"]:
            if name == b"origin":  # the framework knows which origins are ours
                raise UseFramework
        return await body()

    return FastRoute(answer, headers)


def _accepted(verdict: Verdict) -> Principal:
    """Return who calls. A refusal is final, and counted once: the long way would decide and count it again.

    Raises:
        IdpError: nobody, or nothing could be decided.
    """
    if verdict.principal is None:
        assert verdict.error is not None
        raise verdict.error
    return verdict.principal


def _token_of(message: Any) -> str:
    """Return `token` of the form in the body; the usual form has nothing else, and nothing to decode."""
    body = message["body"]
    if _TOKEN_ALONE.match(body):
        return str(body[6:], "ascii")
    try:
        return msgspec.convert(dict(parse_form(body)), _STRICT_FORM).token  # type: ignore[no-any-return]
    except (msgspec.ValidationError, IdpError):
        raise UseFramework(message) from None


async def _json_body(scope: HTTPScope, receive: Receive) -> Any:
    declared = False
    for name, value in scope["headers"]:
        if name == b"content-type":
            if value not in _JSON:
                raise UseFramework
            declared = True
        elif name == b"origin" or name == b"sec-fetch-site":
            raise UseFramework
    if not declared:
        raise UseFramework
    return await _whole_body(receive)


async def _whole_body(receive: Receive) -> Any:
    """Return the message that holds the whole body.

    Raises:
        Cold: it comes in parts, or is large; the message goes along.
    """
    message: Any = await receive()
    if message["type"] != "http.request" or message.get("more_body") or len(message["body"]) > _LARGEST_BODY:
        raise UseFramework(message)
    return message


def _caller(headers: Headers) -> tuple[str, bytes | None]:
    """Return the one explicit credential, and the content type.

    Raises:
        Cold: there is none, or more than one, or a browser's Origin. Beside a credential, cookies are not looked at.
    """
    token: str | None = None
    content_type: bytes | None = None
    for name, value in headers:
        if name == b"authorization":
            if token is not None or value[:7].lower() != b"bearer ":
                raise UseFramework
            token = value[7:].decode("latin-1").strip()
        elif name == b"x-api-key":
            if token is not None:
                raise UseFramework
            token = value.decode("latin-1").strip()
        elif name == b"content-type":
            content_type = value.lower()
        elif name == b"origin":
            raise UseFramework
    if not token:
        raise UseFramework
    return token, content_type
