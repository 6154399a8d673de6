"""Authorization codes: issued for a browser's session, exchanged once for a session of the app (SEC-36, SEC-37).

Only digests are stored. A code that is used again ends what its first use started (RFC 9700 section 4.5).
"""

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NoReturn
from uuid import UUID

from msgspec import Struct
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from idp import clock
from idp.audit.record import Origin, record
from idp.db.engine import Database
from idp.errors import InvalidGrant
from idp.ops import metrics
from idp.principal.permissions import OFFLINE_ACCESS
from idp.provider.authorization_request import AuthorizationRequest
from idp.provider.models import AuthorizationCodeRow
from idp.sessions import service as sessions
from idp.sessions.refresh_tokens import RefreshTokens
from idp.sessions.service import AppGrant, Lifetime, Login
from idp.settings import Secret
from idp.signing.peppers import Peppers

LIFE = timedelta(seconds=60)
REPLAYED = "authorization_code_replayed"
MAX_LENGTH = 128  # characters; ours have 43

# One statement, so that one of many concurrent requests succeeds, and no app gets a session from a browser's session, a
# user or a client that ends meanwhile: their rows are locked until the commit, and re-checked after a wait.
_EXCHANGE = text("""
WITH used AS (
    UPDATE idp.authorization_codes SET used_at = :now, app_session_id = :id
     WHERE digest = ANY(:digests) AND client_id = :client_id AND redirect_uri = :redirect_uri
       AND code_challenge IS NOT DISTINCT FROM CAST(:code_challenge AS text)
       AND used_at IS NULL AND expires_at > :now
    RETURNING session_id, nonce, scopes, resources, claims
), browser AS (
    SELECT s.id, s.user_id, s.expires_at, s.amr, s.acr, s.auth_time, s.device_info, s.user_agent, s.ip_address
      FROM idp.user_sessions s JOIN used ON s.id = used.session_id
     WHERE s.ended_at IS NULL AND s.expires_at > :now AND s.idle_expires_at > :now
       FOR SHARE OF s
), owner AS (
    SELECT u.id FROM idp.users u JOIN browser ON u.id = browser.user_id
     WHERE u.is_active AND u.deleted_at IS NULL FOR SHARE OF u
), client AS (
    SELECT 1 FROM idp.oauth_clients WHERE client_id = :client_id AND 'authorization_code' = ANY(grant_types)
       FOR KEY SHARE
), app AS (
    INSERT INTO idp.user_sessions (id, user_id, created_at, last_seen_at, idle_seconds, idle_expires_at, expires_at,
                                   device_info, user_agent, ip_address, amr, acr, auth_time,
                                   parent_id, client_id, client_sid, scopes, resources, claims)
    SELECT :id, owner.id, :now, :now,
           CASE WHEN lasts THEN CAST(:idle_seconds AS integer) ELSE CAST(:short_seconds AS integer) END,
           CASE WHEN lasts THEN CAST(:idle_expires_at AS timestamptz) ELSE CAST(:short_expires_at AS timestamptz) END,
           CASE WHEN lasts THEN CAST(:expires_at AS timestamptz) ELSE CAST(:short_expires_at AS timestamptz) END,
           browser.device_info, browser.user_agent, browser.ip_address, browser.amr, browser.acr, browser.auth_time,
           browser.id, :client_id,
           coalesce((SELECT s.client_sid FROM idp.user_sessions s
                      WHERE s.parent_id = browser.id AND s.client_id = :client_id LIMIT 1), CAST(:new_sid AS uuid)),
           used.scopes, used.resources, used.claims
      FROM used, browser, owner, client,
           LATERAL (SELECT CAST(:refreshes AS boolean) AND :offline = ANY(used.scopes) AS lasts) AS kind
    RETURNING id, user_id, client_sid, amr, acr, auth_time, expires_at, idle_expires_at
), first_token AS (
    INSERT INTO idp.refresh_tokens (id, session_id, generation, digest, client_id, created_at, expires_at)
    SELECT :token_id, app.id, 0, :token_digest, :client_id, :now, app.idle_expires_at
      FROM app, used WHERE CAST(:refreshes AS boolean) AND :offline = ANY(used.scopes)
)
SELECT app.*, used.nonce, used.scopes, used.resources, used.claims FROM app, used
""")


class AppSession(Struct, frozen=True):
    """A session of an app that a user signed in to.

    Attributes:
        user_id: the user.
        login: the session, with the authentication of the browser's session.
        grant: what the user granted.
        nonce: of the authorization request; None after a refresh.
        refresh_token: None without `offline_access`.
    """

    user_id: str
    login: Login
    grant: AppGrant
    nonce: str | None = None
    refresh_token: str | None = None

    def __repr__(self) -> str:
        return f"AppSession(session={self.login.session_id})"


