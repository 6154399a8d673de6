"""Plugin of sign-in through other providers."""

from idp.accounts.foreign_users import ForeignUsers
from idp.db.engine import Database
from idp.federation import backchannel_routes, routes
from idp.federation.backchannel_logout import BackchannelLogout
from idp.federation.cleanup import FederationCleanup
from idp.federation.link_proof import LinkProof
from idp.federation.logout import FederatedLogout
from idp.federation.sign_in import FederatedSignIn
from idp.plugin import Plugin


class FederationPlugin(Plugin):
    """Serves the list of providers, the exchange of codes, a user's identities and the logout by a provider; deletes
    expired logins.
    """

    routes = (*routes.ROUTES, *backchannel_routes.ROUTES)

    def __init__(
        self,
        database: Database,
        sign_in: FederatedSignIn,
        logout: FederatedLogout,
        foreign_users: ForeignUsers,
        proof: LinkProof,
    ) -> None:
        self.services = (FederationCleanup(database, sign_in.states),)
        self.provides = {
            "federated_sign_in": sign_in,
            "federated_logout": logout,
            "backchannel_logout": BackchannelLogout(database),
            "foreign_users": foreign_users,
            "link_proof": proof,
        }
