"""Plugin of the OpenID provider."""

from idp.plugin import Plugin
from idp.provider import client_routes, consent_routes, discovery, token_form_routes, token_routes, userinfo
from idp.provider.declared_clients import DeclaredClients
from idp.provider.introspection_endpoint import IntrospectionEndpoint
from idp.provider.services import ProviderServices


class ProviderPlugin(Plugin):
    """Serves the token endpoint, userinfo, the metadata and the administration of clients.

    Provides `clients`, `token_endpoint`, `authorizations`, `discovery`, `introspection`, `revocation` and `logouts`.

    Args:
        services: of the provider.
        introspection: answers at the introspection endpoint.
        declared: applies config/clients.toml at the start.
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
        self, services: ProviderServices, introspection: IntrospectionEndpoint, declared: DeclaredClients
    ) -> None:
        self.provides = {**services.provides, "introspection": introspection}
        self.services = (*services.background, declared)
