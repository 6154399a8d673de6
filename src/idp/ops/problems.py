"""Every error as `application/problem+json` (RFC 9457), with a code from the catalogue (C-16)."""

import re
from typing import Annotated, Any

import msgspec
import structlog
from authlib.oauth2.rfc6749.errors import InvalidRequestError
from authlib.oauth2.rfc6750.errors import InsufficientScopeError, InvalidTokenError
from litestar import Request, Response
from litestar.datastructures import Headers
from litestar.exceptions import HTTPException, ValidationException
from litestar.types import ExceptionHandlersMap
from msgspec import Meta, Struct

from idp import errors
from idp.errors import IdpError
from idp.ops.allow import allowed
from idp.ops.logging import describe
from idp.ops.public_prefix import prefixed

log = structlog.get_logger("idp.errors")

MEDIA_TYPE = "application/problem+json"
# Clients of S0 and S1 read the detail in a member `error` (C-16).
_OLD_ERROR_MEMBER = re.compile(r"^/(v1|webhooks|internal)(/|$)")
_MANAGEMENT_OF_TOKENS = re.compile(r"^/auth/tokens(/|$)")
_S2_TEXTS: dict[type[IdpError], str] = {
    errors.Unauthenticated: "Missing Authorization header",
    errors.CredentialUnrecognised: "Invalid admin token",
    errors.TokenNotFound: "Invalid admin token",
}
_BY_STATUS: dict[int, type[IdpError]] = {
    404: errors.NotFound,
    413: errors.BodyTooLarge,
    415: errors.UnsupportedMediaType,
}


class FieldError(Struct, frozen=True):
    """One invalid value: where (`["body", "email"]`), what was expected, and the kind of error."""

    loc: list[str | int]
    msg: str
    type: str


class Problem(Struct, frozen=True):
    """RFC 9457 problem details, with a code from the catalogue."""

    type: Annotated[str, Meta(description="The documentation page of this code.", examples=["/errors/token_expired"])]
    title: Annotated[str, Meta(examples=["Token expired"])]
    status: Annotated[int, Meta(examples=[401])]
    detail: Annotated[str, Meta(examples=["Token expired"])]
    code: Annotated[str, Meta(examples=["token_expired"])]
    remedy: Annotated[str, Meta(description="What to do about it.", examples=["Sign in again for a new access token."])]
    request_id: Annotated[str, Meta(examples=["01990c7e-7f3b-7c1e-8a54-0f6f1d5a9a10"])]
    errors: list[FieldError] | msgspec.UnsetType = msgspec.UNSET
    error: str | msgspec.UnsetType = msgspec.UNSET
    pending_token: Annotated[
        str | msgspec.UnsetType, Meta(description="Of `second_factor_required`: goes to /api/auth/second-factor.")
    ] = msgspec.UNSET
    methods: Annotated[
        list[str] | msgspec.UnsetType, Meta(description="Of `second_factor_required`: what the account has.")
    ] = msgspec.UNSET
    expires_in: Annotated[
        int | msgspec.UnsetType, Meta(description="Of `second_factor_required`: seconds that the token is valid.")
    ] = msgspec.UNSET
    page: Annotated[
        str | msgspec.UnsetType, Meta(description="Of `second_factor_enrolment_required`: where a browser sets one up.")
    ] = msgspec.UNSET

    def __repr__(self) -> str:
        return f"Problem({self.code})"


class OAuthError(Struct, frozen=True):
    """An error of RFC 6749 section 5.2, with the code of our catalogue."""

    error: Annotated[str, Meta(examples=["invalid_request"])]
    error_description: Annotated[str, Meta(examples=["A parameter is repeated."])]
    code: Annotated[str, Meta(examples=["invalid_request"])]
    remedy: Annotated[str, Meta(description="What to do about it.", examples=["Send each parameter once."])]
    request_id: Annotated[str, Meta(examples=["01990c7e-7f3b-7c1e-8a54-0f6f1d5a9a10"])]


_OAUTH_PATH, _BACKCHANNEL_LOGOUT = "/oauth2/", "/backchannel-logout"
_TEMPORARILY_UNAVAILABLE = "temporarily_unavailable"  # RFC 6749 section 4.1.2.1
_OAUTH_CODES: dict[int, str] = {
    401: InvalidTokenError.error,
    403: InsufficientScopeError.error,
    429: _TEMPORARILY_UNAVAILABLE,
}


def speaks_oauth(path: str) -> bool:
    """Whether errors of this path are those of RFC 6749 (C-16)."""
    return path.startswith(_OAUTH_PATH) or path.endswith(_BACKCHANNEL_LOGOUT)


def media_type(path: str) -> str:
    """Return the media type of error documents of this path."""
    return "application/json" if speaks_oauth(path) else MEDIA_TYPE


