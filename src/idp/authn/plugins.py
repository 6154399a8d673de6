"""Authenticator plugins: entry points in the group `idp.authenticators` that `authn.plugins` enables.

An installed package has no effect until it is listed there.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from msgspec import Struct

from idp.authn.chain import Authenticator
from idp.settings import SettingsError
from idp.settings_schema import Authn

GROUP = "idp.authenticators"


class PluginContext(Struct, frozen=True):
    """The argument of a plugin's factory.

    Attributes:
        name: the entry point's name.
        settings: the table `[authn.plugin_settings.<name>]`.
        issuer: this deployment's issuer.
    """

    name: str
    settings: dict[str, Any]
    issuer: str


Factory = Callable[[PluginContext], Authenticator]


def load_plugins(settings: Authn, *, issuer: str) -> Sequence[Authenticator]:
    """Build the authenticators listed in `authn.plugins`, in that order.

    Raises:
        SettingsError: a name without an installed package or with two, or a factory that fails.
    """
    offered: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        offered.setdefault(point.name, []).append(point)
    for name in settings.plugins:
        _check_offered_once(name, offered)
    plugins = []
    for name in settings.plugins:
        context = PluginContext(name=name, settings=settings.plugin_settings.get(name, {}), issuer=issuer)
        try:
            factory: Factory = offered[name][0].load()
            plugins.append(factory(context))
        except Exception as error:
            raise SettingsError([f"The authenticator {name!r} cannot be built: {error}."]) from error
    return plugins


def _check_offered_once(name: str, offered: Mapping[str, Sequence[EntryPoint]]) -> None:
    points = offered.get(name, [])
    if not points:
        known = ", ".join(sorted(offered)) or "none"
        raise SettingsError(
            [f"authn.plugins lists {name!r}, which no installed package provides (available: {known})."]
        )
    if len(points) > 1:  # the order of sys.path would decide which one authenticates
        packages = ", ".join(sorted(point.dist.name if point.dist else point.value for point in points))
        raise SettingsError(
            [f"authn.plugins lists {name!r}, which several packages provide ({packages}): uninstall all but one."]
        )
