"""Plugin of signing keys, the JWKS and proof keys."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import asyncpg
from litestar.config.app import AppConfig

from idp.errors import DatabaseUnavailable
from idp.plugin import Plugin
from idp.signing import routes
from idp.signing.jwt import TokenService
from idp.signing.key_upkeep import KeyUpkeep
from idp.signing.keyring import Keyring
from idp.signing.proof_keys import ProofKeys


class SigningPlugin(Plugin):
    """Provides `tokens` and `keyring`, and serves the public keys.

    Args:
        keyring: the signing keys.
        tokens: signs and verifies access tokens.
        proofs: keys of proofs.
        max_age: rotates signing keys that have signed longer; None: never.
    """

    routes = routes.ROUTES

    def __init__(self, keyring: Keyring, tokens: TokenService, proofs: ProofKeys, *, max_age: timedelta | None) -> None:
        self._proofs = proofs
        self.provides = {"keyring": keyring, "tokens": tokens}
        self.services = [proofs, KeyUpkeep(keyring, max_age)]

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        app_config.lifespan.append(self._prepared)
        return super().on_app_init(app_config)

    @asynccontextmanager
    async def _prepared(self, _app: object) -> AsyncIterator[None]:
        with suppress(DatabaseUnavailable, asyncpg.PostgresError):  # then they are read in the background
            await self._proofs.prepare()
        yield