def oauth_code(status: int) -> str:
    """Return the code of RFC 6749 and RFC 6750 that goes with an HTTP status."""
    return _OAUTH_CODES.get(status, _TEMPORARILY_UNAVAILABLE if status >= 500 else InvalidRequestError.error)


def document(error: IdpError, *, path: str, request_id: str) -> bytes:
    """Return the body that describes an error."""
    if speaks_oauth(path):
        return msgspec.json.encode(
            OAuthError(error.oauth or oauth_code(error.status), error.detail, error.code, error.remedy, request_id)
        )
    problem = Problem(
        type=prefixed(f"/errors/{error.code}"),
        title=error.title,
        status=error.status,
        detail=_detail(error, path),
        code=error.code,
        remedy=error.remedy,
        request_id=request_id,
        error=_old_error(error, path),
        **error.extra,
    )
    return msgspec.json.encode(problem)


def _old_error(error: IdpError, path: str) -> str | msgspec.UnsetType:
    """Return the member `error` that clients of S0 and S1 read; without a credential it is one word (S1-17)."""
    if not _OLD_ERROR_MEMBER.match(path):
        return msgspec.UNSET
    return "Unauthenticated" if isinstance(error, errors.Unauthenticated) else error.detail


def _detail(error: IdpError, path: str) -> str:
    """Return the detail; the token management of S2 has its own texts for a missing and a wrong token (S2-39)."""
    if _MANAGEMENT_OF_TOKENS.match(path) and error.detail == error.text:
        return _S2_TEXTS.get(type(error), error.detail)
    return error.detail


def respond(request: Request[Any, Any, Any], error: IdpError) -> Response[bytes]:
    """Return the response for an error."""
    request_id, path = str(request.scope.get("request_id", "")), request.scope["path"]
    request.scope["error"] = error  # type: ignore[typeddict-unknown-key]
    if speaks_oauth(path) and error.status == 422:
        error = errors.OAuthInvalidRequest(error.detail)
    return Response(
        content=document(error, path=path, request_id=request_id),
        status_code=error.status,
        headers={"Cache-Control": "no-store", **error.headers},
        media_type=media_type(path),
    )


def _idp_error(request: Request[Any, Any, Any], error: IdpError) -> Response[bytes]:
    return respond(request, error)


def _http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    if isinstance(error, ValidationException) or error.status_code == 400:
        return respond(request, _validation(error))
    if error.status_code == 405:
        return respond(request, _method_not_allowed(request, error))
    known = _BY_STATUS.get(error.status_code)
    if known is not None:
        return respond(request, known())
    if error.status_code >= 500:
        return _unexpected(request, error)
    return respond(request, errors.BadRequest())


def _method_not_allowed(request: Request[Any, Any, Any], error: HTTPException) -> IdpError:
    methods = allowed(part.strip() for part in Headers(error.headers or {}).get("allow", "").split(",") if part.strip())
    if not methods:
        return errors.MethodNotAllowed()
    detail = f"{request.scope['method']} is not allowed here; this path answers to {methods}."
    return errors.MethodNotAllowed(detail, headers={"Allow": methods})


def _validation(error: HTTPException) -> IdpError:
    """Invalid query or path parameters; bodies are validated by `ops.json_body`."""
    entries = [_field(item) for item in error.extra] if isinstance(error.extra, list) else []
    return errors.ValidationFailed(_summary(entries), errors=entries) if entries else errors.BadRequest()


def _summary(entries: list[FieldError]) -> str:
    first = entries[0]
    return f"{'.'.join(str(part) for part in first.loc)}: {first.msg}"


def _field(item: Any) -> FieldError:
    if not isinstance(item, dict):
        return FieldError(loc=["request"], msg=str(item)[:200], type="value_error")
    if item.get("message") == "'data'":  # the framework's message for a missing body
        return FieldError(loc=["body"], msg="The body is missing; send a JSON object.", type="missing")
    keys = [part for part in str(item.get("key", "")).split(".") if part]
    source, message = item.get("source", "request"), str(item.get("message", ""))[:200]
    if "matching regex" in message:
        message = "The value has characters that are not allowed here."
    return FieldError(loc=[str(getattr(source, "value", source)), *keys], msg=message, type="value_error")


def invalid(loc: list[str | int], msg: str, kind: str = "value_error") -> errors.ValidationFailed:
    """Return a 422 about one field, for checks that a type cannot express."""
    entry = FieldError(loc=loc, msg=msg, type=kind)
    return errors.ValidationFailed(_summary([entry]), errors=[entry])


def _unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    log.error("unexpected error", endpoint=request.scope.get("path_template"), **describe(error))
    return respond(request, errors.InternalError())


HANDLERS: ExceptionHandlersMap = {
    IdpError: _idp_error,
    HTTPException: _http_exception,
    Exception: _unexpected,
}
