"""The objects of the OpenID provider, built from what is below it."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from msgspec import Struct

from idp.authn.resolve import Resolver
from idp.background import BackgroundService
from idp.db.engine import Database
from idp.ops.bad_credential_limit import BadCredentialLimit
from idp.ops.fast_route import FastRoute
from idp.provider.app_tokens import AppTokens
from idp.provider.authorization import Authorization
from idp.provider.backchannel import BackchannelLogout
from idp.provider.claims import Limit
from idp.provider.cleanup import ProviderCleanup
from idp.provider.client_auth import ClientAuthentication
from idp.provider.clients import Clients
from idp.provider.codes import AuthorizationCodes
from idp.provider.discovery import Discovery
from idp.provider.grants import Grants
from idp.provider.logout import Logout
from idp.provider.revocation import Revocation
from idp.provider.token_endpoint import PATH as TOKEN
from idp.provider.token_endpoint import TokenEndpoint
from idp.provider.userinfo import PATH as USERINFO
from idp.sessions.refresh_tokens import RefreshTokens
from idp.sessions.service import Lifetime
from idp.settings import Secret, Settings
from idp.signing.client_assertion import ClientAssertions
from idp.signing.fetch import Fetcher
from idp.signing.id_token import IdTokens
from idp.signing.jwt import TokenService

_DAY = 86_400


class ProviderServices(Struct, frozen=True):
    """What answers at the provider's endpoints, and what runs in the background."""

    clients: Clients
    client_authentication: ClientAuthentication
    authorization: Authorization
    token_endpoint: TokenEndpoint
    discovery: Discovery
    revocation: Revocation
    logouts: Logout
    background: tuple[BackgroundService, ...]

    @property
    def fast_routes(self) -> dict[tuple[str, str], FastRoute]:
        """The usual requests past the framework."""
        return self.token_endpoint.routes | self.discovery.routes

    @property
    def provides(self) -> dict[str, Any]:
        """The dependencies of routes by name."""
        return {
            "clients": self.clients,
            "authorizations": self.authorization,
            "token_endpoint": self.token_endpoint,
            "discovery": self.discovery,
            "revocation": self.revocation,
            "logouts": self.logouts,
        }


def build_provider(
    settings: Settings,
    database: Database,
    roots: Sequence[Secret],
    *,
    resolver: Resolver,
    refresh_tokens: RefreshTokens,
    tokens: TokenService,
    id_tokens: IdTokens,
    bad_credentials: BadCredentialLimit,
    fetcher: Fetcher,
    ui_locales: tuple[str, ...],
) -> ProviderServices:
    """Build the provider without connecting to anything; `core.py` has the parts, the pages the languages."""
    issuer = tokens.issuer
    assertions = ClientAssertions(fetcher, (issuer, f"{issuer}{TOKEN}"))
    authentication = ClientAuthentication(resolver.clients, roots, bad_credentials, assertions, database.reads)
    life = settings.accounts.remembered_session_ttl_seconds
    codes = AuthorizationCodes(
        database,
        roots,
        refresh_tokens,
        lifetime=Lifetime(min(settings.tokens.refresh_token_days * _DAY, life), life),
        access_token_life=timedelta(minutes=settings.tokens.access_token_minutes),
    )
    app_tokens = AppTokens(resolver, tokens, id_tokens, limit=Limit(settings.tokens.max_roles, f"{issuer}{USERINFO}"))
    grants = Grants(codes, refresh_tokens, app_tokens, tokens, bad_credentials)
    return ProviderServices(
        clients=Clients(roots, fetch_problem=fetcher.problem_of),
        client_authentication=authentication,
        authorization=Authorization(database, codes, issuer=issuer, read_hint=id_tokens.read_any_hint),
        token_endpoint=TokenEndpoint(authentication, grants),
        discovery=Discovery(issuer, ui_locales),
        revocation=Revocation(database, authentication, refresh_tokens, tokens),
        logouts=Logout(database, id_tokens),
        background=(BackchannelLogout(database, id_tokens, fetcher), ProviderCleanup(database)),
    )
