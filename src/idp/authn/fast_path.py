"""Fast path: answers the usual request of the most frequent routes without the framework, and without a task.

Validate, validate-key, "me", the JWKS and health are ordinary handlers (`authn/routes.py`,
`signing/routes.py`, `ops/health.py`), with documentation, policies and exact errors. Litestar takes 60 µs for such a
request, the verdict five. So the envelope tries this module first: a well-formed, simple request is answered with the
same verdict and the same encoded response. Any other request (another method or content type, a browser's Origin, an
invalid body) raises `UseFramework` and takes the full path. A verdict in memory is answered at once; for any other, an
awaitable is returned.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar, cast

import msgspec
from litestar.types import HTTPScope

from idp.authn import verdict_responses
from idp.authn.introspection import Introspector
from idp.authn.shapes import ValidateIn, ValidateKeyIn
from idp.authn.verdicts import Verdict
from idp.errors import ValidationFailed
from idp.ops import health, metrics
from idp.ops.accept import wants_page
from idp.ops.fast_route import JSON, NO_STORE, FastRoute, UseFramework
from idp.ops.health import HealthChecks
from idp.ops.json_body import decode_body
from idp.ops.misspelt_members import strict
from idp.principal.guards import DELEGATED, INTERACTIVE
from idp.principal.model import Principal
from idp.settings_schema import Management
from idp.signing import routes as signing
from idp.signing.routes import PublishedKeys

_JSON = (b"application/json", b"application/json; charset=utf-8", b"application/json;charset=utf-8")
_VARY = (b"vary", b"Accept")
_ME_ACCEPTS = INTERACTIVE | DELEGATED
_UNUSUAL = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
Headers = Iterable[tuple[bytes, bytes]]
S = TypeVar("S")


class FastPath:
    """The fast routes that decide about a credential.

    Args:
        introspector: decides about credentials.
        management: if it has a token for /internal/*, that route uses the framework.
    """

    def __init__(self, introspector: Introspector, management: Management) -> None:
        self._introspector = introspector
        self._decode_validate = msgspec.json.Decoder(strict(ValidateIn)).decode
        self._decode_key = msgspec.json.Decoder(strict(ValidateKeyIn)).decode
        self.routes: dict[tuple[str, str], FastRoute] = {
            ("POST", "/auth/validate"): FastRoute(self._validate, check_head=_require_json),
            **{("GET", path): FastRoute(self._me) for path in verdict_responses.ME},
        }
        if management.internal_token is None:
            self.routes["POST", "/internal/validate-key"] = FastRoute(self._validate_key, check_head=_require_json)

    def _validate(self, scope: HTTPScope, body: bytes) -> bytes | Awaitable[bytes]:
        _require_json(scope)
        try:
            body_in = self._decode_validate(body)
        except _UNUSUAL:
            body_in = _with_unknown_members(body, ValidateIn)

        def respond(verdict: Verdict) -> bytes:
            response, kind, result = verdict_responses.validate(verdict, body_in.token, body_in.required_scopes)
            metrics.count_validation(kind=kind, result=result)
            return response

        return with_verdict(self._introspector.token_at_once(body_in.token, client=address_of(scope)), respond)

    def _validate_key(self, scope: HTTPScope, body: bytes) -> bytes | Awaitable[bytes]:
        _require_json(scope)
        try:
            key = self._decode_key(body).key
        except _UNUSUAL:
            key = _with_unknown_members(body, ValidateKeyIn).key
        verdict = self._introspector.token_at_once(key, client=address_of(scope))
        return with_verdict(verdict, lambda verdict: verdict_responses.validate_key(verdict, key))

    def _me(self, scope: HTTPScope, _body: bytes) -> bytes | Awaitable[bytes]:
        headers = scope["headers"]
        caller, content_type = caller_of(headers)
        if content_type is not None:
            raise UseFramework

        def respond(verdict: Verdict) -> bytes:
            principal = accepted(verdict)
            credential = principal.credential
            if principal.user is None or credential.method not in _ME_ACCEPTS or credential.audience:
                raise UseFramework
            scope["user"] = principal
            return verdict_responses.me(verdict, scope["path"])

        return with_verdict(self._introspector.caller_at_once(caller, headers, client=address_of(scope)), respond)


def with_verdict(
    verdict: Verdict | Awaitable[Verdict], respond: Callable[[Verdict], bytes]
) -> bytes | Awaitable[bytes]:
    """Return the response to a verdict, at once if the verdict is there."""
    return respond(verdict) if isinstance(verdict, Verdict) else _respond_later(verdict, respond)


async def _respond_later(verdict: Awaitable[Verdict], respond: Callable[[Verdict], bytes]) -> bytes:
    return respond(await verdict)


def address_of(scope: HTTPScope) -> str | None:
    """Return the client's address."""
    client = scope["client"]
    return client[0] if client else None


def _with_unknown_members(body: bytes, struct: type[S]) -> S:
    """Decode a body with ignored members; the framework reports errors of any other."""
    try:
        return cast("S", decode_body(body, struct))
    except (*_UNUSUAL, ValidationFailed):
        raise UseFramework from None


def public_routes(published: PublishedKeys, checks: HealthChecks) -> dict[tuple[str, str], FastRoute]:
    """Return the fast routes that ignore credentials.

    Args:
        published: our public keys.
        checks: the health checks.
    """
    jwks_header_values = {"Content-Type": signing.JWKS_TYPE, **signing.JWKS_HEADERS}
    jwks_headers = tuple((name.lower().encode(), value.encode()) for name, value in jwks_header_values.items())
    return {
        ("GET", signing.JWKS_PATH): _public(published.document, headers=jwks_headers),
        **{("GET", path): _public(checks.document, headers=(JSON, NO_STORE, _VARY)) for path in health.HEALTH_PATHS},
        **{("GET", path): _public(_alive, headers=(JSON, NO_STORE)) for path in health.LIVENESS_PATHS},
    }


def _alive() -> bytes:
    return health.ALIVE


def _public(body: Callable[[], bytes | Awaitable[bytes]], *, headers: tuple[tuple[bytes, bytes], ...]) -> FastRoute:
    def answer(scope: HTTPScope, _body: bytes) -> bytes | Awaitable[bytes]:
        for name, value in scope["headers"]:
            if name == b"origin":  # the framework checks origins
                raise UseFramework
            if name == b"accept" and scope["path"] == "/" and wants_page(value.decode("latin-1")):
                raise UseFramework
        return body()

    return FastRoute(answer, headers)


def accepted(verdict: Verdict) -> Principal:
    """Return the principal. A rejection is final here: the framework would decide and count it again.

    Raises:
        IdpError: the credential was rejected or could not be checked.
    """
    if verdict.principal is None:
        assert verdict.error is not None
        raise verdict.error
    return verdict.principal


def _require_json(scope: HTTPScope) -> None:
    """Check the content type.

    Raises:
        UseFramework: it is not JSON, or a browser sent the request.
    """
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


def caller_of(headers: Headers) -> tuple[str, bytes | None]:
    """Return the one explicit credential, and the content type.

    Raises:
        UseFramework: there is none or more than one, or a browser's Origin. Cookies are ignored beside a credential.
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