class AuthorizationCodes:
    """Issues and exchanges codes.

    Args:
        database: stores their digests.
        roots: root secrets, the current one first, for the digests.
        refresh_tokens: creates the first refresh token of an app.
        lifetime: of an app's session with a refresh token.
        access_token_life: the longest life of an access token; an app's session without a refresh token ends with it.
    """

    def __init__(
        self,
        database: Database,
        roots: Sequence[Secret],
        refresh_tokens: RefreshTokens,
        *,
        lifetime: Lifetime,
        access_token_life: timedelta,
    ) -> None:
        self._database = database
        self._peppers = Peppers(roots, "authorization-code")
        self._refresh_tokens = refresh_tokens
        self._lifetime = lifetime
        self._access_token_life = access_token_life

    def issue(self, session: AsyncSession, request: AuthorizationRequest, scopes: Sequence[str], browser: UUID) -> str:
        """Add a code to the caller's transaction, and return it.

        Args:
            session: the caller's transaction.
            request: the request that it answers.
            scopes: granted scopes.
            browser: the session of the browser.
        """
        code, now = secrets.token_urlsafe(32), clock.now()
        session.add(
            AuthorizationCodeRow(
                digest=self._peppers.digest(code).hex,
                client_id=request.client_id,
                session_id=browser,
                redirect_uri=request.sent_redirect_uri,
                code_challenge=request.code_challenge,
                nonce=request.nonce,
                scopes=list(scopes),
                resources=list(request.resources),
                claims=list(request.claims),
                created_at=now,
                expires_at=now + LIFE,
            )
        )
        return code

    async def exchange(
        self,
        code: str,
        origin: Origin,
        *,
        client_id: str,
        redirect_uri: str,
        code_challenge: str | None,
        refreshes: bool,
    ) -> AppSession:
        """Exchange a code for a session of the app.

        Args:
            code: as presented.
            origin: the token request's origin, for the audit record.
            client_id: the authenticated client.
            redirect_uri: as presented; "" for none.
            code_challenge: of the presented verifier; None without one.
            refreshes: whether the client may have refresh tokens.

        Raises:
            InvalidGrant: the code is unknown, expired, used, another client's, or does not belong to these values; or
            the user has signed out. If it was used, what it started is ended.
            DatabaseUnavailable: PostgreSQL is unavailable.
        """
        digests = self._peppers.possible(code) if code.isascii() and len(code) <= MAX_LENGTH else []
        token, first_token = self._refresh_tokens.new(client_id=client_id)
        now = clock.now()
        async with self._database.transaction() as session:
            values = {
                "digests": digests,
                "client_id": client_id,
                "redirect_uri": redirect_uri,
                "code_challenge": code_challenge,
                "refreshes": refreshes,
                "offline": OFFLINE_ACCESS,
                "id": uuid7(),
                "new_sid": uuid7(),
                "token_id": uuid7(),
                "token_digest": first_token.digest,
            } | self._ends(now)
            row = (await session.execute(_EXCHANGE, values)).mappings().one_or_none()
            if row is not None:
                details = {"client_id": client_id, "session_id": str(row["id"]), "scopes": list(row["scopes"])}
                record(session, origin, action="user.signed_in_to_app", user_id=row["user_id"], details=details)
        if row is None:
            await self._refuse(digests, origin, client_id)
        has_token = refreshes and OFFLINE_ACCESS in row["scopes"]
        return _app_session(row, token if has_token else None)

    def _ends(self, now: datetime) -> dict[str, Any]:
        """Return the times of the statement."""
        short = now + self._access_token_life
        expires_at = now + timedelta(seconds=self._lifetime.seconds)
        return {
            "now": now,
            "idle_seconds": self._lifetime.idle_seconds,
            "idle_expires_at": min(expires_at, now + timedelta(seconds=self._lifetime.idle_seconds)),
            "expires_at": expires_at,
            "short_seconds": int(self._access_token_life.total_seconds()),
            "short_expires_at": short,
        }

    async def _refuse(self, digests: Sequence[str], origin: Origin, client_id: str) -> NoReturn:
        """End what a replayed code started and commit, then raise (rule 4)."""
        async with self._database.transaction() as session:
            query = select(AuthorizationCodeRow).where(
                AuthorizationCodeRow.digest.in_(digests),
                AuthorizationCodeRow.client_id == client_id,
                AuthorizationCodeRow.used_at.is_not(None),
            )
            code = (await session.scalars(query)).one_or_none()
            if code is not None and code.app_session_id is not None:
                await sessions.end_by_id(session, origin, code.app_session_id, reason=REPLAYED)
                metrics.count_attempt(method="authorization_code", outcome=REPLAYED)
        raise InvalidGrant


def _app_session(row: Any, refresh_token: str | None) -> AppSession:
    return AppSession(
        user_id=row["user_id"],
        login=Login(row["id"], tuple(row["amr"]), row["acr"], row["auth_time"], row["expires_at"]),
        grant=AppGrant(row["client_sid"], tuple(row["scopes"]), tuple(row["resources"]), tuple(row["claims"])),
        nonce=row["nonce"],
        refresh_token=refresh_token,
    )
