"""Logins on their way: saved when the browser leaves, consumed once when it comes back (SEC-67, RFC 9700 section 4.7).

The state is bound to the browser by a cookie. Nonce and PKCE verifier are derived from it, so only a digest is stored.
"""

import re
import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Literal
from uuid import UUID

import msgspec
from msgspec import Struct, structs
from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from idp import clock
from idp.errors import FederatedLoginInvalid
from idp.federation.models import FederatedLoginRow
from idp.federation.upstream import LoginRequest, UpstreamLogin
from idp.settings import Secret
from idp.signing.peppers import Peppers
from idp.signing.sealing import Sealer

LIFE = timedelta(minutes=15)
_CODE_LIFE = timedelta(seconds=60)
_STATE = re.compile(r"[A-Za-z0-9_-]{43}\Z")
_BATCH = 1000


class FederatedJourney(Struct, frozen=True):
    """Why a browser is sent to a provider, and where it goes on.

    Attributes:
        purpose: `sign_in` in one of our pages, `app` for a single-page app, `link` to the account of a session,
            `test` for an administrator, who sees what the provider says.
        query: of our next page, as `?request=…`.
        return_to: the page of the app.
        mode: how the app's session continues.
        code_challenge: of the app (RFC 7636), for `mode` code.
        user_id: whose account is linked, or who tests.
        session_id: the session that asked for it, None for a credential without one.
        fresh: whether the provider must ask again.
    """

    purpose: Literal["sign_in", "app", "link", "test"]
    query: str = ""
    return_to: str | None = None
    mode: Literal["cookie", "code"] = "cookie"
    code_challenge: str | None = None
    user_id: str | None = None
    session_id: str | None = None
    fresh: bool = False


class PendingLink(Struct, frozen=True):
    """An identity that signed in, and is not linked yet.

    Attributes:
        user_id: the account that has its address.
        email: that address.
    """

    user_id: str
    email: str
    login: UpstreamLogin


class ConsumedLogin(Struct, frozen=True):
    """A login whose browser came back."""

    id: Any
    provider: str
    journey: FederatedJourney
    request: LoginRequest


