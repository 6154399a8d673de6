"""A provider says that a session there has ended, and ours that it began end too (Back-Channel Logout 1.0)."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn
from uuid import UUID

import structlog
from msgspec import structs
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from idp.audit.record import Origin
from idp.db.engine import Database
from idp.errors import OAuthInvalidRequest, TokenExpired
from idp.federation.models import FederatedSessionRow
from idp.federation.oidc import OidcUpstream
from idp.federation.providers import Provider
from idp.sessions import service as sessions
from idp.sessions.models import SessionRow
from idp.signing.compact import UnverifiedJwt, parse
from idp.signing.foreign_jwt import check_signature, check_times
from idp.users import credentials

log = structlog.get_logger("idp.federation")

EVENT = "http://schemas.openid.net/event/backchannel-logout"
SIGNED_OUT_AT_PROVIDER = "signed_out_at_provider"
_TYPES = frozenset({"jwt", "logout+jwt"})
_AGE = 600  # seconds of a token without `exp`
_MAX_ID = 255


class BackchannelLogout:
    """Ends sessions by the logout tokens of providers.

    Args:
        database: has the sessions.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def end(self, provider: Provider, logout_token: str, origin: Origin) -> int:
        """End the sessions that a logout token names, with their apps, and return how many had not ended.

        A token that is sent again finds nothing any more, as does one of a session that is not known.

        Args:
            provider: of the path.
            logout_token: as received.
            origin: of the request.

        Raises:
            OAuthInvalidRequest: the token is not acceptable; names the reason.
            DependencyUnavailable: its key is unknown, and the provider is unreachable.
        """
        upstream = provider.upstream
        if not isinstance(upstream, OidcUpstream):
            raise OAuthInvalidRequest(f"{provider.name} has no logout tokens.")
        claims = await self._verify(upstream, logout_token)
        found = await self._sessions(upstream, claims)
        by_provider = structs.replace(origin, actor=f"provider:{provider.name}")
        return sum([await self._end(session_id, user_id, by_provider) for session_id, user_id in found])

    async def _verify(self, upstream: OidcUpstream, logout_token: str) -> Mapping[str, Any]:
        """Return the claims of a valid token (section 2.6)."""
        try:
            unverified = parse(logout_token)
            _check_content(unverified, upstream)
            await check_signature(unverified, upstream.issuer.keys)
            _check_age(unverified.claims, upstream.settings.leeway_seconds)
        except TokenExpired:
            _refuse(upstream, "it has expired")
        except ValueError as error:
            _refuse(upstream, str(error))
        return unverified.claims

    async def _sessions(self, upstream: OidcUpstream, claims: Mapping[str, Any]) -> list[tuple[UUID, str]]:
        """Return live sessions by `sid`, or all of the subject without one.

        Only those that had begun when the token was issued, so that a replay ends no later one (SEC-72).
        """
        row, subject_claim = FederatedSessionRow, upstream.issuer.settings.subject_claim
        sid, subject = claims.get("sid"), claims.get(subject_claim)
        latest = datetime.fromtimestamp(claims["iat"] + upstream.settings.leeway_seconds, UTC)
        query = (
            select(SessionRow.id, SessionRow.user_id)
            .join(row, row.session_id == SessionRow.id)
            .where(row.provider == upstream.name, SessionRow.ended_at.is_(None), SessionRow.created_at <= latest)
        )
        if sid is not None:
            query = query.where(row.sid == sid)
        if subject is not None:
            query = query.where(row.subject == subject)
        elif sid is None:
            _refuse(upstream, f"it has neither sid nor {subject_claim}, which is the subject here")
        async with self._database.transaction() as session:
            return [(each.id, each.user_id) for each in await session.execute(query)]

    async def _end(self, session_id: UUID, user_id: str, origin: Origin) -> bool:
        async def work(session: AsyncSession) -> bool:
            await credentials.hold(session, user_id)
            return await sessions.end(session, origin, session_id, user_id=user_id, reason=SIGNED_OUT_AT_PROVIDER)

        return await self._database.transact(work)


def _check_content(unverified: UnverifiedJwt, upstream: OidcUpstream) -> None:
    """Check everything but signature and times.

    Raises:
        ValueError: with the reason.
    """
    header, claims = unverified.header, unverified.claims
    audience, events = claims.get("aud"), claims.get("events")
    if str(header.get("typ", "JWT")).lower().removeprefix("application/") not in _TYPES:
        raise ValueError("its typ is not that of a logout token")
    if not isinstance(claims.get("iss"), str) or claims["iss"] not in upstream.issuer.names:
        raise ValueError(f"it names another issuer than {upstream.metadata.issuer}")
    if upstream.settings.client_id not in (audience if isinstance(audience, list) else [audience]):
        raise ValueError(f"it is not for the client {upstream.settings.client_id}")
    if not isinstance(events, dict) or not isinstance(events.get(EVENT), dict):
        raise ValueError("its events are not those of a logout token")  # noqa: TRY004  claims, not types
    if "nonce" in claims:
        raise ValueError("it has a nonce, as ID tokens have")
    if not isinstance(claims.get("jti"), str):
        raise ValueError("it has no jti")  # noqa: TRY004
    given = [claims[name] for name in ("sid", "sub", upstream.issuer.settings.subject_claim) if name in claims]
    if not given or not all(
        isinstance(each, str) and 0 < len(each) <= _MAX_ID and "\x00" not in each for each in given
    ):
        raise ValueError("its sid or sub is missing, or no usable text")


def _check_age(claims: Mapping[str, Any], leeway: int) -> None:
    """Check `iat`, and `exp` if there is one; without it a token is accepted for some minutes.

    Raises:
        ValueError: a time is missing, or in the future.
        TokenExpired: it is too old.
    """
    issued = claims.get("iat")
    if isinstance(issued, bool) or not isinstance(issued, int | float):
        raise ValueError("it has no iat")  # noqa: TRY004  a claim, not a type
    check_times({"exp": issued + _AGE, **claims}, leeway=leeway)


def _refuse(upstream: OidcUpstream, reason: str) -> NoReturn:
    log.warning("a logout token was refused", provider=upstream.name, reason=reason)
    raise OAuthInvalidRequest(f"The logout token is not acceptable: {reason}.")
