"""POST /auth/explain: why a credential was accepted or refused."""

from litestar import post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from idp import errors
from idp.audit.record import origin_of, record
from idp.authn.credential import from_token
from idp.authn.explain import Explained, Explainer
from idp.authn.explain_shapes import ExplainIn, Explanation
from idp.authn.route_admission import find_route
from idp.authn.routes import client_of
from idp.checks import shown
from idp.db.engine import Database
from idp.ops.openapi import responses
from idp.ops.problems import invalid
from idp.principal.guards import accepts, accepts_shared_secret, check_manages, requires_principal
from idp.principal.model import AuthMethod, Principal
from idp.principal.reauthorize import reauthorize
from idp.principal.requests import UserRequest

_NOT_YOURS = "This credential cannot be proven to be yours; only administrators may have it explained."
_NOT_YOURS_REMEDY = "Send a credential of your own account, unchanged, or ask an administrator."


@post(
    "/auth/explain",
    guards=[requires_principal],
    opt=accepts(AuthMethod.ADMIN_TOKEN, AuthMethod.SERVICE_TOKEN) | accepts_shared_secret(),
    tags=["Authentication"],
    summary="Explain a decision about a credential",
    status_code=200,
    responses=responses(errors.AdminRequired, errors.SharedSecretToken, errors.ValidationFailed, errors.RateLimited),
)
async def explain_credential(
    request: UserRequest,
    explainer: NamedDependency[Explainer],
    database: NamedDependency[Database],
    data: JSONBody[ExplainIn],
) -> Explanation:
    """Explain which authenticator owned a credential, every check, where each right comes from, and a route's policy.

    Everyone may explain their own credentials, administrators any; theirs about others are audited. A credential that
    cannot be proven to be the caller's, such as one with a wrong signature, is not theirs. Limited as validate is.
    """
    explained = await _explain(request, explainer, data)
    if not explained.is_about(request.user):
        _check_manages(request.user)
        await _audit(request, database, explained, route=data.route)
    return explained.explanation


def _check_manages(caller: Principal) -> None:
    try:
        check_manages(caller)
    except errors.AdminRequired:
        raise errors.AdminRequired(_NOT_YOURS, remedy=_NOT_YOURS_REMEDY) from None


async def _explain(request: UserRequest, explainer: Explainer, data: ExplainIn) -> Explained:
    if data.token is not None and data.headers is not None:
        raise invalid(["body", "headers"], "Send either `token` or `headers`, not both.")
    route = find_route(request.app, data.route) if data.route is not None else None
    client = client_of(request)
    if data.token is not None:
        return await explainer.of(from_token(data.token), route, request.app, client=client)
    if data.headers is None:
        return await explainer.of_headers(request.scope["headers"], route, request.app, client=client)
    headers = {"host": request.headers.get("host", ""), **{name.lower(): value for name, value in data.headers.items()}}
    return await explainer.of_headers(_raw(headers), route, request.app, client=client)


def _raw(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    try:
        return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    except UnicodeEncodeError:
        raise invalid(["body", "headers"], "A header has a character outside Latin-1.") from None


async def _audit(request: UserRequest, database: Database, explained: Explained, *, route: str | None) -> None:
    """Record that an administrator had another's credential explained, in a transaction that checks them again."""
    principal, verdict = explained.principal, explained.explanation.verdict
    users = sorted(each.removeprefix("user:") for each in explained.owners if each.startswith("user:"))
    credential = principal.credential if principal else None
    details = {
        "authenticator": explained.explanation.owner,
        "credential": shown(credential.id) if credential else None,
        "code": verdict.code,
        "route": route,
    }
    async with database.transaction() as session:
        await reauthorize(session, request.user, manages=True)
        record(
            session,
            origin_of(request),
            action="credential.explained",
            user_id=shown(users[0]) if users else None,
            details=details,
        )


ROUTES = (explain_credential,)
