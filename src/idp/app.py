"""The whole answer on one page: who is asked about a credential, in which order, and what is served.

`create_app` is the one place that lists the authenticators and mounts the routes. A new authenticator is one file under
`authn/authenticators/` and one line in `_chain`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from litestar import Litestar
from litestar.datastructures import State
from litestar.di import Provide
from litestar.types import ControllerRouterHandler
from msgspec import Struct

from idp.accounts import admin_routes as accounts_admin
from idp.accounts import (
    admin_sessions,
    admin_users,
    email_routes,
    legacy_test_routes,
    me,
    password_routes,
    session_routes,
    sign_out_routes,
)
from idp.accounts import routes as accounts
from idp.accounts.account_services import AccountServices
from idp.accounts.journeys import journeys
from idp.accounts.sign_in import SignIn
from idp.accounts.sign_out_routes import SigningOut
from idp.accounts.start_session import SessionStarter
from idp.apikeys import routes_keys as api_keys
from idp.apikeys import routes_tokens as service_tokens
from idp.apikeys.service import KeyFactory
from idp.authn import routes as authn
from idp.authn.authenticators.admin_token import AdminToken
from idp.authn.authenticators.api_key import ApiKey
from idp.authn.authenticators.local_jwt import LocalJwt
from idp.authn.authenticators.session_cookie import SessionCookie
from idp.authn.chain import Authenticator, AuthenticatorChain
from idp.authn.fast_path import FastPath, public_routes
from idp.authn.middleware import AuthenticationMiddleware
from idp.authn.plugins import load_plugins
from idp.background import lifespan, services
from idp.components import Components, build_components
from idp.core import Core, allowed_origins, build_core, front_end, public_url
from idp.directory import routes_domains as domains
from idp.directory import routes_teams as teams
from idp.ops import health, problems, query_metrics
from idp.ops.address_limits import AddressLimits
from idp.ops.allow import correct_allow
from idp.ops.envelope import Envelope, FastRoute, Observer
from idp.ops.json_body import StrictRequest
from idp.ops.origins import cors_config
from idp.ops.public_prefix import PublicPrefix, prefix_of
from idp.ops.rate_limit import Limiter
from idp.ops.rate_limit_headers import tell_limits
from idp.ops.rate_limit_rules import LoginRules
from idp.ops.read_your_writes import wait_for_own_changes
from idp.pages import account_pages
from idp.pages import routes as pages
from idp.principal.guards import check_policies
from idp.settings import LoadedSettings, Profile, Settings
from idp.signing import routes as signing
from idp.signing.routes import PublishedKeys

DevelopmentAuthenticator = Callable[[Core], Authenticator]
DevelopmentRoutes = Callable[[Core], Sequence[ControllerRouterHandler]]


class Development(Struct, frozen=True):
    """What exists under `idp dev` only (rule 7).

    Attributes:
        authenticators: asked last, in this order.
        routes: further pages.
        keeps_mail: whether mails stay readable, for a page that shows them.
        observe: called after each request.
    """

    authenticators: tuple[DevelopmentAuthenticator, ...] = ()
    routes: tuple[DevelopmentRoutes, ...] = ()
    keeps_mail: bool = False
    observe: Observer | None = None


PRODUCTION = Development()


def _chain(core: Core, development: Development) -> AuthenticatorChain:
    settings = core.settings
    return AuthenticatorChain(
        (
            AdminToken(settings.management.admin_token),
            ApiKey(settings.api_keys, core.peppers),
            LocalJwt(core.tokens),
            SessionCookie(core.cookies),
            *load_plugins(settings.authn, issuer=core.tokens.issuer),
            *(build(core) for build in development.authenticators),
        )
    )


def _routes() -> list[ControllerRouterHandler]:
    return [
        *health.ROUTES,
        *signing.ROUTES,
        *accounts.ROUTES,
        *session_routes.ROUTES,
        *sign_out_routes.ROUTES,
        *email_routes.ROUTES,
        *password_routes.ROUTES,
        *accounts_admin.ROUTES,
        *admin_users.ROUTES,
        *admin_sessions.ROUTES,
        *me.ROUTES,
        *legacy_test_routes.ROUTES,
        *authn.ROUTES,
        *api_keys.ROUTES,
        *service_tokens.ROUTES,
        *teams.ROUTES,
        *domains.ROUTES,
        *pages.ROUTES,
        *account_pages.ROUTES,
        *pages.asset_routers(),
    ]


class Application(Envelope):
    """The ASGI application: Litestar inside the envelope that every answer leaves in."""

    def __init__(
        self,
        litestar: Litestar,
        core: Core,
        components: Components,
        fast_routes: Mapping[tuple[str, str], FastRoute],
        observe: Observer | None = None,
    ) -> None:
        server = core.settings.server
        super().__init__(
            litestar,
            fast_routes=fast_routes,
            origins=allowed_origins(core.settings),
            metrics_access=components.metrics_access,
            prefix=_prefix(core.settings, litestar),
            max_header_bytes=server.max_header_bytes,
            body_timeout=server.body_timeout_seconds,
            observe=observe,
        )
        self.litestar = litestar
        self.core = core
        self.document = components.document


def _prefix(settings: Settings, litestar: Litestar) -> PublicPrefix | None:
    prefix = prefix_of(public_url(settings))
    return PublicPrefix(prefix, {route.path.split("/")[1] for route in litestar.routes}) if prefix else None


def create_app(loaded: LoadedSettings, development: Development = PRODUCTION) -> Application:
    """Build the application.

    Args:
        loaded: the settings and the profile that the command chose.
        development: what exists under `idp dev` only (rule 7).

    Raises:
        SettingsError: an authenticator of another package cannot be loaded, there is no root secret, or no usable
            sender for mails.
        RuntimeError: a route declares no policy (rule 6).
    """
    core = build_core(loaded)
    chain = _chain(core, development)
    components = build_components(core, loaded.profile, chain, dev_headers=bool(development.authenticators))
    query_metrics.watch(core.database.engine)
    litestar = _litestar(core, components, loaded.profile, development)
    check_policies(litestar)
    components.document.app = litestar
    internal_token = core.settings.management.internal_token is not None
    fast_routes = FastPath(components.introspector, issuer=core.tokens.issuer, internal_token=internal_token)
    public = public_routes(PublishedKeys(core.keyring), components.checks)
    return Application(litestar, core, components, fast_routes.routes | public, development.observe)


def _available(core: Core, components: Components) -> dict[str, object]:
    """Return what routes ask for, by the names of their parameters."""
    limiter, rules = components.limiter, components.rules
    starter = SessionStarter(core.settings, core.tokens, core.refresh_tokens, core.cookies)
    return {
        "settings": core.settings,
        "database": core.database,
        "passwords": core.passwords,
        "tokens": core.tokens,
        "keyring": core.keyring,
        "introspector": components.introspector,
        "bad_credentials": components.bad_credentials,
        "resolver": components.resolver,
        "refresh_tokens": core.refresh_tokens,
        "session_cookies": core.cookies,
        "session_starter": starter,
        "known_devices": core.devices,
        "signing_out": SigningOut(
            components.introspector, core.cookies, core.refresh_tokens, components.bad_credentials
        ),
        "limiter": limiter,
        "login_rules": rules,
        "sign_in": SignIn(core.database, core.passwords, limiter, rules, starter, core.devices, core.mailer),
        "health_checks": components.checks,
        "metrics_access": components.metrics_access,
        "openapi_document": components.document,
        "command_queue": components.commands,
        "key_factory": KeyFactory(core.settings.api_keys, core.peppers),
        "scope_policy": core.scope_policy,
        "idempotency": components.idempotency,
        "mailer": core.mailer,
        **journeys(_account_services(core, limiter, rules)),
    }


def _litestar(core: Core, components: Components, profile: Profile, development: Development) -> Litestar:
    settings, most = core.settings, core.settings.server.max_body_bytes
    origins = allowed_origins(settings)
    background = services(core, components, profile, keeps_mail=development.keeps_mail)
    return Litestar(
        route_handlers=[*_routes(), *(route for build in development.routes for route in build(core))],
        middleware=[AuthenticationMiddleware(components.introspector, core.cookies, origins=origins, most=most)],
        dependencies={name: _always(part) for name, part in _available(core, components).items()},
        exception_handlers=problems.HANDLERS,
        cors_config=cors_config(origins),
        openapi_config=None,
        state=State(
            {
                "fresh_login_seconds": settings.accounts.fresh_login_seconds,
                "fresh_login_for_keys": settings.api_keys.require_fresh_login,
                "address_limits": AddressLimits(components.limiter, components.rules),
            }
        ),
        request_class=StrictRequest,
        request_max_body_size=most,
        before_send=[correct_allow, wait_for_own_changes(core.change_listener), tell_limits(components.limiter)],
        lifespan=[lifespan(core, components, background)],
        logging_config=None,
    )


def _account_services(core: Core, limiter: Limiter, rules: LoginRules) -> AccountServices:
    return AccountServices(
        database=core.database,
        passwords=core.passwords,
        one_time_tokens=core.one_time_tokens,
        mailer=core.mailer,
        limiter=limiter,
        rules=rules,
        devices=core.devices,
        settings=core.settings.accounts,
        front_end=front_end(core.settings).rstrip("/"),
    )


def _always(value: Any) -> Provide:
    def provide() -> Any:
        return value

    return Provide(provide, sync_to_thread=False)
