"""The grants of the token endpoint: authorization code, refresh token, client credentials (RFC 6749 section 4)."""

from collections.abc import Callable

from idp import errors
from idp.audit.record import Origin
from idp.ops.bad_credential_limit import BadCredentialLimit
from idp.principal.permissions import OFFLINE_ACCESS
from idp.provider.app_tokens import AppTokens
from idp.provider.client_auth import AuthenticatedClient
from idp.provider.codes import AppSession, AuthorizationCodes
from idp.provider.shapes import TokenRequest, TokenResponse
from idp.sessions.refresh_tokens import RefreshTokens, is_well_formed
from idp.signing import pkce
from idp.signing.jwt import IssuedToken, TokenService

CLIENT_CREDENTIALS, AUTHORIZATION_CODE, REFRESH_TOKEN = "client_credentials", "authorization_code", "refresh_token"
GRANT_TYPES = (AUTHORIZATION_CODE, REFRESH_TOKEN, CLIENT_CREDENTIALS)


class Grants:
    """Answers token requests of authenticated clients.

    Args:
        codes: exchanges authorization codes.
        refresh_tokens: exchanges refresh tokens.
        app_tokens: issues the tokens of apps.
        tokens: issues the tokens of clients themselves.
        bad_credentials: counts invalid refresh tokens by address.
    """

    def __init__(
        self,
        codes: AuthorizationCodes,
        refresh_tokens: RefreshTokens,
        app_tokens: AppTokens,
        tokens: TokenService,
        bad_credentials: BadCredentialLimit,
    ) -> None:
        self._codes = codes
        self._refresh_tokens = refresh_tokens
        self._app_tokens = app_tokens
        self._tokens = tokens
        self._bad_credentials = bad_credentials

    async def answer(
        self, client: AuthenticatedClient, form: TokenRequest, origin: Callable[[], Origin]
    ) -> TokenResponse:
        """Return the token response.

        Args:
            client: the authenticated client.
            form: the request, of a grant in `GRANT_TYPES`.
            origin: returns the request's origin, for audit records.

        Raises:
            UnauthorizedClient: the client is not registered for the grant.
            OAuthInvalidRequest, InvalidGrant, InvalidScope, InvalidTarget: as RFC 6749 section 5.2 says.
            RateLimited: too many invalid refresh tokens from this address.
            DatabaseUnavailable: PostgreSQL is unavailable.
        """
        if form.grant_type not in client.grant_types:
            raise _unauthorized(form.grant_type)
        if form.grant_type == CLIENT_CREDENTIALS:
            return await self._of_client(client, form)
        if form.grant_type == REFRESH_TOKEN:
            return await self._by_refresh_token(client, form, origin())
        return await self._by_code(client, form, origin())

    async def _by_code(self, client: AuthenticatedClient, form: TokenRequest, origin: Origin) -> TokenResponse:
        """Exchange an authorization code (section 4.1.3; RFC 7636 section 4.6)."""
        if not form.code:
            raise errors.OAuthInvalidRequest("code is missing.")
        challenge = pkce.challenge_of(form.code_verifier) if form.code_verifier else None
        if form.code_verifier and challenge is None:
            raise errors.OAuthInvalidRequest("code_verifier must be 43 to 128 unreserved characters (RFC 7636).")
        app = await self._codes.exchange(
            form.code,
            origin,
            client_id=client.client_id,
            redirect_uri=form.redirect_uri or "",
            code_challenge=challenge,
            refreshes=REFRESH_TOKEN in client.grant_types,
        )
        return await self._app_tokens.issue(client, app, resources=_resources(form))

    async def _by_refresh_token(self, client: AuthenticatedClient, form: TokenRequest, origin: Origin) -> TokenResponse:
        """Exchange a refresh token (section 6); a reused one ends the session of the app (SEC-49)."""
        token = form.refresh_token
        if not token:
            raise errors.OAuthInvalidRequest("refresh_token is missing.")
        if OFFLINE_ACCESS not in client.scopes:  # it was removed since (SEC-50)
            raise errors.InvalidGrant(f"The client has no scope {OFFLINE_ACCESS} any more.")
        self._bad_credentials.check(origin.ip_address, plausible=lambda: is_well_formed(token))
        try:
            redeemed = await self._refresh_tokens.redeem(token, origin, client_id=client.client_id)
        except errors.RefreshTokenInvalid:
            self._bad_credentials.count(origin.ip_address)
            raise errors.InvalidGrant from None
        except errors.RefreshTokenReused:
            raise errors.InvalidGrant("The refresh token was used before; its session was ended.") from None
        if redeemed.grant is None:
            raise errors.InvalidGrant
        app = AppSession(redeemed.user_id, redeemed.login, redeemed.grant, refresh_token=redeemed.refresh_token)
        return await self._app_tokens.issue(client, app, scope=form.scope, resources=_resources(form))

    def client_token_at_once(self, client: AuthenticatedClient, form: TokenRequest) -> TokenResponse | None:
        """Return the response to a request of client credentials, None if the signing key has to be read first.

        Raises:
            UnauthorizedClient, InvalidScope: as `answer`.
        """
        if CLIENT_CREDENTIALS not in client.grant_types:
            raise _unauthorized(CLIENT_CREDENTIALS)
        scopes = _granted(form.scope, client.own_scopes)
        issued = self._tokens.client_token_at_once(client.client_id, scopes)
        return None if issued is None else _client_response(issued, scopes)

    async def _of_client(self, client: AuthenticatedClient, form: TokenRequest) -> TokenResponse:
        """Issue a token that represents the client itself: no user, no refresh token (section 4.4; SEC-51)."""
        scopes = _granted(form.scope, client.own_scopes)
        return _client_response(await self._tokens.issue_for_client(client.client_id, scopes), scopes)


def _client_response(issued: IssuedToken, scopes: tuple[str, ...]) -> TokenResponse:
    return TokenResponse(issued.token, "Bearer", issued.expires_in, " ".join(scopes))


def _unauthorized(grant_type: str) -> errors.UnauthorizedClient:
    return errors.UnauthorizedClient(f"The client is not registered for grant_types {grant_type}.")


def _resources(form: TokenRequest) -> tuple[str, ...]:
    return (form.resource,) if form.resource else ()


def _granted(requested: str | None, allowed: tuple[str, ...]) -> tuple[str, ...]:
    """Return the requested scopes, all of the client's by default.

    Raises:
        InvalidScope: names those that the client does not have.
    """
    if not requested:  # a parameter without a value counts as absent (section 3.2)
        return allowed
    scopes = tuple(dict.fromkeys(requested.split()))
    if missing := [scope for scope in scopes if scope not in allowed]:
        raise errors.InvalidScope(f"The client does not have {', '.join(repr(each[:100]) for each in missing[:10])}.")
    return scopes
