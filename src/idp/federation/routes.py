"""Routes for apps: the providers, the exchange of a code for a session, and the identities of a user."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from litestar import Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct

from idp import errors
from idp.accounts.foreign_users import ForeignUsers
from idp.accounts.shapes import SessionOut
from idp.audit.record import origin_of
from idp.db.engine import Database
from idp.federation import own_identities
from idp.federation.own_identities import link_journey
from idp.federation.sign_in import FederatedSignIn
from idp.ops.openapi import responses
from idp.ops.security_headers import NO_STORE
from idp.principal.guards import public, requires_fresh_login, requires_user
from idp.principal.requests import AnyRequest, UserRequest, user_id_of
from idp.sessions.form_tokens import FormTokens
from idp.users import identities

_TAGS = ["Federation"]


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
    async with database.transaction() as session:
        rows = await identities.list_of(session, user_id_of(request))
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
    await own_identities.unlink(database, foreign_users, request.user, origin_of(request), identity_id)
    return UnlinkedIdentity(success=True, id=identity_id)


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
    journey = link_journey(request.user, return_to=data.return_to)
    url = await federated_sign_in.begin(chosen, journey, browser=browser)
    return Response(LinkOut(url), cookies=cookies)


ROUTES = (list_providers, exchange_code, list_identities, add_identity, unlink_identity)
