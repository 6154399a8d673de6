"""Plugin of API keys and service tokens: their routes and background services."""

from idp.apikeys import routes_keys, routes_tokens
from idp.apikeys.commands import CommandQueue
from idp.apikeys.idempotency import Idempotency
from idp.apikeys.own_keys import OwnKeys
from idp.apikeys.scopes import ScopePolicy
from idp.apikeys.service import KeyFactory
from idp.apikeys.usage import Usage
from idp.db.engine import Database
from idp.plugin import Plugin
from idp.signing.sealing import Sealer


class ApiKeysPlugin(Plugin):
    """Adds the routes of keys and tokens, the single writer, and the batched updates of last use.

    Args:
        database: the database.
        key_factory: creates them.
        scope_policy: which scopes may be granted.
        usage: records when each was last used.
        sealer: encrypts the answers stored for `Idempotency-Key`.
    """

    routes = (*routes_keys.ROUTES, *routes_tokens.ROUTES)

    def __init__(
        self, database: Database, key_factory: KeyFactory, scope_policy: ScopePolicy, *, usage: Usage, sealer: Sealer
    ) -> None:
        commands, idempotency = CommandQueue(database), Idempotency(sealer, database)
        self.provides = {
            "command_queue": commands,
            "own_keys": OwnKeys(database, commands, key_factory, scope_policy),
            "idempotency": idempotency,
            "key_factory": key_factory,
            "scope_policy": scope_policy,
        }
        self.services = [usage, idempotency, commands]
        self.probes = {"command_processor": commands.probe}
