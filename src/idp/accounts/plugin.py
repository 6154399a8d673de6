"""Plugin of account flows: sign-up, sign-in and sign-out, addresses, passwords, administration of users."""

from idp.accounts import (
    admin_routes,
    admin_sessions,
    admin_users,
    email_routes,
    legacy_test_routes,
    me,
    passkey_routes,
    password_routes,
    routes,
    session_routes,
    sign_out_routes,
)
from idp.accounts.account_flows import account_flows
from idp.accounts.account_services import AccountServices
from idp.accounts.open_registration import OpenRegistration
from idp.accounts.passkeys import AccountPasskeys, PasskeySignIn
from idp.accounts.sign_in import SignIn
from idp.accounts.sign_out_routes import SigningOut
from idp.accounts.start_session import SessionStarter
from idp.plugin import Plugin
from idp.users.factors.challenges import Challenges
from idp.users.factors.passkey_authentication import PasskeyAuthentication
from idp.users.factors.passkey_registration import PasskeyRegistration
from idp.users.factors.relying_party import RelyingParty


class AccountsPlugin(Plugin):
    """Serves the account flows.

    Args:
        services: shared dependencies of the flows.
        starter: starts sessions.
        signing_out: decides whose session a request may end.
        challenges: what authenticators sign.
        party: who passkeys are for.
    """

    routes = (
        *routes.ROUTES,
        *session_routes.ROUTES,
        *sign_out_routes.ROUTES,
        *email_routes.ROUTES,
        *password_routes.ROUTES,
        *passkey_routes.ROUTES,
        *admin_routes.ROUTES,
        *admin_users.ROUTES,
        *admin_sessions.ROUTES,
        *me.ROUTES,
        *legacy_test_routes.ROUTES,
    )

    def __init__(
        self,
        services: AccountServices,
        starter: SessionStarter,
        signing_out: SigningOut,
        challenges: Challenges,
        party: RelyingParty,
    ) -> None:
        registration, authentication = PasskeyRegistration(party, challenges), PasskeyAuthentication(party, challenges)
        self.provides = {
            "account_passkeys": AccountPasskeys(services, registration, party_id=party.id),
            "passkey_sign_in": PasskeySignIn(services, starter, authentication),
            "session_starter": starter,
            "signing_out": signing_out,
            "sign_in": SignIn(services, starter),
            "open_registration": OpenRegistration(services, starter),
            **account_flows(services),
        }
