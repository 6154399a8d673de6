"""Plugin of the OAuth provider."""

from idp.plugin import Plugin
from idp.provider import client_routes, token_routes
from idp.provider.clients import Clients


class ProviderPlugin(Plugin):
    """Serves the token endpoint, its metadata and the administration of clients; provides `clients`."""

    routes = (*token_routes.ROUTES, *client_routes.ROUTES)

    def __init__(self, clients: Clients) -> None:
        self.provides = {"clients": clients}
