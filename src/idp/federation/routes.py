"""Routes for apps: the providers, the exchange of a code for a session, and the identities of a user."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from litestar import Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from idp import errors
from idp.accounts.foreign_users import ForeignUsers
from idp.accounts.shapes import SessionOut
from idp.apikeys.service import lock
from idp.audit.record import Origin, origin_of
from idp.db.engine import Database
from idp.federation.login_state import FederatedJourney
from idp.federation.models import FederatedSessionRow
from idp.federation.sign_in import FederatedSignIn
from idp.ops.openapi import responses
from idp.ops.security_headers import NO_STORE
from idp.principal.guards import public, requires_fresh_login, requires_user
from idp.principal.reauthorize import reauthorize
from idp.principal.requests import AnyRequest, UserRequest, session_id_of, user_id_of
from idp.sessions import service as sessions
from idp.sessions.form_tokens import FormTokens
from idp.sessions.models import SessionRow
from idp.users import administration, credentials, identities
from idp.users.models import IdentityRow

_TAGS, _UNLINKED = ["Federation"], "identity_unlinked"


class ProviderOut(Struct, frozen=True):
    """A provider to sign in with, and where a browser begins."""

    name: str
    label: str
    start_url: str


class ProviderList(Struct, frozen=True):
    """The providers, in the order in which to show them."""

    providers: list[ProviderOut]


class ExchangeIn(Struct, frozen=True, forbid_unknown_fields=True):
    """The code that the app received, and the verifier of its challenge (RFC 7636)."""

    code: Annotated[str, Meta(max_length=200, examples=["q4S8nXx0Zl1pW7uT9vB2cD5eF6gH3iJ-kLmNoPqRsTU"])]
    code_verifier: Annotated[str, Meta(max_length=200, examples=["dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"])]

    def __repr__(self) -> str:
        return "ExchangeIn(hidden)"


class LinkIn(Struct, frozen=True, forbid_unknown_fields=True):
    """A path of this service to open afterwards."""

    return_to: Annotated[str, Meta(max_length=2000, pattern="^[!-~]*$", examples=["/"])] = "/"


class LinkOut(Struct, frozen=True):
    """Where the browser goes."""

    url: str


class IdentityOut(Struct, frozen=True):
    """An identity at another provider that signs in to the account."""

    id: UUID
    provider: str
    subject: str
    linked_at: datetime


class IdentityList(Struct, frozen=True):
    """The identities of a user."""

    identities: list[IdentityOut]


class UnlinkedIdentity(Struct, frozen=True):
    """The unlinked identity."""

    success: bool
    id: UUID


@get("/auth/providers", opt=public(), tags=_TAGS, summary="List providers to sign in with", sync_to_thread=False)
def list_providers(federated_sign_in: NamedDependency[FederatedSignIn]) -> ProviderList:
    """Return the providers, for the buttons of a sign-in page."""
    shown = [each for each in federated_sign_in.providers if not each.settings.hidden]
    return ProviderList([ProviderOut(each.name, each.label, f"/federation/{each.name}/start") for each in shown])


@post(
    "/auth/federation/exchange",
    opt=public(),
    tags=_TAGS,
    summary="Exchange a code for a session",
    status_code=200,
    cache_control=NO_STORE,
    responses=responses(errors.FederatedLoginInvalid, errors.UserInactive, errors.ValidationFailed),
)
async def exchange_code(
    request: AnyRequest, federated_sign_in: NamedDependency[FederatedSignIn], data: JSONBody[ExchangeIn]
) -> SessionOut:
    """Return the session object for the code of `/federation/{provider}/start?mode=code`, once."""
    return (await federated_sign_in.exchange(request, data.code, verifier=data.code_verifier)).answer


@get("/api/auth/identities", guards=[requires_user], tags=_TAGS, summary="List my identities")
async def list_identities(request: UserRequest, database: NamedDependency[Database]) -> IdentityList:
    """Return the identities that sign in to the user's account, oldest first."""
    query = select(IdentityRow).where(IdentityRow.user_id == user_id_of(request)).order_by(IdentityRow.created_at)
    async with database.transaction() as session:
        rows = (await session.scalars(query)).all()
    return IdentityList([IdentityOut(row.id, row.provider, row.subject, row.created_at) for row in rows])


@delete(
    "/api/auth/identities/{identity_id:uuid}",
    guards=[requires_user, requires_fresh_login],
    tags=_TAGS,
    summary="Unlink an identity",
    status_code=200,
    responses=responses(errors.IdentityNotFound, errors.LastWayIn, errors.FreshLoginRequired),
)
async def unlink_identity(
    request: UserRequest,
    identity_id: FromPath[UUID],
    database: NamedDependency[Database],
    foreign_users: NamedDependency[ForeignUsers],
) -> UnlinkedIdentity:
    """Unlink an identity, take away what its claim rules gave, and end the other sessions that it began.

    Never the last way to sign in.
    """
    user_id, origin = user_id_of(request), origin_of(request)
    async with database.transaction() as session:
        await lock(session)
        await administration.hold(session, user_id)
        await reauthorize(session, request.user)
        linked = await identities.list_of(session, user_id)
        found = [row for row in linked if row.id == identity_id]
        if not found:
            raise errors.IdentityNotFound
        holder = await credentials.find_by_id(session, user_id)
        if len(linked) == 1 and (holder is None or holder.password_hash is None):
            raise errors.LastWayIn
        await foreign_users.unlink(session, origin, found[0])
        await _end_sessions(session, origin, found[0], keep=session_id_of(request))
    return UnlinkedIdentity(success=True, id=identity_id)


async def _end_sessions(session: AsyncSession, origin: Origin, identity: IdentityRow, *, keep: UUID | None) -> None:
    """End the sessions that a user began with an identity: who unlinks it may not trust it any more."""
    began = (
        select(SessionRow.id)
        .join(FederatedSessionRow, FederatedSessionRow.session_id == SessionRow.id)
        .where(
            SessionRow.user_id == identity.user_id,
            FederatedSessionRow.subject == identity.subject,
            SessionRow.ended_at.is_(None),
        )
    )
    for session_id in (await session.scalars(began)).all():
        if session_id != keep:
            await sessions.end(session, origin, session_id, user_id=identity.user_id, reason=_UNLINKED)


@post(
    "/api/auth/identities/{provider:str}",
    guards=[requires_user, requires_fresh_login],
    tags=_TAGS,
    summary="Link an identity",
    status_code=200,
    cache_control=NO_STORE,
    responses=responses(errors.ProviderNotFound, errors.FreshLoginRequired, errors.DependencyUnavailable),
)
async def add_identity(
    request: UserRequest,
    provider: FromPath[str],
    federated_sign_in: NamedDependency[FederatedSignIn],
    form_tokens: NamedDependency[FormTokens],
    data: JSONBody[LinkIn],
) -> Response[LinkOut]:
    """Return the URL at a provider where the browser goes to link an identity to the user's account."""
    chosen = federated_sign_in.providers.get(provider)
    browser, cookies = form_tokens.browser(request.cookies)
    session_id = session_id_of(request)
    journey = FederatedJourney(
        "link",
        return_to=data.return_to,
        user_id=user_id_of(request),
        session_id=str(session_id) if session_id else None,
    )
    url = await federated_sign_in.begin(chosen, journey, browser=browser)
    return Response(LinkOut(url), cookies=cookies)


ROUTES = (list_providers, exchange_code, list_identities, add_identity, unlink_identity)
