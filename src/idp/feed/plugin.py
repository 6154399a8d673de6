"""Plugin of the feed of events."""

from idp.db.engine import Database
from idp.feed.arrivals import Arrivals
from idp.feed.reader import Reader
from idp.feed.routes import ROUTES, Readers
from idp.plugin import Plugin
from idp.settings_schema import Feed


class FeedPlugin(Plugin):
    """Serves `GET /v1/events`.

    Args:
        database: stores the outbox.
        settings: how many requests may wait.
    """

    routes = ROUTES

    def __init__(self, database: Database, settings: Feed) -> None:
        arrivals = Arrivals(database)
        self.provides = {"event_reader": Reader(database, arrivals), "feed_readers": Readers(settings.max_readers)}
        self.services = [arrivals]
