"""The production application for tools that import one: `litestar --app idp.asgi:production routes`.

`idp serve` builds it too, with limits on connections and request heads that other servers do not have.
"""

from idp.app import Application, create_app
from idp.settings import load
from idp.settings_safety import refuse_unsafe


def production() -> Application:
    """Build the application of production from the environment.

    Raises:
        SettingsError: a setting is missing, or must not be used in production.
    """
    loaded = load("production")
    refuse_unsafe(loaded.settings)
    return create_app(loaded)
