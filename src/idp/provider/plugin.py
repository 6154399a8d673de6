"""Plugin of the OAuth provider."""

from idp.plugin import Plugin
from idp.provider import client_routes, token_routes
from idp.provider.backchannel import BackchannelLogout
from idp.provider.clients import Clients
from idp.provider.token_endpoint import TokenEndpoint


class ProviderPlugin(Plugin):
    """Serves the token endpoint, its metadata and the administration of clients.

    Provides `clients` and `token_endpoint`. In the background it tells clients of logouts.
    """

    routes = (*token_routes.ROUTES, *client_routes.ROUTES)

    def __init__(self, clients: Clients, token_endpoint: TokenEndpoint, backchannel: BackchannelLogout) -> None:
        self.provides = {"clients": clients, "token_endpoint": token_endpoint}
        self.services = [backchannel]
