"""The objects of the OpenID provider, built from what is below it."""

from collections.abc import Sequence
from datetime import timedelta

from msgspec import Struct

from idp.authn.resolve import Resolver
from idp.db.engine import Database
from idp.ops.bad_credential_limit import BadCredentialLimit
from idp.provider.app_tokens import AppTokens
from idp.provider.authorization import Authorization
from idp.provider.claims import Limit
from idp.provider.client_auth import ClientAuthentication
from idp.provider.codes import AuthorizationCodes
from idp.provider.grants import Grants
from idp.provider.token_endpoint import TokenEndpoint
from idp.provider.userinfo import PATH as USERINFO
from idp.sessions.refresh_tokens import RefreshTokens
from idp.sessions.service import Lifetime
from idp.settings import Secret, Settings
from idp.signing.id_token import IdTokens
from idp.signing.jwt import TokenService

_DAY = 86_400


class ProviderServices(Struct, frozen=True):
    """What answers at the authorization and the token endpoint."""

    authorization: Authorization
    token_endpoint: TokenEndpoint


def build_provider(
    settings: Settings,
    database: Database,
    roots: Sequence[Secret],
    *,
    clients: ClientAuthentication,
    resolver: Resolver,
    refresh_tokens: RefreshTokens,
    tokens: TokenService,
    id_tokens: IdTokens,
    bad_credentials: BadCredentialLimit,
) -> ProviderServices:
    """Build the provider without connecting to anything; `core.py` has the parts."""
    life = settings.accounts.remembered_session_ttl_seconds
    codes = AuthorizationCodes(
        database,
        roots,
        refresh_tokens,
        lifetime=Lifetime(min(settings.tokens.refresh_token_days * _DAY, life), life),
        access_token_life=timedelta(minutes=settings.tokens.access_token_minutes),
    )
    limit = Limit(settings.tokens.max_roles, f"{tokens.issuer}{USERINFO}")
    app_tokens = AppTokens(resolver, tokens, id_tokens, limit=limit)
    grants = Grants(codes, refresh_tokens, app_tokens, tokens, bad_credentials)
    return ProviderServices(
        authorization=Authorization(database, codes, issuer=tokens.issuer, read_hint=id_tokens.read_hint),
        token_endpoint=TokenEndpoint(clients, grants),
    )
