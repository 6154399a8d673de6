"""Authenticators of other packages: entry points in the group `idp.authenticators` that `authn.plugins` names.

An installed package alone changes nothing; only naming it lets it answer for who is calling.
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
    """What the factory of an authenticator is called with.

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
    """Build the authenticators that `authn.plugins` names, in that order.

    Raises:
        SettingsError: a name that no installed package offers, or two do, or a factory that fails, with the reason.
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
            [f"authn.plugins names {name!r}, which no installed package offers ({known}): install its package."]
        )
    if len(points) > 1:  # whichever came first on the path would answer for who is calling
        packages = ", ".join(sorted(point.dist.name if point.dist else point.value for point in points))
        raise SettingsError([f"authn.plugins names {name!r}, which {packages} offer: uninstall all but one."])
