"""Plugins of HTTP: errors, rate limits, health and metrics, and the Valkey client."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from litestar.config.app import AppConfig

from idp.cache import SharedCache, SharedStore
from idp.db.change_source import ChangeSource
from idp.db.engine import Database
from idp.ops import health, metrics, problems, query_metrics
from idp.ops.access_log import access_log
from idp.ops.address_limits import AddressLimits
from idp.ops.allow import correct_allow
from idp.ops.health import HealthChecks
from idp.ops.json_body import StrictRequest
from idp.ops.metrics_access import MetricsAccess
from idp.ops.origins import AllowedOrigins, cors_config
from idp.ops.rate_limit import Limiter
from idp.ops.rate_limit_headers import add_limit_headers
from idp.ops.rate_limit_rules import RateLimitRules
from idp.plugin import Plugin
from idp.settings import Settings
from idp.tracing import Tracing


class HttpPlugin(Plugin):
    """Configures request parsing and error responses, and provides `settings` and `origins`.

    Args:
        settings: what it provides.
        origins: of web pages that may call.
        tracing: started and stopped with the application.
    """

    def __init__(self, settings: Settings, origins: AllowedOrigins, tracing: Tracing | None) -> None:
        self._origins = origins
        self._tracing = tracing
        self.provides = {"settings": settings, "origins": origins}

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        app_config.exception_handlers.update(problems.HANDLERS)
        app_config.request_class = StrictRequest
        app_config.cors_config = cors_config(self._origins)
        app_config.before_send.append(correct_allow)
        app_config.lifespan.append(_log_flushed_at_end)
        if self._tracing is not None:
            app_config.lifespan.append(self._traced)
        return super().on_app_init(app_config)

    @asynccontextmanager
    async def _traced(self, _app: object) -> AsyncIterator[None]:
        assert self._tracing is not None
        self._tracing.start()
        try:
            yield
        finally:
            await self._tracing.stop()


@asynccontextmanager
async def _log_flushed_at_end(_app: object) -> AsyncIterator[None]:
    try:
        yield
    finally:
        access_log.flush()


class CachePlugin(Plugin):
    """Checks the Valkey client for `/health`, and closes it at the end.

    Args:
        store: the client.
        shared: writes cache entries in the background.
    """

    def __init__(self, store: SharedStore, shared: SharedCache) -> None:
        self._store = store
        self._shared = shared
        self.probes = {"redis": store.check if store.valkey is not None else None}

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        app_config.lifespan.append(self._client)
        return super().on_app_init(app_config)

    @asynccontextmanager
    async def _client(self, _app: object) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await self._shared.close()
            await self._store.close()


class RateLimitPlugin(Plugin):
    """Provides `limiter` and `rate_limit_rules`, and sends the `RateLimit` headers."""

    def __init__(self, limiter: Limiter, rules: RateLimitRules) -> None:
        self._limiter = limiter
        self._rules = rules
        self.provides = {"limiter": limiter, "rate_limit_rules": rules}

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        app_config.state["address_limits"] = AddressLimits(self._limiter, self._rules)
        app_config.before_send.append(add_limit_headers(self._limiter))
        return super().on_app_init(app_config)


class HealthPlugin(Plugin):
    """Serves health, readiness and metrics.

    Args:
        checks: the probes of all plugins.
        metrics_access: who may read metrics.
        database: its statements are measured.
        change_source: whether it receives changes is a metric.
    """

    routes = health.ROUTES

    def __init__(
        self, checks: HealthChecks, metrics_access: MetricsAccess, database: Database, change_source: ChangeSource
    ) -> None:
        self.provides = {"health_checks": checks, "metrics_access": metrics_access}
        query_metrics.watch(database.engine)
        metrics.watch_lease(lambda: change_source.lease_is_valid)
