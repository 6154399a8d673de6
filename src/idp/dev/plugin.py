"""Plugins of `idp dev`: the mailbox, and the stand-ins for an OpenID provider and for Clerk."""

from collections.abc import Callable

from idp.dev import clerk_routes, upstream_routes
from idp.dev.clerk_instance import ClerkInstance
from idp.dev.clerk_routes import StandIn
from idp.dev.mailbox import Mailbox
from idp.dev.mailbox_routes import ROUTES
from idp.dev.upstream_issuer import UpstreamIssuer
from idp.dev.upstream_sign_in import UpstreamSignIn
from idp.plugin import Plugin


class MailboxPlugin(Plugin):
    """Serves all mails, and provides `mailbox`."""

    routes = ROUTES

    def __init__(self, mailbox: Mailbox) -> None:
        self.provides = {"mailbox": mailbox}


class UpstreamPlugin(Plugin):
    """Serves Example Corp, and provides `upstream_issuer` and `upstream_sign_in`."""

    routes = upstream_routes.ROUTES

    def __init__(self, issuer: UpstreamIssuer) -> None:
        self.provides = {"upstream_issuer": issuer, "upstream_sign_in": UpstreamSignIn(issuer)}


class ClerkStandInPlugin(Plugin):
    """Serves the stand-in for Clerk, and provides `clerk_stand_in`.

    Args:
        current: returns the stand-in, with its users as they are now.
    """

    routes = clerk_routes.ROUTES

    def __init__(self, current: Callable[[], ClerkInstance]) -> None:
        self.provides = {"clerk_stand_in": StandIn(current)}
