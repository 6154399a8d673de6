"""Authorization codes: issued for a browser's session, exchanged once for a session of the app (SEC-36, SEC-37).

Only digests are stored. A code that is used again ends what its first use started (RFC 9700 section 4.5).
"""

import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NoReturn
from uuid import UUID

from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from idp import clock
from idp.audit.record import INSERT_RECORD, Origin
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
# user or a client that ends meanwhile: their rows are locked until the commit, and re-checked after a wait. They are
# locked in the order in which sign-outs and deletions lock them, so that these do not deadlock with an exchange.
_EXCHANGE = f"""
WITH client AS (
    SELECT client_id FROM idp.oauth_clients WHERE client_id = $2 AND 'authorization_code' = ANY(grant_types)
       FOR KEY SHARE
), used AS (
    UPDATE idp.authorization_codes c SET used_at = $5, app_session_id = $6
      FROM client
     WHERE c.digest = ANY($1) AND c.client_id = client.client_id AND c.redirect_uri = $3
       AND c.code_challenge IS NOT DISTINCT FROM $4::text AND c.used_at IS NULL AND c.expires_at > $5::timestamptz
    RETURNING c.session_id, c.nonce, c.scopes, c.resources, c.claims,
              $7::boolean AND '{OFFLINE_ACCESS}' = ANY(c.scopes) AS refreshes
), owner AS (
    SELECT u.id, used.session_id
      FROM used JOIN idp.user_sessions s ON s.id = used.session_id JOIN idp.users u ON u.id = s.user_id
     WHERE u.is_active AND u.deleted_at IS NULL FOR SHARE OF u
), browser AS (
    SELECT s.id, s.amr, s.acr, s.auth_time, s.actor_id, s.actor_reason, s.device_info, s.user_agent, s.ip_address
      FROM owner JOIN idp.user_sessions s ON s.id = owner.session_id
     WHERE s.ended_at IS NULL AND s.expires_at > $5::timestamptz AND s.idle_expires_at > $5::timestamptz
       FOR SHARE OF s
), app AS (
    INSERT INTO idp.user_sessions (id, user_id, created_at, last_seen_at, idle_seconds, idle_expires_at, expires_at,
                                   device_info, user_agent, ip_address, amr, acr, auth_time,
                                   actor_id, actor_reason, parent_id, client_id, client_sid, scopes, resources, claims)
    SELECT $6, owner.id, $5::timestamptz, $5::timestamptz,
           CASE WHEN refreshes THEN $8::integer ELSE $9::integer END,
           $5::timestamptz + make_interval(secs => CASE WHEN refreshes THEN $8::integer ELSE $9::integer END),
           $5::timestamptz + make_interval(secs => CASE WHEN refreshes THEN $10::integer ELSE $9::integer END),
           browser.device_info, browser.user_agent, browser.ip_address, browser.amr, browser.acr, browser.auth_time,
           browser.actor_id, browser.actor_reason, browser.id, $2,
           coalesce((SELECT s.client_sid FROM idp.user_sessions s
                      WHERE s.parent_id = browser.id AND s.client_id = $2 LIMIT 1), $11::uuid),
           used.scopes, used.resources, used.claims
      FROM used, browser, owner
    RETURNING id, user_id, client_sid, amr, acr, auth_time, actor_id, expires_at, idle_expires_at
), first_token AS (
    INSERT INTO idp.refresh_tokens (id, session_id, generation, digest, client_id, created_at, expires_at)
    SELECT $12::uuid, app.id, 0, $13::text, $2, $5::timestamptz, app.idle_expires_at
      FROM app, used WHERE used.refreshes
), audited AS (
    {INSERT_RECORD}
    SELECT $14::uuid, $5::timestamptz, 'user.signed_in_to_app', 'client:' || $2, app.user_id, 'client:' || $2,
           jsonb_build_object('session_id', app.id, 'scopes', to_jsonb(used.scopes)), $15::text, $16::text, $17::text
      FROM app, used
)
SELECT app.*, used.nonce, used.scopes, used.resources, used.claims, used.refreshes FROM app, used
"""  # noqa: S608  constants
_FIND_USED = """
SELECT c.app_session_id FROM idp.authorization_codes c
 WHERE c.digest = ANY($1) AND c.client_id = $2 AND c.used_at IS NOT NULL
"""


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
        self._short_seconds = int(access_token_life.total_seconds())

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
        is_plausible = code.isascii() and len(code) <= MAX_LENGTH and "\x00" not in redirect_uri
        digests = self._peppers.possible(code) if is_plausible else []
        token, first_token = self._refresh_tokens.new(client_id=client_id)
        row = await self._database.reads.fetchrow(
            _EXCHANGE,
            digests,
            client_id,
            redirect_uri if is_plausible else "",
            code_challenge,
            clock.now(),
            uuid7(),
            refreshes,
            self._lifetime.idle_seconds,
            self._short_seconds,
            self._lifetime.seconds,
            uuid7(),
            uuid7(),
            first_token.digest,
            uuid7(),
            origin.ip_address,
            origin.user_agent,
            origin.request_id,
        )
        if row is None:
            await self._refuse(digests, origin, client_id)
        return _app_session(row, token if row["refreshes"] else None)

    async def _refuse(self, digests: Sequence[str], origin: Origin, client_id: str) -> NoReturn:
        """End what a replayed code started and commit, then raise (rule 4)."""
        used = await self._database.reads.fetchrow(_FIND_USED, digests, client_id)
        if used is not None and used["app_session_id"] is not None:
            async with self._database.transaction() as session:
                await sessions.end_by_id(session, origin, used["app_session_id"], reason=REPLAYED)
            metrics.count_attempt(method="authorization_code", outcome=REPLAYED)
        raise InvalidGrant


def _app_session(row: Any, refresh_token: str | None) -> AppSession:
    return AppSession(
        user_id=row["user_id"],
        login=Login(row["id"], tuple(row["amr"]), row["acr"], row["auth_time"], row["expires_at"], row["actor_id"]),
        grant=AppGrant(row["client_sid"], tuple(row["scopes"]), tuple(row["resources"]), tuple(row["claims"])),
        nonce=row["nonce"],
        refresh_token=refresh_token,
    )
