"""Plugin of the OpenID provider."""

from idp.background import BackgroundService
from idp.plugin import Plugin
from idp.provider import client_routes, consent_routes, discovery, token_form_routes, token_routes, userinfo
from idp.provider.authorization import Authorization
from idp.provider.clients import Clients
from idp.provider.discovery import Discovery
from idp.provider.introspection_endpoint import IntrospectionEndpoint
from idp.provider.logout import Logout
from idp.provider.revocation import Revocation
from idp.provider.token_endpoint import TokenEndpoint


class ProviderPlugin(Plugin):
    """Serves the token endpoint, userinfo, the metadata and the administration of clients.

    Provides `clients`, `token_endpoint`, `authorizations`, `discovery`, `introspection`, `revocation` and `logouts`.

    Args:
        services: run in the background: they tell clients of logouts, and delete what has expired.
    """

    routes = (
        *token_routes.ROUTES,
        *token_form_routes.ROUTES,
        *userinfo.ROUTES,
        *discovery.ROUTES,
        *client_routes.ROUTES,
        *consent_routes.ROUTES,
    )

    def __init__(
        self,
        clients: Clients,
        token_endpoint: TokenEndpoint,
        authorization: Authorization,
        metadata: Discovery,
        introspection: IntrospectionEndpoint,
        revocation: Revocation,
        logouts: Logout,
        *services: BackgroundService,
    ) -> None:
        self.provides = {
            "clients": clients,
            "token_endpoint": token_endpoint,
            "authorizations": authorization,
            "discovery": metadata,
            "introspection": introspection,
            "revocation": revocation,
            "logouts": logouts,
        }
        self.services = services
