"""Access tokens issued by this service (RFC 9068, and the shared-secret formats of C-06b)."""

from idp.authn.credential import Presented
from idp.authn.outcome import NOT_MINE, Authenticated, ByClient, ByEmail, BySession, ByUserId, Outcome, Rejected
from idp.checks import holds
from idp.errors import DevelopmentToken, TokenExpired, TokenInvalid
from idp.principal.model import AuthMethod, Credential
from idp.signing.jwt import TokenService


class LocalJwt:
    """Owns every JWT with our issuer, and shared-secret JWTs if a shared secret is configured."""

    name = "local_jwt"

    def __init__(self, tokens: TokenService) -> None:
        self._tokens = tokens

    async def authenticate(self, presented: Presented) -> Outcome:
        if presented.jwt is None:
            holds(False, "format", presented.form, "JWT")
            return NOT_MINE
        if not self._tokens.owns(presented.jwt):
            return NOT_MINE
        try:
            claims = await self._tokens.verify(presented.jwt)
        except (TokenInvalid, TokenExpired, DevelopmentToken) as error:
            return Rejected(error, cacheable=True)
        if claims.client_id is not None and claims.uid is None:
            of_client = Credential(
                method=AuthMethod.CLIENT, id=claims.client_id, scopes=claims.scopes, expires_at=claims.expires_at
            )
            return Authenticated(ByClient(claims.client_id, claims.jti or ""), of_client, cacheable=True)
        credential = Credential(
            method=AuthMethod.LOCAL_JWT if claims.client_id is None else AuthMethod.OAUTH_TOKEN,
            id=claims.jti,
            scopes=claims.scopes,
            expires_at=claims.expires_at,
            shared_secret=claims.shared_secret,
            client_id=claims.client_id,
            audience=claims.resources,
        )
        if claims.uid is not None and claims.session_id is not None:
            return Authenticated(BySession(claims.session_id, claims.uid), credential, cacheable=True)
        if claims.uid is not None:
            return Authenticated(ByUserId(claims.uid), credential, cacheable=True)
        assert claims.legacy_email is not None
        return Authenticated(ByEmail(claims.legacy_email), credential, cacheable=True)
