"""The authorization endpoint: a valid request is saved, `_advance` decides the next step, and every step returns to it.

Steps are pages that never lead to each other, so that a reload, the back button and a second tab do no harm: each asks
again what is still missing. Within `REPEATABLE` a finished request gives another code, for a browser that repeats it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

import msgspec
import structlog
from msgspec import Struct, structs
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from idp import clock
from idp.audit.record import Origin, record
from idp.db.engine import Database
from idp.errors import AuthorizationRequestExpired
from idp.principal.guards import check_not_for_support
from idp.principal.model import TWO_FACTORS, Principal
from idp.principal.permissions import OFFLINE_ACCESS
from idp.provider import consents
from idp.provider.authorization_checks import HintReader, Parameters, check_address, check_client, check_request
from idp.provider.authorization_request import AuthorizationRequest, Prompt, ReturnAddress
from idp.provider.authorization_response import (
    AuthorizationError,
    AuthorizationResponse,
    code_response,
    error_response,
)
from idp.provider.claims import claims_within, scopes_of
from idp.provider.codes import AuthorizationCodes
from idp.provider.models import AuthorizationRequestRow, ClientRow
from idp.provider.redirect_uris import is_registered
from idp.users.factors.enrolled import overview

log = structlog.get_logger("idp.provider")

LIFE = timedelta(hours=1)  # long enough to register and confirm an address
REPEATABLE = timedelta(minutes=1)
Page = Literal["continue", "login", "choose", "second_factor", "consent"]


class Show(Struct, frozen=True):
    """The next step is a page, for the saved request with this id."""

    page: Page
    request_id: UUID


Step = Show | AuthorizationResponse


class PendingRequest(Struct, frozen=True):
    """A saved request, for pages.

    Attributes:
        scopes: what the app asks for, with the scopes of claims that it requests one by one.
        prompt, login_hint, ui_locales, idp_hint, domain_hint: as requested.
    """

    id: UUID
    client_id: str
    client_name: str
    client_uri: str | None
    policy_uri: str | None
    tos_uri: str | None
    redirect_uri: str
    scopes: tuple[str, ...]
    prompt: tuple[Prompt, ...]
    login_hint: str | None
    ui_locales: str | None
    idp_hint: str | None = None
    domain_hint: str | None = None


class _State(Struct):
    """What has happened to a request.

    Attributes:
        created_at: when it arrived.
        consented_user_id: who approved it.
        chosen_session_id: the session that the user chose to continue with.
        begun_session_id: the session that the user began for it.
    """

    created_at: datetime
    consented_user_id: str | None = None
    chosen_session_id: UUID | None = None
    begun_session_id: UUID | None = None


class Authorization:
    """Answers authorization requests.

    Args:
        database: stores requests, codes and consents.
        codes: issues codes.
        issuer: our issuer identifier.
        read_hint: returns the claims of an ID token that we issued, None for any other text.
    """

    def __init__(self, database: Database, codes: AuthorizationCodes, *, issuer: str, read_hint: HintReader) -> None:
        self._database = database
        self._codes = codes
        self._issuer = issuer
        self._read_hint = read_hint

    async def begin(self, pairs: Sequence[tuple[str, str]], browser: Principal | None, origin: Origin) -> Step:
        """Check a request, and return its response, or the page that it waits for.

        Args:
            pairs: the parameters as sent.
            browser: who is signed in in this browser, by session cookie.
            origin: the request's origin, for audit records.

        Raises:
            AuthorizationRequestInvalid, UnknownClient, RedirectUriMismatch: client and redirect URI are not proven.
            DatabaseUnavailable: PostgreSQL is unavailable.
        """

        async def advance(session: AsyncSession, client: ClientRow, request: AuthorizationRequest) -> Step:
            return await self._advance(session, client, request, _State(clock.now()), browser, origin)

        return await self._check(pairs, advance)

    async def save(self, pairs: Sequence[tuple[str, str]]) -> Step:
        """Check a request, and save it without looking at who is signed in; `resume` continues. Raises as `begin`."""

        async def save(session: AsyncSession, _client: ClientRow, request: AuthorizationRequest) -> Step:
            return Show("continue", _save(session, request, _State(clock.now())).id)

        return await self._check(pairs, save)

    async def _check(
        self,
        pairs: Sequence[tuple[str, str]],
        go_on: Callable[[AsyncSession, ClientRow, AuthorizationRequest], Awaitable[Step]],
    ) -> Step:
        """Check a request, and go on in the same transaction; errors of a proven client are sent to it."""
        parameters = Parameters(pairs)
        client_id = parameters.get("client_id") or ""
        async with self._transaction() as session:
            found = await session.get(ClientRow, client_id) if _is_storable(client_id) else None
            client = check_client(parameters, found)
            address = check_address(parameters, client)
            try:
                request = await check_request(parameters, client, address, read_hint=self._read_hint)
                return await go_on(session, client, request)
            except AuthorizationError as error:
                return self._refuse(client_id, address, error)

    async def resume(self, request_id: str, browser: Principal | None, origin: Origin) -> Step:
        """Return the next step of a saved request, after a page.

        Raises:
            AuthorizationRequestExpired: it is unknown, expired or finished, or its client was deleted.
            DatabaseUnavailable: PostgreSQL is unavailable.
        """
        async with self._transaction() as session:
            row, client, request = await self._load(session, request_id, lock=True)
            state = _State(row.created_at, row.consented_user_id, row.chosen_session_id, row.begun_session_id)
            try:
                return await self._advance(session, client, request, state, browser, origin, row=row)
            except AuthorizationError as error:
                return self._refuse(client.client_id, request.address, error)

    async def pending(self, request_id: str) -> PendingRequest:
        """Return a saved request, for a page. Raises as `resume`."""
        async with self._transaction() as session:
            row, client, request = await self._load(session, request_id)
        return PendingRequest(
            id=row.id,
            client_id=client.client_id,
            client_name=client.name,
            client_uri=client.client_uri,
            policy_uri=client.policy_uri,
            tos_uri=client.tos_uri,
            redirect_uri=request.address.redirect_uri,
            scopes=_asked(request),
            prompt=request.prompt,
            login_hint=request.login_hint,
            ui_locales=request.ui_locales,
            idp_hint=request.idp_hint,
            domain_hint=request.domain_hint,
        )

    async def choose(self, request_id: str, principal: Principal) -> None:
        """Continue a request as the user of this session, who chose it. Raises as `resume`."""
        async with self._transaction() as session:
            row, _, _ = await self._load(session, request_id, lock=True)
            row.chosen_session_id = UUID(principal.credential.session_id)

    async def signed_in(self, request_id: str, session_id: UUID) -> None:
        """Record that the user has signed in for a request. Raises as `resume`."""
        async with self._transaction() as session:
            row, _, _ = await self._load(session, request_id, lock=True)
            row.chosen_session_id = row.begun_session_id = session_id

    async def approve(self, request_id: str, principal: Principal, origin: Origin) -> None:
        """Record that the user grants a request what it asks for.

        Raises:
            SupportSession: an administrator acts as the user; otherwise as `resume`.
        """
        check_not_for_support(principal)
        async with self._transaction() as session:
            row, client, request = await self._load(session, request_id, lock=True)
            row.consented_user_id = principal.user_id
            scopes = _asked(request)
            await consents.grant(session, principal.user_id, client.client_id, scopes)
            details = {"client_id": client.client_id, "scopes": list(scopes)}
            record(session, origin, action="consent.granted", user_id=principal.user_id, details=details)

    async def deny(self, request_id: str, principal: Principal, origin: Origin) -> AuthorizationResponse:
        """Return the response of a request that the user refused. Raises as `approve`."""
        check_not_for_support(principal)
        async with self._transaction() as session:
            row, client, request = await self._load(session, request_id, lock=True)
            row.completed_at = row.completed_at or clock.now()
            details = {"client_id": client.client_id, "scopes": list(_asked(request))}
            record(session, origin, action="consent.denied", user_id=principal.user_id, details=details)
        error = AuthorizationError("access_denied", "The user refused the request.")
        return error_response(request.address, error, issuer=self._issuer)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncSession]:
        """Open a transaction; a client that is deleted meanwhile ends the request.

        Raises:
            AuthorizationRequestExpired: the client is gone.
        """
        try:
            async with self._database.transaction() as session:
                yield session
        except IntegrityError:  # what the transaction added belongs to a client that no longer exists
            raise AuthorizationRequestExpired from None

    def _refuse(self, client_id: str, address: ReturnAddress, error: AuthorizationError) -> AuthorizationResponse:
        log.info("authorization request refused", client_id=client_id, error=error.code, reason=error.description)
        return error_response(address, error, issuer=self._issuer)

    async def _load(
        self, session: AsyncSession, request_id: str, *, lock: bool = False
    ) -> tuple[AuthorizationRequestRow, ClientRow, AuthorizationRequest]:
        try:
            key = UUID(request_id)
        except ValueError:
            raise AuthorizationRequestExpired from None
        row = await session.get(AuthorizationRequestRow, key, with_for_update=lock or None)
        now = clock.now()
        if row is None or row.expires_at <= now or (row.completed_at and row.completed_at + REPEATABLE <= now):
            raise AuthorizationRequestExpired
        client = await session.get(ClientRow, row.client_id)
        request = msgspec.convert(row.parameters, AuthorizationRequest)
        if client is None or not _still_allows(client, request):
            raise AuthorizationRequestExpired
        return row, client, request

    async def _advance(
        self,
        session: AsyncSession,
        client: ClientRow,
        request: AuthorizationRequest,
        state: _State,
        browser: Principal | None,
        origin: Origin,
        *,
        row: AuthorizationRequestRow | None = None,
    ) -> Step:
        """Decide the next step: sign in, choose the account, second factor, consent, then the code.

        Raises:
            AuthorizationError: the request forbids the step that is needed, or nobody could satisfy it.
        """
        page = await self._missing(session, client, request, state, browser)
        if page is not None:
            if "none" in request.prompt:
                raise _interaction_required(page)
            return Show(page, (row or _save(session, request, state)).id)
        assert browser is not None
        if request.acr_values and browser.credential.acr not in request.acr_values:
            raise AuthorizationError(
                "unmet_authentication_requirements", "The sign-in does not have a requested acr value."
            )
        if row is not None:
            row.completed_at = row.completed_at or clock.now()
        # Nobody acts for support for longer than an access token lives.
        refreshes = _refreshes(client) and not browser.credential.is_for_support
        scopes = tuple(each for each in request.scopes if each != OFFLINE_ACCESS or refreshes)
        code = self._codes.issue(session, request, scopes, UUID(browser.credential.session_id))
        details = {"client_id": client.client_id, "scopes": list(scopes)}
        by = structs.replace(origin, impersonator=browser.credential.impersonator)
        record(session, by, action="authorization.granted", user_id=browser.user_id, details=details)
        return code_response(request.address, code, issuer=self._issuer)

    async def _missing(
        self,
        session: AsyncSession,
        client: ClientRow,
        request: AuthorizationRequest,
        state: _State,
        browser: Principal | None,
    ) -> Page | None:
        """Return the page that is still needed, None if there is none."""
        if browser is None or not _is_recent(request, state, browser):
            return "login"
        session_id = browser.credential.session_id
        if request.subject not in {None, browser.user_id}:
            if session_id == str(state.begun_session_id):
                raise AuthorizationError("login_required", "Another user than the requested one has signed in.")
            return "login"
        is_chosen = session_id == str(state.chosen_session_id) or _signed_in_since(browser, state.created_at)
        if "select_account" in request.prompt and not is_chosen:
            return "choose"
        if await _needs_second_factor(session, request, browser):
            return "second_factor"
        if state.consented_user_id == browser.user_id:
            return None
        if "consent" in request.prompt:
            return "consent"
        if client.skip_consent:
            return None
        known: frozenset[str] = frozenset()
        if consents.is_remembered_for(client):
            known = await consents.granted_scopes(session, browser.user_id, client.client_id)
        return None if known >= set(_asked(request)) else "consent"


def _save(session: AsyncSession, request: AuthorizationRequest, state: _State) -> AuthorizationRequestRow:
    row = AuthorizationRequestRow(
        id=uuid7(),
        client_id=request.client_id,
        parameters=msgspec.to_builtins(request),
        created_at=state.created_at,
        expires_at=state.created_at + LIFE,
    )
    session.add(row)
    return row


def _is_recent(request: AuthorizationRequest, state: _State, browser: Principal) -> bool:
    """Whether the sign-in is as recent as `prompt=login` and `max_age` require, counted from the request (SEC-45).

    A session that began for this request is, whatever the clocks of two processes say.
    """
    if "login" not in request.prompt and request.max_age is None:
        return True
    if state.begun_session_id is not None and str(state.begun_session_id) == browser.credential.session_id:
        return True
    age = timedelta(0) if "login" in request.prompt else timedelta(seconds=request.max_age or 0)
    return _signed_in_since(browser, state.created_at - age)


async def _needs_second_factor(session: AsyncSession, request: AuthorizationRequest, browser: Principal) -> bool:
    """Whether the request asks for two factors, and the user has a second one that they did not use.

    Without one, a voluntary request (`acr_values`) is answered with the sign-in that there is, and an essential one
    (`claims`) is refused (OpenID Connect Core section 5.5.1.1).
    """
    acr = browser.credential.acr
    asked = (request.acr_values and acr not in request.acr_values and TWO_FACTORS in request.acr_values) or (
        request.preferred_acr == TWO_FACTORS and acr != TWO_FACTORS
    )
    if not asked or browser.credential.is_for_support:
        return False
    return (await overview(session, browser.user_id)).has_any


def _signed_in_since(browser: Principal, moment: datetime) -> bool:
    auth_time = browser.credential.auth_time
    return auth_time is not None and auth_time >= moment


def _asked(request: AuthorizationRequest) -> tuple[str, ...]:
    """Return what the user is asked to grant."""
    return tuple(dict.fromkeys((*request.scopes, *sorted(scopes_of(request.claims)))))


def _refreshes(client: ClientRow) -> bool:
    return "refresh_token" in client.grant_types


def _still_allows(client: ClientRow, request: AuthorizationRequest) -> bool:
    """Whether the client may still do what it asked for: it may have been changed since."""
    return (
        "authorization_code" in client.grant_types
        and set(request.scopes) <= set(client.scopes)
        and claims_within(request.claims, client.scopes) == request.claims
        and set(request.resources) <= set(client.resources)
        and is_registered(
            request.address.redirect_uri, client.redirect_uris, native=client.application_type == "native"
        )
    )


def _interaction_required(page: Page) -> AuthorizationError:
    """Return the error of a request with `prompt=none` (OpenID Connect Core section 3.1.2.6)."""
    match page:
        case "choose":
            return AuthorizationError("account_selection_required", "The user must choose an account.")
        case "consent":
            return AuthorizationError("consent_required", "The user must consent.")
        case "second_factor":
            return AuthorizationError("interaction_required", "The user must prove the second factor.")
        case _:
            return AuthorizationError("login_required", "The user must sign in.")


def _is_storable(text: str) -> bool:
    return 0 < len(text) <= 128 and "\x00" not in text