class LoginStates:
    """Saves and consumes logins, inside the caller's transaction.

    Args:
        roots: root secrets, the current one first.
        public_url: of the service, for the callback.
        sealer: encrypts the ID tokens of logins that wait.
    """

    def __init__(self, roots: Sequence[Secret], public_url: str, sealer: Sealer) -> None:
        self._peppers = Peppers(roots, "federated-login")
        self._sealer = sealer
        self._public_url = public_url

    def begin(
        self, session: AsyncSession, provider: str, journey: FederatedJourney, *, browser: str, login_hint: str | None
    ) -> LoginRequest:
        """Save a login, and return what is sent to the provider.

        Args:
            session: the caller's transaction.
            provider: its name.
            journey: why, and where it goes on.
            browser: the secret in the cookie of this browser.
            login_hint: an address to fill in.
        """
        state, now = secrets.token_urlsafe(32), clock.now()
        session.add(
            FederatedLoginRow(
                id=uuid7(),
                provider=provider,
                state_digest=self._digest(state),
                browser_digest=self._digest(f"browser:{browser}"),
                journey=msgspec.to_builtins(journey),
                created_at=now,
                expires_at=now + LIFE,
            )
        )
        return self._request(provider, state, journey.fresh, login_hint)

    async def consume(self, session: AsyncSession, provider: str, state: str, *, browser: str) -> ConsumedLogin:
        """Return the login with this state, once.

        Raises:
            FederatedLoginInvalid: unknown, expired, used, of another provider, or begun in another browser.
        """
        if not _STATE.match(state):
            raise FederatedLoginInvalid
        now = clock.now()
        query = (
            update(FederatedLoginRow)
            .where(
                FederatedLoginRow.state_digest.in_(self._peppers.possible(state)),
                FederatedLoginRow.browser_digest.in_(self._peppers.possible(f"browser:{browser}")),
                FederatedLoginRow.provider == provider,
                FederatedLoginRow.consumed_at.is_(None),
                FederatedLoginRow.expires_at > now,
            )
            .values(consumed_at=now)
            .returning(FederatedLoginRow.id, FederatedLoginRow.journey)
        )
        row = (await session.execute(query)).one_or_none()
        if row is None:
            raise FederatedLoginInvalid
        journey = msgspec.convert(row.journey, FederatedJourney)
        return ConsumedLogin(row.id, provider, journey, self._request(provider, state, journey.fresh, None))

    async def keep(self, session: AsyncSession, login_id: Any, pending: PendingLink) -> None:
        """Keep the identity of a consumed login until its account is proven."""
        sealed = structs.replace(pending, login=self._sealed_login(pending.login))
        await self._finish_with(session, login_id, outcome=msgspec.to_builtins(sealed))

    async def pending_link(
        self, session: AsyncSession, login_id: str, *, browser: str, lock: bool = False
    ) -> tuple[PendingLink, FederatedJourney, str]:
        """Return what waits for a proof in this browser, its journey and its provider.

        Raises:
            FederatedLoginInvalid: nothing waits, or in another browser.
        """
        row = await self._held(session, login_id, browser, lock=lock)
        if row is None or row.outcome is None or row.finished_at is not None:
            raise FederatedLoginInvalid
        pending = msgspec.convert(row.outcome, PendingLink, strict=False)
        pending = structs.replace(pending, login=self._opened_login(pending.login))
        return pending, msgspec.convert(row.journey, FederatedJourney), row.provider

    async def finish(self, session: AsyncSession, login_id: str) -> None:
        """End a login that waited for a proof."""
        await session.execute(
            update(FederatedLoginRow)
            .where(FederatedLoginRow.id == login_id)
            .values(finished_at=clock.now(), outcome=None)
        )

    async def issue_code(self, session: AsyncSession, login_id: Any, login: UpstreamLogin, user_id: str) -> str:
        """Return the code that a single-page app exchanges for its session."""
        code = secrets.token_urlsafe(32)
        outcome = {"user_id": user_id, "login": msgspec.to_builtins(self._sealed_login(login))}
        await self._finish_with(session, login_id, outcome=outcome, code_digest=self._digest(code))
        await session.execute(
            update(FederatedLoginRow)
            .where(FederatedLoginRow.id == login_id)
            .values(expires_at=clock.now() + _CODE_LIFE)
        )
        return code

    async def redeem_code(
        self, session: AsyncSession, code: str, *, code_challenge: str
    ) -> tuple[str, UpstreamLogin, str]:
        """Return the user, the login and the provider of a code, once.

        Raises:
            FederatedLoginInvalid: unknown, expired or used, or the verifier does not fit.
        """
        if not _STATE.match(code):
            raise FederatedLoginInvalid
        now = clock.now()
        query = (
            select(FederatedLoginRow)
            .where(FederatedLoginRow.code_digest.in_(self._peppers.possible(code)))
            .with_for_update()
        )
        row = (await session.scalars(query)).one_or_none()
        if row is None or row.finished_at is not None or row.expires_at <= now or row.outcome is None:
            raise FederatedLoginInvalid
        if row.journey.get("code_challenge") != code_challenge:
            raise FederatedLoginInvalid
        outcome, row.finished_at, row.outcome = row.outcome, now, None
        login = msgspec.convert(outcome["login"], UpstreamLogin, strict=False)
        return outcome["user_id"], self._opened_login(login), row.provider

    async def forget_expired(self, session: AsyncSession) -> None:
        """Delete logins that expired."""
        expired = select(FederatedLoginRow.id).where(FederatedLoginRow.expires_at < clock.now() - LIFE).limit(_BATCH)
        await session.execute(delete(FederatedLoginRow).where(FederatedLoginRow.id.in_(expired)))

    async def _held(
        self, session: AsyncSession, login_id: str, browser: str, *, lock: bool
    ) -> FederatedLoginRow | None:
        try:
            key = UUID(login_id)
        except ValueError:
            return None
        query = select(FederatedLoginRow).where(
            FederatedLoginRow.id == key,
            FederatedLoginRow.browser_digest.in_(self._peppers.possible(f"browser:{browser}")),
            FederatedLoginRow.expires_at > clock.now(),
        )
        return (await session.scalars(query.with_for_update() if lock else query)).one_or_none()

    def _sealed_login(self, login: UpstreamLogin) -> UpstreamLogin:
        if login.id_token is None:
            return login
        return structs.replace(login, id_token=self._sealer.seal(login.id_token.encode(), purpose="id-token"))

    def _opened_login(self, stored: UpstreamLogin) -> UpstreamLogin:
        opened = None if stored.id_token is None else self._sealer.open(stored.id_token, purpose="id-token")
        return structs.replace(stored, id_token=None if opened is None else opened.decode())

    async def _finish_with(self, session: AsyncSession, login_id: Any, **values: Any) -> None:
        await session.execute(update(FederatedLoginRow).where(FederatedLoginRow.id == login_id).values(**values))

    def _request(self, provider: str, state: str, fresh: bool, login_hint: str | None) -> LoginRequest:
        return LoginRequest(
            state=state,
            nonce=self._digest(f"nonce:{state}"),
            verifier=self._digest(f"verifier:{state}"),
            redirect_uri=f"{self._public_url}/federation/{provider}/callback",
            login_hint=login_hint,
            fresh=fresh,
        )

    def _digest(self, secret: str) -> str:
        return self._peppers.digest(secret).hex
