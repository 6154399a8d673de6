"""Authenticators of other packages: entry points in the group `idp.authenticators` that `authn.plugins` names.

An installed package alone changes nothing; only naming it lets it answer for who is calling.
"""

from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
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
        SettingsError: a name that no installed package offers, or a factory that fails, with the reason.
    """
    offered = {point.name: point for point in entry_points(group=GROUP)}
    if missing := [name for name in settings.plugins if name not in offered]:
        known = ", ".join(sorted(offered)) or "none"
        raise SettingsError(
            [f"authn.plugins names {missing[0]!r}, which no installed package offers ({known}): install its package."]
        )
    plugins = []
    for name in settings.plugins:
        context = PluginContext(name=name, settings=settings.plugin_settings.get(name, {}), issuer=issuer)
        try:
            factory: Factory = offered[name].load()
            plugins.append(factory(context))
        except Exception as error:
            raise SettingsError([f"The authenticator {name!r} cannot be built: {error}."]) from error
    return plugins
