"""A login at a provider, from its button to a session: begin, come back, prove an account, exchange an app's code."""

from collections.abc import Mapping
from functools import partial
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from litestar import Request
from msgspec import Struct, convert, structs, to_builtins
from sqlalchemy.ext.asyncio import AsyncSession

from idp.accounts.foreign_users import ForeignUsers
from idp.accounts.pending_sign_ins import FoundSignIn
from idp.accounts.start_session import Begun, Mode, SessionStarter, StartedSession, require_started
from idp.audit.record import origin_of
from idp.db.engine import Database
from idp.errors import (
    FederatedLoginInvalid,
    IdpError,
    LinkAtAccount,
    NoAccountHere,
    TokenRevoked,
    UserInactive,
    UserNotFound,
)
from idp.federation.linking import Linking, NoAccount, ProofNeeded
from idp.federation.login_state import ConsumedLogin, FederatedJourney, LoginStates, PendingLink
from idp.federation.models import FederatedSessionRow
from idp.federation.providers import Provider, Providers
from idp.federation.upstream import UpstreamLogin
from idp.principal.model import MULTI_FACTOR
from idp.principal.reauthorize import require_session
from idp.signing.jwt import Family
from idp.signing.pkce import challenge_of
from idp.signing.sealing import Sealer
from idp.users import credentials, identities
from idp.users.factors.enrolled import overview

_KEPT = "federated_login"
AMR = ("fed",)  # signed in at another provider that does not say how


class SignedIn(Struct, frozen=True):
    """The browser has a session, or waits for the second factor."""

    started: Begun
    journey: FederatedJourney


class ProveAccount(Struct, frozen=True):
    """An account with the address exists; its owner must prove it."""

    login_id: UUID
    journey: FederatedJourney


class ReturnToApp(Struct, frozen=True):
    """A single-page app gets a code at its page."""

    url: str


class IdentityLinked(Struct, frozen=True):
    """The identity was linked to the account of the session that asked for it."""

    journey: FederatedJourney


class Tested(Struct, frozen=True):
    """What a provider said in a test, which signs nobody in."""

    login: UpstreamLogin
    journey: FederatedJourney


class Proven(Struct, frozen=True):
    """An account that its owner has proven.

    Attributes:
        password_version: at the proof; a change since then, as by a claim (C-11), voids it.
    """

    user_id: str
    password_version: int

    async def check(self, session: AsyncSession) -> None:
        """Check the proof in the transaction that relies on it.

        Raises:
            FederatedLoginInvalid: the password has changed since.
            UserInactive: the account is disabled or deleted.
            LinkAtAccount: the account has a second factor, which was not proved.
        """
        holder = await credentials.find_by_id(session, self.user_id)
        if holder is None or not holder.is_active:
            raise UserInactive
        if holder.password_version != self.password_version:
            raise FederatedLoginInvalid
        if (await overview(session, self.user_id)).has_any:
            raise LinkAtAccount


class WaitingLink(Struct, frozen=True):
    """A login that waits for the proof of an account.

    Attributes:
        email: the account's address.
        label: of the provider.
    """

    login_id: str
    user_id: str
    email: str
    label: str
    has_password: bool
    journey: FederatedJourney


class KeptLogin(Struct, frozen=True):
    """What is kept of a login for the logout at either side.

    Attributes:
        provider: its name in the settings.
        issuer: of the identity.
        subject: of the identity.
        sid: the session at the provider.
        sealed_id_token: encrypted, None without one.
    """

    provider: str
    issuer: str
    subject: str
    sid: str | None
    sealed_id_token: str | None


Outcome = SignedIn | ProveAccount | ReturnToApp | IdentityLinked | Tested


