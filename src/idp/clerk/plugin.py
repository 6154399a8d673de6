"""Plugin of Clerk: the webhook, and the size of the drift for `/metrics`."""

from idp.clerk.drift_gauge import DriftGauge
from idp.clerk.inbox import Inbox
from idp.clerk.routes import ROUTES, WebhookReaders
from idp.clerk.signature import readers
from idp.clerk.sync import ClerkUsers
from idp.db.engine import Database
from idp.ops.periodic import Periodic
from idp.plugin import Plugin
from idp.settings import SettingsError
from idp.settings_schema import Clerk

_HOUR = 3600.0  # seconds


class ClerkPlugin(Plugin):
    """Receives Clerk's webhooks.

    Args:
        settings: the webhook's secrets.
        database: has the results of comparisons.
        users: the users that Clerk manages.

    Raises:
        SettingsError: a secret cannot be used.
    """

    routes = ROUTES

    def __init__(self, settings: Clerk, database: Database, users: ClerkUsers) -> None:
        try:
            webhooks = tuple(readers(settings.webhook_secrets))
        except ValueError as error:
            raise SettingsError([f"{error}."]) from None
        inbox = Inbox(users)
        self.provides = {"clerk_inbox": inbox, "clerk_webhooks": WebhookReaders(webhooks)}
        self.services = [Periodic("clerk deliveries", _HOUR, inbox.forget_old), DriftGauge(database)]
