"""Plugin of account flows: sign-up, sign-in and sign-out, addresses, passwords, administration of users."""

from idp.accounts import (
    admin_routes,
    admin_sessions,
    admin_users,
    email_routes,
    legacy_test_routes,
    me,
    password_routes,
    routes,
    session_routes,
    sign_out_routes,
    support_routes,
)
from idp.accounts.account_flows import account_flows
from idp.accounts.account_services import AccountServices
from idp.accounts.act_for_support import ActForSupport
from idp.accounts.due_deletions import DueDeletions
from idp.accounts.open_registration import OpenRegistration
from idp.accounts.sign_in import SignIn
from idp.accounts.sign_out_routes import SigningOut
from idp.accounts.start_session import SessionStarter
from idp.plugin import Plugin


class AccountsPlugin(Plugin):
    """Serves the account flows.

    Args:
        services: shared dependencies of the flows.
        starter: starts sessions.
        signing_out: decides whose session a request may end.
        act_for_support: starts sessions in which administrators act as users.
    """

    routes = (
        *routes.ROUTES,
        *session_routes.ROUTES,
        *sign_out_routes.ROUTES,
        *email_routes.ROUTES,
        *password_routes.ROUTES,
        *admin_routes.ROUTES,
        *admin_users.ROUTES,
        *admin_sessions.ROUTES,
        *me.ROUTES,
        *support_routes.ROUTES,
        *legacy_test_routes.ROUTES,
    )

    def __init__(
        self,
        services: AccountServices,
        starter: SessionStarter,
        signing_out: SigningOut,
        act_for_support: ActForSupport,
    ) -> None:
        self.services = (DueDeletions(services.database),)
        self.provides = {
            "session_starter": starter,
            "signing_out": signing_out,
            "act_for_support": act_for_support,
            "sign_in": SignIn(services, starter),
            "open_registration": OpenRegistration(services, starter),
            **account_flows(services),
        }
