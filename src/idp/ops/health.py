"""Liveness, readiness and S2's health document (C-02). Probes are registered: this package knows none of them."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Literal

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from msgspec import Meta, Struct

from idp import __version__
from idp.ops import metrics
from idp.principal.guards import public

Probe = Callable[[], Awaitable[str | None]]  # a word of its own for "healthy", such as "running"
_TIMEOUT_SECONDS = 0.8


class Components(Struct, frozen=True):
    """Each part: "healthy", "unhealthy: …", or "disabled" where unused; the processor "running" or "stopped"."""

    database: str
    redis: str
    command_processor: str


class Health(Struct, frozen=True):
    """S2's health document, with S1's `service`."""

    status: Literal["healthy", "degraded"]
    version: Annotated[str, Meta(examples=["1.0.0"])]
    service: str
    components: Components


class Alive(Struct, frozen=True):
    """S4's liveness document."""

    status: Literal["ok"] = "ok"
    service: str = "auth"


class Ready(Struct, frozen=True):
    """S4's readiness document; "unavailable" comes with 503."""

    status: Literal["ok", "unavailable"]


class HealthChecks:
    """The probes of this deployment; None where a part is not used."""

    def __init__(self, probes: Mapping[str, Probe | None]) -> None:
        self._probes = probes

    async def states(self) -> dict[str, str]:
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
        except Exception as error:  # noqa: BLE001  whatever is wrong is the answer
            return f"unhealthy: {type(error).__name__}"


@get(["/health", "/"], opt=public(), tags=["Operations"], summary="State of the parts")
async def health(health_checks: NamedDependency[HealthChecks]) -> Health:
    """Say how each part is. Always 200, even when degraded; `redis` is "disabled" without Valkey (S2-40, C-02)."""
    states = await health_checks.states()
    degraded = any(state.startswith("unhealthy") or state == "stopped" for state in states.values())
    return Health(
        status="degraded" if degraded else "healthy",
        version=__version__,
        service="auth-service",
        components=Components(
            database=states["database"], redis=states["redis"], command_processor=states["command_processor"]
        ),
    )


@get(
    ["/healthz", "/api/auth/healthz"],
    opt=public(),
    tags=["Operations"],
    summary="Is the process alive?",
    sync_to_thread=False,
)
def liveness() -> Alive:
    """Answer without touching anything, for a liveness probe (S4-41)."""
    return Alive()


@get(
    "/readyz",
    opt=public(),
    tags=["Operations"],
    summary="Can it serve?",
    responses={
        503: ResponseSpec(
            Ready,
            description="The database does not answer.",
            generate_examples=False,
            examples=[Example(value={"status": "unavailable"})],
        )
    },
)
async def readiness(health_checks: NamedDependency[HealthChecks]) -> Response[Ready]:
    """Answer 200 when requests can be decided, 503 when the database is away (S4-41)."""
    ready = (await health_checks.states())["database"] == "healthy"
    return Response(Ready("ok" if ready else "unavailable"), status_code=200 if ready else 503)


@get(
    "/metrics",
    opt=public(),
    tags=["Operations"],
    summary="Prometheus metrics",
    media_type="text/plain",
    sync_to_thread=False,
)
def prometheus() -> Response[str]:
    """Return this process's metrics. Let only your monitoring reach it (S3-65, S4-43)."""
    return Response(metrics.exposition().decode(), media_type=metrics.CONTENT_TYPE)


ROUTES = (health, liveness, readiness, prometheus)
