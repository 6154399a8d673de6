"""Plugin of sign-in through other providers."""

from idp.accounts.foreign_users import ForeignUsers
from idp.federation import routes
from idp.federation.link_proof import LinkProof
from idp.federation.sign_in import FederatedSignIn
from idp.plugin import Plugin


class FederationPlugin(Plugin):
    """Serves the list of providers, the exchange of codes and a user's identities; provides `federated_sign_in` and
    `foreign_users`.
    """

    routes = routes.ROUTES

    def __init__(self, sign_in: FederatedSignIn, foreign_users: ForeignUsers, proof: LinkProof) -> None:
        self.provides = {"federated_sign_in": sign_in, "foreign_users": foreign_users, "link_proof": proof}
