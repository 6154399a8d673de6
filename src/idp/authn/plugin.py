"""Plugin of authentication: the middleware that sets the caller, and the routes that validate a credential."""

from litestar.config.app import AppConfig

from idp.authn import explain_routes, forward_routes, routes
from idp.authn.explain import Explainer
from idp.authn.introspection import Introspector
from idp.authn.middleware import AuthenticationMiddleware
from idp.authn.resolve import Resolver
from idp.authn.rights import Rights
from idp.ops.bad_credential_limit import BadCredentialLimit
from idp.plugin import Plugin
from idp.sessions.cookie import SessionCookies
from idp.settings import Settings


class AuthnPlugin(Plugin):
    """Authenticates every request, and serves validate, introspect and "me".

    Args:
        settings: the bounds of a fresh login and of a body.
        introspector: decides.
        resolver: reads who a user is.
        bad_credentials: counts bad credentials by address.
        cookies: checks requests with a session cookie for CSRF.
        rights: finds the origin of rights.
    """

    routes = (*routes.ROUTES, *forward_routes.ROUTES, *explain_routes.ROUTES)

    def __init__(
        self,
        settings: Settings,
        introspector: Introspector,
        resolver: Resolver,
        bad_credentials: BadCredentialLimit,
        cookies: SessionCookies,
        rights: Rights,
    ) -> None:
        self._settings = settings
        self._middleware = AuthenticationMiddleware(
            introspector, cookies, max_body_bytes=settings.server.max_body_bytes
        )
        self.provides = {
            "introspector": introspector,
            "resolver": resolver,
            "bad_credentials": bad_credentials,
            "explainer": Explainer(introspector, cookies, rights),
        }

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        app_config.middleware.append(self._middleware)
        app_config.state["introspector"] = self._middleware.introspector  # for hooks before a handler
        app_config.state["fresh_login_seconds"] = self._settings.accounts.fresh_login_seconds
        app_config.state["fresh_login_for_keys"] = self._settings.api_keys.require_fresh_login
        return super().on_app_init(app_config)
