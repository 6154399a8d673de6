"""How a package joins the application: the base class of every `<package>/plugin.py`."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from litestar.config.app import AppConfig
from litestar.di import Provide
from litestar.plugins import InitPlugin
from litestar.types import ControllerRouterHandler

from idp.background import BackgroundService, running

Probe = Callable[[], Awaitable[str | None]]  # returns a state of its own instead of "healthy", such as "running"


class Plugin(InitPlugin):
    """Adds a package's routes, dependencies and background services to the application.

    A subclass sets the attributes in its constructor, from what `app.py` passes to it.

    Attributes:
        routes: route handlers and routers.
        provides: what handlers can ask for, by the name of their parameter.
        services: started with the application in this order, stopped in reverse.
        probes: checks for `/health`, by component; None for a component that this deployment does not use.
    """

    routes: Sequence[ControllerRouterHandler] = ()
    provides: Mapping[str, object] = {}
    services: Sequence[BackgroundService] = ()
    probes: Mapping[str, Probe | None] = {}

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Add them to the configuration (called by Litestar, in the order of its list of plugins).

        Raises:
            ValueError: another plugin provides a dependency of the same name, which one of them would lose.
        """
        if taken := sorted(app_config.dependencies.keys() & self.provides.keys()):
            raise ValueError(f"{type(self).__name__} provides {', '.join(taken)}, as another plugin does: rename it")
        app_config.route_handlers.extend(self.routes)
        app_config.dependencies.update({name: provide(value) for name, value in self.provides.items()})
        app_config.lifespan.extend(_lifespan(service) for service in self.services)
        return app_config


def provide(value: Any) -> Provide:
    """Return a dependency that is the same object for every request."""

    def constant() -> Any:
        return value

    return Provide(constant, sync_to_thread=False)


def _lifespan(service: BackgroundService) -> Callable[[object], Any]:
    return lambda _app: running(service)
