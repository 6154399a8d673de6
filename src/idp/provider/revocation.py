"""Revocation of tokens by the client that they were issued to (RFC 7009; SEC-58, SEC-59)."""

from uuid import UUID

from msgspec import structs
from sqlalchemy.dialects.postgresql import insert

from idp.audit.record import Origin, record
from idp.db.engine import Database
from idp.errors import DevelopmentToken, TokenExpired, TokenInvalid
from idp.provider.client_auth import AuthenticatedClient, ClientAuthentication
from idp.provider.models import RevokedTokenRow
from idp.provider.shapes import TokenForm
from idp.sessions import service as sessions
from idp.sessions.refresh_tokens import RefreshTokens, is_well_formed
from idp.signing.compact import Malformed, parse
from idp.signing.jwt import TokenService, VerifiedClaims

PATH = "/oauth2/revoke"
REASON = "revoked_by_client"


class Revocation:
    """Revokes tokens.

    A refresh or access token of a user ends the client's session of the user, so that all tokens of that grant end
    together. An access token of the client itself ends alone.

    Args:
        database: stores sessions and revoked tokens.
        clients: authenticates clients.
        refresh_tokens: finds the session of a refresh token.
        tokens: verifies access tokens.
    """

    def __init__(
        self, database: Database, clients: ClientAuthentication, refresh_tokens: RefreshTokens, tokens: TokenService
    ) -> None:
        self._database = database
        self._clients = clients
        self._refresh_tokens = refresh_tokens
        self._tokens = tokens

    async def revoke(self, authorization: str | None, form: TokenForm, origin: Origin) -> None:
        """Revoke a token of the client that asks; any other token changes nothing and is no error.

        Args:
            authorization: the header.
            form: the form; its hint is ignored, because the formats differ.
            origin: the request's origin, for audit records and for limits by address.

        Raises:
            InvalidClient: it cannot be authenticated.
            OAuthInvalidRequest: the request uses several methods.
            RateLimited: too many wrong secrets from this address.
            DatabaseUnavailable: PostgreSQL is unavailable.
        """
        client = await self._clients.authenticate(authorization, form, address=origin.ip_address)
        origin = structs.replace(origin, actor=f"service:{client.client_id}")
        if is_well_formed(form.token):
            owner = await self._refresh_tokens.session_of(form.token, client_id=client.client_id)
            if owner is not None:
                await self._end(origin, owner.session_id, owner.user_id)
            return
        claims = await self._claims_of(form.token)
        if claims is None or claims.client_id != client.client_id:
            return
        if claims.uid is None:
            await self._revoke(client, claims, origin)
        elif claims.session_id is not None:
            await self._end(origin, claims.session_id, claims.uid)

    async def _claims_of(self, token: str) -> VerifiedClaims | None:
        """Return the claims of a live access token that we issued, None for anything else."""
        try:
            unverified = parse(token)
            return await self._tokens.verify(unverified) if self._tokens.owns(unverified) else None
        except (Malformed, TokenInvalid, TokenExpired, DevelopmentToken):
            return None

    async def _end(self, origin: Origin, session_id: UUID, user_id: str) -> None:
        async with self._database.transaction() as session:
            await sessions.end(session, origin, session_id, user_id=user_id, reason=REASON)

    async def _revoke(self, client: AuthenticatedClient, claims: VerifiedClaims, origin: Origin) -> None:
        """Record that a token of the client itself is revoked; a trigger ends the verdicts about it."""
        assert claims.jti is not None
        values = {"jti": claims.jti, "client_id": client.client_id, "expires_at": claims.expires_at}
        statement = insert(RevokedTokenRow).values(**values).on_conflict_do_nothing().returning(RevokedTokenRow.jti)
        async with self._database.transaction() as session:
            if await session.scalar(statement) is not None:
                target, details = f"client:{client.client_id}", {"token": claims.jti}
                record(session, origin, action="client.token_revoked", target=target, details=details)
