"""Plugin of the audit log: links new records to the hash chain in the background."""

from idp.audit.chain import Chain
from idp.db.engine import Database
from idp.plugin import Plugin


class AuditPlugin(Plugin):
    """Runs the chain. Records are written by the other packages (`audit/record.py`)."""

    def __init__(self, database: Database) -> None:
        self.services = [Chain(database)]
