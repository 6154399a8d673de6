"""Routes that return a verdict: validate, validate-key, and "me". Introspection (RFC 7662) is in `provider/`.

`authn/fast_path.py` answers the usual requests before they get here, with the same verdict and encoders.
"""

import hashlib
import hmac
from typing import Annotated, Any

from litestar import MediaType, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import HeaderParameter, JSONBody

from idp import errors
from idp.authn import verdict_responses
from idp.authn.introspection import Introspector
from idp.authn.shapes import (
    Me,
    MeApi,
    MeV1,
    ValidateIn,
    ValidateKeyIn,
    ValidateKeyOut,
    ValidateOut,
)
from idp.authn.verdicts import Verdict
from idp.ops import metrics
from idp.ops.openapi import documents, responses
from idp.principal.guards import (
    DELEGATED,
    accepts,
    decides_only,
    public,
    requires_user,
)
from idp.principal.model import Principal
from idp.principal.requests import AnyRequest
from idp.settings import Settings

_TAGS = ["Authentication"]
_NO_STORE = {"Cache-Control": "no-store"}


def _json(body: bytes) -> Response[bytes]:
    return Response(body, media_type=MediaType.JSON, headers=_NO_STORE)


def client_of(request: AnyRequest) -> str | None:
    """Return the client's address."""
    return request.client.host if request.client else None


@post(
    "/auth/validate",
    opt=public() | decides_only(),
    tags=_TAGS,
    summary="Validate a credential",
    status_code=200,
    responses=documents(ValidateOut)
    | responses(
        errors.ValidationFailed,
        errors.MalformedJson,
        errors.BodyTooLarge,
        errors.RateLimited,
        errors.DatabaseUnavailable,
    ),
)
async def validate(
    request: AnyRequest, introspector: NamedDependency[Introspector], data: JSONBody[ValidateIn]
) -> Response[bytes]:
    """Validate a credential for another service. Always 200 for a verdict; 503 if it cannot be checked.

    The kind is detected from the credential's format. All `required_scopes` must be granted: exact match, no wildcards.
    """
    verdict = await introspector.introspect_token(data.token, client=client_of(request))
    body, kind, result = verdict_responses.validate(verdict, data.token, data.required_scopes)
    metrics.count_validation(kind=kind, result=result)
    return _json(body)


@post(
    "/internal/validate-key",
    opt=public() | decides_only(),
    tags=_TAGS,
    summary="Validate an API key",
    status_code=200,
    responses=documents(ValidateKeyOut)
    | responses(
        errors.InternalTokenRequired,
        errors.ValidationFailed,
        errors.MalformedJson,
        errors.BodyTooLarge,
        errors.RateLimited,
        errors.DatabaseUnavailable,
    ),
)
async def validate_key(
    request: AnyRequest,
    introspector: NamedDependency[Introspector],
    settings: NamedDependency[Settings],
    data: JSONBody[ValidateKeyIn],
    authorization: Annotated[
        str | None, HeaderParameter(name="Authorization", description="Bearer INTERNAL_API_TOKEN, if it is configured.")
    ] = None,
) -> Response[bytes]:
    """Validate an API key for another service. Keep this path inside your network (C-28)."""
    check_internal(settings, authorization)
    verdict = await introspector.introspect_token(data.key, client=client_of(request))
    return _json(verdict_responses.validate_key(verdict, data.key))


def check_internal(settings: Settings, authorization: str | None) -> None:
    """Refuse a caller without the internal token, if one is configured.

    Raises:
        InternalTokenRequired: it is missing or wrong.
    """
    token = settings.management.internal_token
    if token is None:
        return
    scheme, _, given = (authorization or "").partition(" ")
    same = hmac.compare_digest(_digest(given.strip()), _digest(token.reveal()))
    if scheme.lower() != "bearer" or not same:
        raise errors.InternalTokenRequired


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


# --- me --------------------------------------------------------------------------------------------------------------

_ME: dict[str, Any] = {
    "guards": [requires_user],
    "opt": accepts(*DELEGATED),
    "tags": _TAGS,
    "sync_to_thread": False,
}


def _me(request: Request[Principal, Any, Any]) -> Response[bytes]:
    return _json(verdict_responses.me(Verdict(request.user), request.scope["path"].rstrip("/")))


@get("/auth/me", summary="Get my profile", responses=documents(Me), **_ME)
def me(request: Request[Principal, Any, Any]) -> Response[bytes]:
    """Return the caller's profile with roles, teams and domains."""
    return _me(request)


@get(
    "/v1/me",
    summary="Get my profile, with createdAt, updatedAt and an upper-case role",
    responses=documents(MeV1),
    **_ME,
)
def me_v1(request: Request[Principal, Any, Any]) -> Response[bytes]:
    """The same as /auth/me, with `createdAt`, `updatedAt` and an upper-case `role`."""
    return _me(request)


@get("/api/auth/me", summary="Get my profile, with a message", responses=documents(MeApi), **_ME)
def me_api(request: Request[Principal, Any, Any]) -> Response[bytes]:
    """The same as /auth/me, with a `message`."""
    return _me(request)


ROUTES = (validate, validate_key, me, me_v1, me_api)
