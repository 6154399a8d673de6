"""The tokens of an app that a user signed in to (OpenID Connect Core section 3.1.3)."""

from collections.abc import Sequence
from typing import Any

from msgspec import UNSET

from idp import clock
from idp.authn.resolve import Resolver
from idp.errors import InvalidGrant, InvalidScope, InvalidTarget, TokenNotFound, UserInactive
from idp.principal.model import User
from idp.principal.permissions import OPENID
from idp.provider.claims import Limit, claims_of, claims_within
from idp.provider.client_auth import AuthenticatedClient
from idp.provider.codes import AppSession
from idp.provider.shapes import TokenResponse
from idp.signing.id_token import IdTokens, at_hash
from idp.signing.jwt import TokenService, TokenSession, TokenUser

ID_TOKEN_SECONDS = 3600


class AppTokens:
    """Issues the tokens of app sessions.

    Args:
        resolver: reads users.
        tokens: signs access tokens.
        id_tokens: signs ID tokens.
        limit: of lists of roles, teams and domains in ID tokens.
    """

    def __init__(self, resolver: Resolver, tokens: TokenService, id_tokens: IdTokens, *, limit: Limit) -> None:
        self._resolver = resolver
        self._tokens = tokens
        self._id_tokens = id_tokens
        self._limit = limit

    async def issue(
        self,
        client: AuthenticatedClient,
        app: AppSession,
        *,
        scope: str | None = None,
        resources: Sequence[str] = (),
    ) -> TokenResponse:
        """Return the token response.

        Args:
            client: the authenticated client, whose session it is.
            app: the session.
            scope: fewer scopes for this access token, all by default (RFC 6749 section 6; SEC-50).
            resources: fewer resources for this access token, all by default (RFC 8707 section 2.2).

        Raises:
            InvalidScope, InvalidTarget: more than the user granted, or than the client still has.
            InvalidGrant: the user was disabled meanwhile, or the client has none of the granted scopes any more.
            DatabaseUnavailable: PostgreSQL is unavailable.
        """
        scopes = _narrowed(scope, _still(app.grant.scopes, client.scopes))
        granted_resources = _still(app.grant.resources, client.resources)
        if not set(resources) <= set(granted_resources) or (app.grant.resources and not granted_resources):
            raise InvalidTarget
        try:
            user = await self._resolver.user(app.user_id)
        except (TokenNotFound, UserInactive):
            raise InvalidGrant from None
        login = app.login
        session = TokenSession(
            login.session_id, login.auth_time, login.amr, login.acr, login.expires_at, login.actor_id
        )
        issued = await self._tokens.issue_for_app(
            TokenUser(id=user.id, email=user.email, email_verified=user.email_verified, roles=user.roles),
            session,
            client_id=client.client_id,
            scopes=scopes,
            resources=resources or granted_resources,
        )
        id_token = await self._id_token(client, app, user, issued.token, scopes) if OPENID in scopes else None
        return TokenResponse(
            access_token=issued.token,
            token_type="Bearer",  # noqa: S106
            expires_in=issued.expires_in,
            scope=" ".join(scopes),
            refresh_token=app.refresh_token or UNSET,
            id_token=id_token or UNSET,
        )

    async def _id_token(
        self, client: AuthenticatedClient, app: AppSession, user: User, access_token: str, scopes: Sequence[str]
    ) -> str:
        """Sign the ID token (OpenID Connect Core section 2; SEC-61)."""
        login = app.login
        claims: dict[str, Any] = {
            **claims_of(user, scopes, claims_within(app.grant.claims, client.scopes), limit=self._limit),
            "sub": user.id,
            "aud": client.client_id,
            "exp": clock.timestamp() + ID_TOKEN_SECONDS,
            "auth_time": int(login.auth_time.timestamp()),
            "amr": list(login.amr),
            "acr": login.acr,
            "sid": str(app.grant.sid),
            "at_hash": at_hash(access_token),
        }
        if login.actor_id is not None:
            claims["act"] = {"sub": login.actor_id}
        if app.nonce is not None:
            claims["nonce"] = app.nonce
        return await self._id_tokens.sign(claims, algorithm=client.id_token_alg)


def _still(granted: Sequence[str], of_client: Sequence[str]) -> tuple[str, ...]:
    """Return what the user granted and the client still has: its registration may have been reduced since (SEC-50)."""
    return tuple(each for each in granted if each in of_client)


def _narrowed(requested: str | None, granted: tuple[str, ...]) -> tuple[str, ...]:
    if not granted:
        raise InvalidGrant("The client has none of the granted scopes any more.")
    if not requested:
        return granted
    scopes = tuple(dict.fromkeys(requested.split()))
    if not scopes or not set(scopes) <= set(granted):
        raise InvalidScope(f"The user granted {' '.join(granted)}.")
    return scopes
