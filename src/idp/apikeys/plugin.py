"""Plugin of API keys and service tokens: routes and the single writer."""

from idp.apikeys import routes_keys, routes_tokens
from idp.apikeys.commands import CommandQueue
from idp.apikeys.idempotency import Idempotency
from idp.apikeys.scopes import ScopePolicy
from idp.apikeys.service import KeyFactory
from idp.apikeys.usage import Usage
from idp.db.engine import Database
from idp.plugin import Plugin
from idp.signing.sealing import Sealer


class ApiKeysPlugin(Plugin):
    """Serves keys and tokens.

    Args:
        database: stores them.
        key_factory: creates them.
        scope_policy: which scopes may be granted.
        usage: records their last use.
        sealer: encrypts responses for `Idempotency-Key`.
    """

    routes = (*routes_keys.ROUTES, *routes_tokens.ROUTES)

    def __init__(
        self, database: Database, key_factory: KeyFactory, scope_policy: ScopePolicy, *, usage: Usage, sealer: Sealer
    ) -> None:
        commands, idempotency = CommandQueue(database), Idempotency(sealer, database)
        self.provides = {
            "command_queue": commands,
            "idempotency": idempotency,
            "key_factory": key_factory,
            "scope_policy": scope_policy,
        }
        self.services = [usage, idempotency, commands]
        self.probes = {"command_processor": commands.probe}
