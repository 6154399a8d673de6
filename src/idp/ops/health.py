"""Liveness, readiness and the health document of S2 (C-02), from the probes that plugins register."""

import asyncio
import time
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from msgspec import UNSET, Meta, Struct, UnsetType

from idp import __version__
from idp.background import BackgroundService
from idp.errors import MetricsTokenRequired, MetricsUnavailable
from idp.ops import metrics
from idp.ops.accept import wants_page
from idp.ops.metrics_access import MetricsAccess
from idp.ops.openapi import responses
from idp.plugin import Plugin, Probe
from idp.principal.guards import public

_TIMEOUT_SECONDS = 0.8
# Requests within this time of the start of a run share its result: at most four runs a second, and no result older
# than this.
_SHARED_SECONDS = 0.25
HEALTH_PATHS = ["/health", "/"]
LIVENESS_PATHS = ["/healthz", "/api/auth/healthz"]


class Components(Struct, frozen=True):
    """Each component: "healthy", "unhealthy: …", or "disabled" where unused; the processor "running" or "stopped"."""

    database: str
    redis: str
    command_processor: str


class Health(Struct, frozen=True):
    """S2's health document, with S1's `service`."""

    status: Literal["healthy", "degraded"]
    version: Annotated[str, Meta(examples=["1.0.0"])]
    service: str
    components: Components
    failed_services: tuple[str, ...] | UnsetType = UNSET


class Alive(Struct, frozen=True):
    """S4's liveness document."""

    status: Literal["ok"] = "ok"
    service: str = "auth"


ALIVE = msgspec.json.encode(Alive())


class Ready(Struct, frozen=True):
    """S4's readiness document; "unavailable" comes with 503, and with a reason if the configuration is wrong."""

    status: Literal["ok", "unavailable"]
    reason: str | UnsetType = UNSET


class HealthChecks:
    """The probes and background services of all plugins.

    Args:
        signing: says why no token can be signed although the database answers.
    """

    def __init__(self, *, signing: Probe | None = None) -> None:
        self._probes: dict[str, Probe | None] = {}
        self._services: list[BackgroundService] = []
        self._signing = signing
        self._run: asyncio.Task[dict[str, str]] | None = None
        self._began = 0.0

    def watch(self, plugins: Iterable[Plugin]) -> None:
        """Include the probes and background services of these plugins."""
        for plugin in plugins:
            self._probes.update(plugin.probes)
            self._services.extend(plugin.services)

    async def health(self) -> Health:
        """Return the state of each component, and the names of background services that failed."""
        states = await self.states()
        failed = tuple(service.name for service in self._services if service.failed)
        degraded = failed or any(state.startswith("unhealthy") or state == "stopped" for state in states.values())
        return Health(
            status="degraded" if degraded else "healthy",
            version=__version__,
            service="auth-service",
            components=Components(
                database=states["database"], redis=states["redis"], command_processor=states["command_processor"]
            ),
            failed_services=failed or UNSET,
        )

    async def readiness(self) -> Ready:
        """Return whether requests can be decided, and the reason if the configuration is wrong."""
        database = (await self.states())["database"]
        if database != "healthy":
            mistake = database.removeprefix("unhealthy: ")
            return Ready("unavailable", reason=mistake if " " in mistake else UNSET)
        reason = await self._signing() if self._signing is not None else None
        return Ready("ok") if reason is None else Ready("unavailable", reason=reason)

    async def document(self) -> bytes:
        """Return `health` as JSON."""
        return msgspec.json.encode(await self.health())

    async def states(self) -> dict[str, str]:
        """Return the state of each component, at most `_SHARED_SECONDS` old."""
        now = time.monotonic()
        if self._run is None or now - self._began > _SHARED_SECONDS:
            self._run, self._began = asyncio.create_task(self._probe()), now
        return await asyncio.shield(self._run)  # a client that disconnects must not cancel it for the others

    async def _probe(self) -> dict[str, str]:
        """Run all probes at once; each has 0.8 s."""
        names = list(self._probes)
        return dict(zip(names, await asyncio.gather(*(self._state(self._probes[n]) for n in names)), strict=True))

    @staticmethod
    async def _state(probe: Probe | None) -> str:
        if probe is None:
            return "disabled"
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                return await probe() or "healthy"
        except Exception as error:  # noqa: BLE001  the error is the state
            return f"unhealthy: {type(error).__name__}"


async def _page_instead(request: Request[Any, Any, Any]) -> Any:
    """Answer a browser that opens `/` with a page, if there is one (a `before_request` hook)."""
    show_home = request.app.state.get("show_home")
    if show_home is None or request.scope["path"] != "/" or not wants_page(request.headers.get("accept")):
        return None
    return await show_home(request)


def _varies(response: Response[Any]) -> Response[Any]:
    response.headers.setdefault("Vary", "Accept")
    return response


@get(
    HEALTH_PATHS,
    opt=public(),
    before_request=_page_instead,
    after_request=_varies,
    tags=["Operations"],
    summary="Health of each component",
)
async def health(health_checks: NamedDependency[HealthChecks]) -> Health:
    """Return the state of each component: always 200; `redis` is "disabled" without Valkey (S2-40, C-02)."""
    return await health_checks.health()


@get(
    LIVENESS_PATHS,
    opt=public(),
    tags=["Operations"],
    summary="Liveness",
    sync_to_thread=False,
)
def liveness() -> Alive:
    """Answer without any check, for a liveness probe (S4-41)."""
    return Alive()


@get(
    "/readyz",
    opt=public(),
    tags=["Operations"],
    summary="Readiness",
    responses={
        503: ResponseSpec(
            Ready,
            description="The database does not answer, or no signing key can be opened.",
            generate_examples=False,
            examples=[Example(value={"status": "unavailable"})],
        )
    },
)
async def readiness(health_checks: NamedDependency[HealthChecks]) -> Response[Ready]:
    """Answer 200 if requests can be decided, 503 if the database is unavailable (S4-41)."""
    ready = await health_checks.readiness()
    return Response(ready, status_code=200 if ready.status == "ok" else 503)


@get(
    "/metrics",
    opt=public(),
    tags=["Operations"],
    summary="Prometheus metrics",
    media_type="text/plain",
    responses=responses(MetricsTokenRequired, MetricsUnavailable),
)
async def prometheus(request: Request[Any, Any, Any], metrics_access: NamedDependency[MetricsAccess]) -> Response[str]:
    """Return the metrics of all workers of this service (S3-65, S4-43).

    In production with `METRICS_TOKEN` as a bearer token.
    """
    metrics_access.check(request.scope)
    scrape = request.app.state.get("scrape_all_workers")  # set by `cli/workers/worker.py`
    text: bytes = metrics.exposition() if scrape is None else await scrape()
    return Response(text.decode(), media_type=metrics.MEDIA_TYPE)


ROUTES = (health, liveness, readiness, prometheus)
