"""Plugin of the mailbox of `idp dev`."""

from idp.dev.mailbox import Mailbox
from idp.dev.mailbox_routes import ROUTES
from idp.plugin import Plugin


class MailboxPlugin(Plugin):
    """Serves all mails, and provides `mailbox`."""

    routes = ROUTES

    def __init__(self, mailbox: Mailbox) -> None:
        self.provides = {"mailbox": mailbox}
