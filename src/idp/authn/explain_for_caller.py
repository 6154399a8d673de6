"""Explanations that a caller may have: of their own credentials, or of any for administrators, which is audited."""

from msgspec import Struct

from idp import errors
from idp.audit.record import origin_of, record
from idp.authn.credential import from_token
from idp.authn.explain import Explained, Explainer
from idp.authn.explain_shapes import ExplainedRoute, ExplainIn, Explanation
from idp.authn.resolve import Resolver
from idp.authn.rights import Right
from idp.authn.route_admission import find_route
from idp.authn.routes import client_of
from idp.checks import shown
from idp.db.engine import Database
from idp.ops.problems import invalid
from idp.principal.guards import check_manages
from idp.principal.model import Principal, User
from idp.principal.reauthorize import reauthorize
from idp.principal.requests import UserRequest


class ExplainPerson(Struct, frozen=True):
    """The user and the route to explain."""

    user_id: str
    route: str | None


_NOT_YOURS = "This credential cannot be proven to be yours; only administrators may have it explained."
_NOT_YOURS_REMEDY = "Send a credential of your own account, unchanged, or ask an administrator."


async def explain_for(request: UserRequest, explainer: Explainer, database: Database, data: ExplainIn) -> Explanation:
    """Explain the decision about a credential to the caller.

    Args:
        request: of the caller.
        explainer: explains.
        database: stores the audit record.
        data: the credential, and a route.

    Raises:
        AdminRequired: the credential is not the caller's, who is no administrator.
        ValidationFailed: the request cannot be explained.
        RateLimited: as `Explainer.of`.
    """
    explained = await _explain(request, explainer, data)
    if not explained.is_about(request.user):
        _check_manages(request.user)
        await _audit(request, database, explained, route=data.route)
    return explained.explanation


class ExplainedPerson(Struct, frozen=True):
    """What a user may do, and whether a route would admit them right after a sign-in."""

    user: User
    rights: list[Right]
    route: ExplainedRoute | None


async def explain_person(
    request: UserRequest, explainer: Explainer, resolver: Resolver, database: Database, about: ExplainPerson
) -> ExplainedPerson:
    """Explain to an administrator what a user may do, which is audited.

    Raises:
        AdminRequired: the caller is no administrator.
        TokenNotFound, UserInactive: there is no such user, or they are disabled.
        ValidationFailed: the route does not exist.
    """
    _check_manages(request.user)
    route = find_route(request.app, about.route) if about.route else None
    principal = await resolver.signed_in_now(about.user_id)
    rights, told = await explainer.of_person(principal, route, request.app)
    async with database.transaction() as session:
        await reauthorize(session, request.user, manages=True)
        details = {"route": about.route}
        record(session, origin_of(request), action="user.explained", user_id=about.user_id, details=details)
    return ExplainedPerson(principal.user or await resolver.user(about.user_id), rights, told)


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
