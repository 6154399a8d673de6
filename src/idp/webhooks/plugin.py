"""Plugin of outbound webhooks: their routes, and the worker that delivers."""

from idp.db.engine import Database
from idp.plugin import Plugin
from idp.settings_schema import Webhooks
from idp.signing.fetch import Fetcher
from idp.signing.sealing import Sealer
from idp.webhooks.manage import Outgoing
from idp.webhooks.routes import ROUTES
from idp.webhooks.worker import DeliveryWorker


class WebhooksPlugin(Plugin):
    """Serves `/v1/webhooks`, and delivers events to the endpoints.

    Args:
        settings: whether this process delivers, and times.
        database: stores the outbox and the endpoints.
        sealer: encrypts the endpoints' secrets.
        fetcher: posts, with the limits of SEC-66.
    """

    routes = ROUTES

    def __init__(self, settings: Webhooks, database: Database, sealer: Sealer, fetcher: Fetcher) -> None:
        self.provides = {"webhook_outgoing": Outgoing(fetcher, sealer)}
        if settings.deliver_in_serve:
            self.services = [DeliveryWorker(database, sealer, fetcher, settings)]
