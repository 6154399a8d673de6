"""Plugin of sign-in through other providers."""

from idp.db.engine import Database
from idp.federation import backchannel_routes, routes
from idp.federation.backchannel_logout import BackchannelLogout
from idp.federation.cleanup import FederationCleanup
from idp.federation.link_proof import LinkProof
from idp.federation.services import FederationServices
from idp.plugin import Plugin


class FederationPlugin(Plugin):
    """Serves the list of providers, the exchange of codes, a user's identities and the logout by a provider; deletes
    expired logins.
    """

    routes = (*routes.ROUTES, *backchannel_routes.ROUTES)

    def __init__(self, database: Database, services: FederationServices, proof: LinkProof) -> None:
        self.services = (FederationCleanup(database, services.sign_in.states),)
        self.provides = {
            "federated_sign_in": services.sign_in,
            "federated_logout": services.logout,
            "backchannel_logout": BackchannelLogout(database),
            "foreign_users": services.foreign_users,
            "link_proof": proof,
        }