class FederatedSignIn:
    """Takes browsers through logins at providers.

    Args:
        database: stores the logins.
        providers: the configured providers.
        states: saves and consumes logins.
        foreign_users: creates users and links identities.
        starter: starts sessions.
        sealer: encrypts ID tokens at rest.
    """

    def __init__(
        self,
        database: Database,
        providers: Providers,
        states: LoginStates,
        foreign_users: ForeignUsers,
        starter: SessionStarter,
        sealer: Sealer,
    ) -> None:
        self.providers = providers
        self._database = database
        self.states = states
        self._foreign_users = foreign_users
        self._linking = Linking(database, foreign_users)
        self._starter = starter
        self._sealer = sealer

    async def begin(
        self, provider: Provider, journey: FederatedJourney, *, browser: str, login_hint: str | None = None
    ) -> str:
        """Save a login, and return the URL at the provider.

        Raises:
            DependencyUnavailable: the provider cannot be reached, or PostgreSQL.
        """
        async with self._database.transaction() as session:
            login = self.states.begin(session, provider.name, journey, browser=browser, login_hint=login_hint)
        return await provider.upstream.authorization_url(login)

    async def come_back(
        self,
        request: Request[Any, Any, Any],
        provider: Provider,
        answer: Mapping[str, str],
        *,
        browser: str,
        user_id: str | None,
    ) -> Outcome:
        """Take the provider's answer, and return what happens next.

        Args:
            request: the callback.
            provider: of the callback's path.
            answer: its parameters.
            browser: the secret in the cookie of this browser.
            user_id: whose session the browser has.

        Raises:
            FederatedLoginInvalid: no login of this browser has this state, or another user began to link an identity.
            UpstreamRefused: the provider refused, or its answer is not acceptable.
            NoAccountHere: there is no account, and the provider may not create one.
            IdentityTaken: the identity to link belongs to another account.
            UserInactive: the account is disabled.
            DependencyUnavailable: the provider cannot be reached, or PostgreSQL.
        """
        async with self._database.transaction() as session:  # committed first: a login is used once
            consumed = await self.states.consume(session, provider.name, answer.get("state", ""), browser=browser)
        try:
            if consumed.journey.user_id is not None and user_id not in {None, consumed.journey.user_id}:
                raise FederatedLoginInvalid
            return await self._complete(request, provider, answer, consumed)
        except IdpError as error:
            error.extra["journey"] = consumed.journey.query  # for the page that offers the other ways to sign in
            raise

    async def _complete(
        self, request: Request[Any, Any, Any], provider: Provider, answer: Mapping[str, str], consumed: ConsumedLogin
    ) -> Outcome:
        login = await provider.upstream.complete(consumed.request, answer)
        journey = consumed.journey
        if journey.purpose == "test":
            return Tested(login, journey)
        if journey.purpose == "link":
            await self._link_for_session(request, journey, login)
            return IdentityLinked(journey)
        account = await self._linking.user_for(login, create=provider.settings.create_users)
        if isinstance(account, NoAccount):
            raise NoAccountHere
        if isinstance(account, ProofNeeded):
            pending = PendingLink(account.holder.user_id, login.identity.email or "", login)
            async with self._database.transaction() as session:
                await self.states.keep(session, consumed.id, pending)
            return ProveAccount(consumed.id, journey)
        return await self._go_on(request, consumed, account.user_id, login)

    async def _link_for_session(
        self, request: Request[Any, Any, Any], journey: FederatedJourney, login: UpstreamLogin
    ) -> None:
        """Link the identity to the account of the session that asked for it, if that session has not ended since."""
        assert journey.user_id is not None
        proof = partial(require_session, user_id=journey.user_id, session_id=journey.session_id)
        try:
            await self._foreign_users.link(
                journey.user_id, login.identity, login.evaluation, origin_of(request), proof=proof
            )
        except (TokenRevoked, UserNotFound):
            raise FederatedLoginInvalid from None

    async def waiting(self, login_id: str, *, browser: str) -> WaitingLink:
        """Return the login of this browser that waits for a proof.

        Raises:
            FederatedLoginInvalid: nothing waits in this browser.
        """
        async with self._database.transaction() as session:
            pending, journey, provider = await self.states.pending_link(session, login_id, browser=browser)
            holder = await credentials.find_by_id(session, pending.user_id)
        if holder is None:
            raise FederatedLoginInvalid
        bound = self.providers.find_of_email(pending.email)
        has_password = holder.password_hash is not None and not (bound is not None and bound.settings.refuse_passwords)
        label = self.providers.get(provider).label
        return WaitingLink(login_id, holder.user_id, pending.email, label, has_password, journey)

    async def link_proven(
        self, request: Request[Any, Any, Any], login_id: str, *, browser: str, proven: Proven
    ) -> tuple[Begun, FederatedJourney]:
        """Link the identity that waits to the account whose owner has just proven it, once, and sign in.

        Args:
            request: the request with the proof.
            login_id: of the waiting login.
            browser: the secret in the cookie of this browser.
            proven: the account.

        Raises:
            FederatedLoginInvalid: nothing waits in this browser for this account, or its password has changed since
                the proof.
            IdentityTaken: the identity was linked elsewhere meanwhile.
            UserInactive: the account is disabled.
            LinkAtAccount: the account has a second factor.
        """
        user_id = proven.user_id
        async with self._database.transaction() as session:
            pending, journey, provider = await self.states.pending_link(session, login_id, browser=browser, lock=True)
            if pending.user_id != user_id:
                raise FederatedLoginInvalid
            await proven.check(session)
            await self.states.finish(session, login_id)
        login = pending.login
        await self._foreign_users.link(
            user_id, login.identity, login.evaluation, origin_of(request), proof=proven.check
        )
        # The person who proved the account is not yet known as the owner of the identity: its `mfa` proves nothing.
        login = structs.replace(login, amr=tuple(each for each in login.amr if each != MULTI_FACTOR))
        return await self.start_session(request, user_id, login, provider, mode="cookie"), journey

    async def _go_on(
        self, request: Request[Any, Any, Any], consumed: ConsumedLogin, user_id: str, login: UpstreamLogin
    ) -> Outcome:
        journey = consumed.journey
        if journey.mode == "code":
            async with self._database.transaction() as session:
                code = await self.states.issue_code(session, consumed.id, login, user_id)
            return ReturnToApp(_with_parameters(journey.return_to or "/", {"code": code}))
        leave_to = journey.return_to if journey.purpose == "app" else None
        started = await self.start_session(request, user_id, login, consumed.provider, mode="cookie", leave_to=leave_to)
        return SignedIn(started, journey)

    async def exchange(self, request: Request[Any, Any, Any], code: str, *, verifier: str) -> StartedSession:
        """Start the session of a single-page app with its code.

        Raises:
            FederatedLoginInvalid: the code is unknown, expired or used, or the verifier does not fit.
            UserInactive: the account is disabled.
        """
        challenge = challenge_of(verifier)
        if challenge is None:
            raise FederatedLoginInvalid
        async with self._database.transaction() as session:
            user_id, login, provider = await self.states.redeem_code(session, code, code_challenge=challenge)
        return require_started(await self.start_session(request, user_id, login, provider, mode="token"))

    async def start_session(
        self,
        request: Request[Any, Any, Any],
        user_id: str,
        login: UpstreamLogin,
        provider: str,
        *,
        mode: Mode,
        leave_to: str | None = None,
    ) -> Begun:
        """Start a session of the account of a login, or let it wait for the second factor.

        Raises:
            FederatedLoginInvalid: the identity was unlinked since.
            UserInactive: the account is disabled or deleted.
        """
        sealed = None if login.id_token is None else self._sealer.seal(login.id_token.encode(), purpose="id-token")
        of = KeptLogin(provider, login.identity.provider, login.identity.subject, login.sid, sealed)

        async def start(session: AsyncSession) -> Begun:
            holder = await credentials.find_by_id(session, user_id)
            if holder is None or not holder.is_active:
                raise UserInactive
            await self._check_linked(session, user_id, of)
            started = await self._starter.start(
                session,
                request,
                user_id,
                family=Family.API_AUTH,
                message="Login successful",
                password_version=holder.password_version,
                amr=login.amr or AMR,
                mode=mode,
                kept={_KEPT: to_builtins(of)},
                leave_to=leave_to,
            )
            if isinstance(started, StartedSession):
                _keep(session, started.session_id, of)
            return started

        return await self._database.transact(start)

    async def keep_login(self, session: AsyncSession, found: FoundSignIn, session_id: UUID) -> None:
        """Keep the login of a session that waited for the second factor, in its transaction.

        Raises:
            FederatedLoginInvalid: the identity was unlinked since.
        """
        if _KEPT in found.details.kept:
            of = convert(found.details.kept[_KEPT], KeptLogin)
            await self._check_linked(session, found.user_id, of)
            _keep(session, session_id, of)

    async def _check_linked(self, session: AsyncSession, user_id: str, of: KeptLogin) -> None:
        if await identities.find_user(session, of.issuer, of.subject) != user_id:
            raise FederatedLoginInvalid


def _keep(session: AsyncSession, session_id: UUID, of: KeptLogin) -> None:
    session.add(
        FederatedSessionRow(
            session_id=session_id,
            provider=of.provider,
            subject=of.subject,
            sid=of.sid,
            sealed_id_token=of.sealed_id_token,
        )
    )


def _with_parameters(url: str, parameters: dict[str, str]) -> str:
    return f"{url}{'&' if '?' in url else '?'}{urlencode(parameters)}"
