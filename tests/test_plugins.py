"""Plugins of packages: what they add, and the order in which their services start and stop."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from litestar import Litestar, get
from litestar.di import NamedDependency
from litestar.testing import AsyncTestClient
from structlog.testing import capture_logs

import idp
from factories import root_secret, running
from idp.background import BackgroundService
from idp.dev.embedded import EmbeddedPostgres
from idp.development import Development
from idp.ops.health import HealthChecks
from idp.plugin import Plugin, Probe
from idp.principal.guards import public


class Recorded(BackgroundService):
    """A service that writes down when it starts and stops."""

    def __init__(self, name: str, events: list[str]) -> None:
        super().__init__(name, self._wait)
        self._events = events

    def start(self) -> None:
        self._events.append(f"start {self.name}")
        super().start()

    async def stop(self) -> None:
        await super().stop()
        self._events.append(f"stop {self.name}")

    async def _wait(self) -> None:
        await asyncio.Event().wait()


@get("/greeting", opt=public())
async def greet(greeting: NamedDependency[str]) -> str:
    """A route that asks for what its plugin provides."""
    return greeting


class Greeting(Plugin):
    """A feature of one route, one dependency and some services."""

    routes = (greet,)

    def __init__(self, *services: BackgroundService, probes: Mapping[str, Probe | None] | None = None) -> None:
        self.provides = {"greeting": "hello"}
        self.services = services
        self.probes = probes or {}


async def test_a_plugin_adds_routes_and_dependencies_and_runs_services_in_order() -> None:
    events: list[str] = []
    first, second = Greeting(Recorded("a", events), Recorded("b", events)), Plugin()
    second.services = [Recorded("c", events)]
    async with AsyncTestClient(Litestar(plugins=[first, second], openapi_config=None)) as client:
        assert (await client.get("/greeting")).text == "hello"
        assert events == ["start a", "start b", "start c"]
    assert events[3:] == ["stop c", "stop b", "stop a"]


def test_two_plugins_cannot_provide_the_same_name() -> None:
    """Otherwise the later one would replace the dependency of the earlier one silently."""
    with pytest.raises(ValueError, match="Greeting provides greeting, as another plugin does"):
        Litestar(plugins=[Greeting(), Greeting()], openapi_config=None)


async def test_services_that_started_are_stopped_when_a_later_one_cannot_start() -> None:
    events: list[str] = []

    class Broken(Recorded):
        def start(self) -> None:
            raise RuntimeError("it cannot start")

    plugin = Greeting(Recorded("a", events), Broken("b", events))
    app = Litestar(plugins=[plugin], openapi_config=None)
    with pytest.raises(ExceptionGroup):
        async with app.lifespan():
            raise AssertionError("it must not start")
    assert events == ["start a", "stop a"]


async def test_health_and_the_log_name_a_service_that_failed() -> None:
    async def fail() -> None:
        raise RuntimeError("a fault")

    async def healthy() -> None:
        return None

    service, checks = BackgroundService("relay", fail), HealthChecks()
    checks.watch([Greeting(service, probes={"database": healthy, "redis": None, "command_processor": healthy})])
    assert (await checks.health()).status == "healthy"
    with capture_logs() as said:
        service.start()
        await asyncio.wait(service._tasks)
    found = await checks.health()
    assert (found.status, found.failed_services) == ("degraded", ("relay",))
    assert any("relay" in each.values() for each in said), said
    await service.stop()


async def test_a_feature_of_another_package_is_served(postgres: EmbeddedPostgres) -> None:
    """The list of features is open at its end: `idp dev` and tests add theirs."""
    development = Development(features=(lambda _core: Greeting(),))
    async with running(postgres.create_database("feature"), development=development) as service:
        answer = await service.client.get("/greeting")
        assert (answer.status_code, answer.text) == (200, "hello")
        assert answer.headers["x-content-type-options"] == "nosniff", "behind the envelope as everything else"


def test_the_application_fits_on_a_screen_and_a_half() -> None:
    """`app.py` is the first file that a newcomer reads; it has room for a few more authenticators and features."""
    lines = (Path(idp.__file__).parent / "app.py").read_text("utf-8").splitlines()
    assert len(lines) <= 150, "app.py may hold only the two lists and the application; move other code to core.py"


def test_the_command_of_the_framework_finds_the_application() -> None:
    """`litestar --app idp.asgi:production` works for those who expect it, under the settings of production."""
    command = [Path(sys.executable).with_name("litestar"), "--app", "idp.asgi:production", "routes"]
    environ = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": "postgresql://idp:secret@127.0.0.1/idp",
        "IDP_SECRET_KEY": root_secret(),
        "IDP_PUBLIC_URL": "https://id.example.com",
    }
    listed = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert listed.returncode == 0, listed.stderr
    assert "/auth/validate" in listed.stdout
    refused = subprocess.run(
        command, env={**environ, "IDP_SECRET_KEY": "short"}, capture_output=True, text=True, timeout=60, check=False
    )
    assert refused.returncode != 0
    assert "IDP_SECRET_KEY" in refused.stderr
