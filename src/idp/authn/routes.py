"""The faces of the introspection decision: /auth/validate, and "me"."""

import time
from typing import Any

from litestar import Request, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from idp import errors
from idp.authn.credential import Presented, from_token
from idp.authn.introspection import Introspector, Verdict
from idp.authn.shapes import Me, MeApi, MeV1, UserOut, ValidateIn, ValidateOut, VerdictCode, kind_of, me_of
from idp.errors import IdpError
from idp.ops import metrics
from idp.ops.openapi import responses
from idp.principal.guards import MACHINES, accepts, public, requires_user
from idp.principal.model import Principal, User

_TAGS = ["Who is calling"]
# /auth/validate knows six codes (C-01); whatever else is wrong with a credential is "token_invalid" there.
_CODES: dict[str, VerdictCode] = {
    "token_not_found": "token_not_found",
    "token_revoked": "token_revoked",
    "token_expired": "token_expired",
    "user_inactive": "user_inactive",
}


@post(
    "/auth/validate",
    opt=public(),
    tags=_TAGS,
    summary="Is this credential good, and whose is it?",
    status_code=200,
    responses=responses(errors.ValidationFailed, errors.MalformedJson, errors.BodyTooLarge, errors.DatabaseUnavailable),
)
async def validate(introspector: NamedDependency[Introspector], data: JSONBody[ValidateIn]) -> ValidateOut:
    """Decide about a credential for another service. Always 200 for a verdict; 503 when it cannot be known.

    The credential's own form decides what it is. `required_scopes` must all be held: plain membership, no wildcard.
    """
    started = time.perf_counter()
    presented = from_token(data.token)
    verdict = await introspector.introspect(presented)
    if verdict.unknown:
        assert verdict.error is not None
        raise verdict.error
    answer = _answer(presented, verdict, data.required_scopes)
    metrics.observe_validation(
        kind=answer.kind or "none", result=answer.error or "valid", seconds=time.perf_counter() - started
    )
    return answer


def _answer(presented: Presented, verdict: Verdict, required: list[str]) -> ValidateOut:
    principal = verdict.principal
    if principal is None:
        assert verdict.error is not None
        return _refusal(_code(presented, verdict.error), verdict.error.detail)
    missing = [scope for scope in required if scope not in principal.credential.scopes]
    if missing:
        return _refusal("insufficient_scopes", f"Missing scopes: {missing}")
    credential = principal.credential
    return ValidateOut(
        valid=True,
        kind=kind_of(principal),
        scopes=credential.scopes,
        token_id=credential.id,
        name=credential.name,
        user=UserOut.of(principal.user) if principal.user else None,
        expires_at=credential.expires_at,
        error=None,
        detail=None,
    )


def _code(presented: Presented, error: IdpError) -> VerdictCode:
    if isinstance(error, errors.CredentialUnrecognised) and (presented.token or "").count(".") != 2:
        return "token_not_found"  # not even the form of a token that is signed: S2's clients know it by this name
    return _CODES.get(error.code, "token_invalid")


def _refusal(code: VerdictCode, detail: str) -> ValidateOut:
    return ValidateOut(
        valid=False,
        kind=None,
        scopes=(),
        token_id=None,
        name=None,
        user=None,
        expires_at=None,
        error=code,
        detail=detail,
    )


_ME: dict[str, Any] = {
    "guards": [requires_user],
    "opt": accepts(*MACHINES),
    "tags": _TAGS,
    "sync_to_thread": False,
}


def _user(request: Request[Principal, Any, Any]) -> User:
    assert request.user.user is not None
    return request.user.user


@get("/auth/me", summary="Who am I?", **_ME)
def me(request: Request[Principal, Any, Any]) -> Me:
    """Return who the caller is, with roles, teams and domains."""
    return Me(**me_of(_user(request)))  # type: ignore[arg-type]


@get("/v1/me", summary="Who am I? With createdAt, updatedAt and an upper-case role", **_ME)
def me_v1(request: Request[Principal, Any, Any]) -> MeV1:
    """The same as /auth/me, with `createdAt`, `updatedAt` and an upper-case `role`."""
    user = _user(request)
    own = {**me_of(user), "role": user.role.upper()}
    return MeV1(**own, createdAt=user.created_at, updatedAt=user.updated_at)  # type: ignore[arg-type]


@get("/api/auth/me", summary="Who am I? With a message", **_ME)
def me_api(request: Request[Principal, Any, Any]) -> MeApi:
    """The same as /auth/me, with a `message`."""
    return MeApi(**me_of(_user(request)))  # type: ignore[arg-type]


ROUTES = (validate, me, me_v1, me_api)
