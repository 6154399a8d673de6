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
    me,
    password_routes,
    session_routes,
    sign_out_routes,
    trial_routes,
)
from idp.accounts import routes as accounts
from idp.accounts.begin import SessionStarter
from idp.accounts.journeys import journeys
from idp.accounts.means import Means
from idp.accounts.sign_in import SignIn
from idp.accounts.sign_out_routes import SigningOut
from idp.apikeys import routes_keys as api_keys
from idp.apikeys import routes_tokens as service_tokens
from idp.apikeys.service import Minting
from idp.authn import routes as authn
from idp.authn.authenticators.admin_token import AdminToken
from idp.authn.authenticators.api_key import ApiKey
from idp.authn.authenticators.local_jwt import LocalJwt
from idp.authn.authenticators.session_cookie import SessionCookie
from idp.authn.chain import Authenticator, AuthenticatorChain
from idp.authn.hot import HotRoutes, public_routes
from idp.authn.middleware import AuthenticationMiddleware
from idp.authn.plugins import load_plugins
from idp.background import lifespan, services
from idp.components import Components, build_components
from idp.directory import routes_domains as domains
from idp.directory import routes_teams as teams
from idp.ops import health, problems, query_metrics
from idp.ops.address_limits import AddressLimits
from idp.ops.allow import correct_allow
from idp.ops.envelope import Envelope, HotRoute, Observer
from idp.ops.json_body import StrictRequest
from idp.ops.origins import cors_config
from idp.ops.public_prefix import PublicPrefix, prefix_of
from idp.ops.rate_limit import Limiter
from idp.ops.rate_limit_headers import tell_limits
from idp.ops.rate_limit_rules import LoginRules
from idp.ops.settle import settle
from idp.pages import account_pages
from idp.pages import routes as pages
from idp.parts import Parts, allowed_origins, build_parts, front_end, public_url
from idp.principal.guards import check_policies
from idp.settings import LoadedSettings, Profile, Settings
from idp.signing import routes as signing
from idp.signing.routes import PublishedKeys

DevelopmentAuthenticator = Callable[[Parts], Authenticator]
DevelopmentRoutes = Callable[[Parts], Sequence[ControllerRouterHandler]]


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


def _chain(parts: Parts, development: Development) -> AuthenticatorChain:
    settings = parts.settings
    return AuthenticatorChain(
        (
            AdminToken(settings.management.admin_token),
            ApiKey(settings.api_keys, parts.peppers),
            LocalJwt(parts.tokens),
            SessionCookie(parts.cookies),
            *load_plugins(settings.authn, issuer=parts.tokens.issuer),
            *(build(parts) for build in development.authenticators),
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
        *trial_routes.ROUTES,
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
        parts: Parts,
        components: Components,
        hot: Mapping[tuple[str, str], HotRoute],
        observe: Observer | None = None,
    ) -> None:
        server = parts.settings.server
        super().__init__(
            litestar,
            hot=hot,
            origins=allowed_origins(parts.settings),
            metrics_access=components.metrics_access,
            prefix=_prefix(parts.settings, litestar),
            max_header_bytes=server.max_header_bytes,
            body_timeout=server.body_timeout_seconds,
            observe=observe,
        )
        self.litestar = litestar
        self.parts = parts
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
    parts = build_parts(loaded)
    chain = _chain(parts, development)
    components = build_components(parts, loaded.profile, chain, dev_headers=bool(development.authenticators))
    query_metrics.watch(parts.database.engine)
    litestar = _litestar(parts, components, loaded.profile, development)
    check_policies(litestar)
    components.document.app = litestar
    internal_token = parts.settings.management.internal_token is not None
    hot = HotRoutes(components.introspector, issuer=parts.tokens.issuer, internal_token=internal_token)
    public = public_routes(PublishedKeys(parts.keyring), components.checks)
    return Application(litestar, parts, components, hot.routes | public, development.observe)


def _available(parts: Parts, components: Components) -> dict[str, object]:
    """Return what routes ask for, by the names of their parameters."""
    limiter, rules = components.limiter, components.rules
    starter = SessionStarter(parts.settings, parts.tokens, parts.refresh_tokens, parts.cookies)
    return {
        "settings": parts.settings,
        "database": parts.database,
        "passwords": parts.passwords,
        "tokens": parts.tokens,
        "keyring": parts.keyring,
        "introspector": components.introspector,
        "flood": components.flood,
        "resolver": components.resolver,
        "refresh_tokens": parts.refresh_tokens,
        "session_cookies": parts.cookies,
        "session_starter": starter,
        "known_devices": parts.devices,
        "signing_out": SigningOut(components.introspector, parts.cookies, parts.refresh_tokens, components.flood),
        "limiter": limiter,
        "login_rules": rules,
        "sign_in": SignIn(parts.database, parts.passwords, limiter, rules, starter, parts.devices, parts.mailer),
        "health_checks": components.checks,
        "metrics_access": components.metrics_access,
        "openapi_document": components.document,
        "command_queue": components.commands,
        "minting": Minting(parts.settings.api_keys, parts.peppers),
        "scope_policy": parts.scope_policy,
        "idempotency": components.idempotency,
        "mailer": parts.mailer,
        **journeys(_means(parts, limiter, rules)),
    }


def _litestar(parts: Parts, components: Components, profile: Profile, development: Development) -> Litestar:
    settings, most = parts.settings, parts.settings.server.max_body_bytes
    origins = allowed_origins(settings)
    background = services(parts, components, profile, keeps_mail=development.keeps_mail)
    return Litestar(
        route_handlers=[*_routes(), *(route for build in development.routes for route in build(parts))],
        middleware=[AuthenticationMiddleware(components.introspector, parts.cookies, origins=origins, most=most)],
        dependencies={name: _always(part) for name, part in _available(parts, components).items()},
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
        before_send=[correct_allow, settle(parts.ear), tell_limits(components.limiter)],
        lifespan=[lifespan(parts, components, background)],
        logging_config=None,
    )


def _means(parts: Parts, limiter: Limiter, rules: LoginRules) -> Means:
    return Means(
        database=parts.database,
        passwords=parts.passwords,
        one_time_tokens=parts.one_time_tokens,
        mailer=parts.mailer,
        limiter=limiter,
        rules=rules,
        devices=parts.devices,
        settings=parts.settings.accounts,
        front_end=front_end(parts.settings).rstrip("/"),
    )


def _always(value: Any) -> Provide:
    def provide() -> Any:
        return value

    return Provide(provide, sync_to_thread=False)
