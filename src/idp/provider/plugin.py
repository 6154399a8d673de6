"""Plugin of the OpenID provider."""

from idp.plugin import Plugin
from idp.provider import client_routes, consent_routes, discovery, token_routes, userinfo
from idp.provider.authorization import Authorization
from idp.provider.backchannel import BackchannelLogout
from idp.provider.clients import Clients
from idp.provider.discovery import Discovery
from idp.provider.logout import Logout
from idp.provider.token_endpoint import TokenEndpoint


class ProviderPlugin(Plugin):
    """Serves the token endpoint, userinfo, the metadata and the administration of clients.

    Provides `clients`, `token_endpoint`, `authorizations`, `discovery` and `logouts`. In the background it tells
    clients of logouts.
    """

    routes = (*token_routes.ROUTES, *userinfo.ROUTES, *discovery.ROUTES, *client_routes.ROUTES, *consent_routes.ROUTES)

    def __init__(
        self,
        clients: Clients,
        token_endpoint: TokenEndpoint,
        authorization: Authorization,
        metadata: Discovery,
        logouts: Logout,
        backchannel: BackchannelLogout,
    ) -> None:
        self.provides = {
            "clients": clients,
            "token_endpoint": token_endpoint,
            "authorizations": authorization,
            "discovery": metadata,
            "logouts": logouts,
        }
        self.services = [backchannel]
