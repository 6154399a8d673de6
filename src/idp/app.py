"""The whole answer on one page: who is asked about a credential, in which order, and what is served.

`create_app` is the one place that lists the authenticators and mounts the routes. A new authenticator is one file under
`authn/authenticators/` and one line in `_chain`.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, Protocol

import asyncpg
import msgspec
from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.di import Provide
from litestar.types import ControllerRouterHandler
from msgspec import Struct

from idp import __version__, cache
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
from idp.apikeys.commands import CommandQueue
from idp.apikeys.idempotency import Idempotency
from idp.apikeys.secret import is_intact
from idp.apikeys.service import Minting
from idp.audit.chain import Chain
from idp.authn import routes as authn
from idp.authn.authenticators.admin_token import AdminToken
from idp.authn.authenticators.api_key import ApiKey
from idp.authn.authenticators.local_jwt import LocalJwt
from idp.authn.authenticators.session_cookie import SessionCookie
from idp.authn.chain import Authenticator, AuthenticatorChain
from idp.authn.hot import HotRoutes, public_routes
from idp.authn.imported_keys import ImportedKeys
from idp.authn.introspection import Introspector
from idp.authn.middleware import AuthenticationMiddleware
from idp.authn.plugins import load_plugins
from idp.authn.resolve import Resolver
from idp.authn.verdicts import Verdicts
from idp.cache import SharedCache, SharedStore
from idp.db.development_mark import DevelopmentMark
from idp.directory import routes_domains as domains
from idp.directory import routes_teams as teams
from idp.errors import DatabaseUnavailable
from idp.mail.addresses import UnusableAddress
from idp.mail.sender import MailSender
from idp.mail.smtp import SmtpTransport
from idp.ops import health, problems, query_metrics
from idp.ops.access_log import access_log
from idp.ops.address_limits import AddressLimits
from idp.ops.allow import correct_allow
from idp.ops.envelope import Envelope, HotRoute, Observer
from idp.ops.flood import Flood
from idp.ops.health import HealthChecks
from idp.ops.json_body import StrictRequest
from idp.ops.metrics_access import MetricsAccess
from idp.ops.origins import LOOPBACK
from idp.ops.outbox_gauge import OutboxGauge
from idp.ops.public_prefix import PublicPrefix, prefix_of
from idp.ops.rate_limit import Limiter
from idp.ops.rate_limit_headers import tell_limits
from idp.ops.rate_limit_rules import LoginRules
from idp.ops.settle import settle
from idp.pages import account_pages
from idp.pages import routes as pages
from idp.pages.schema import OpenApiDocument, openapi_config
from idp.parts import Parts, allowed_origins, build_parts, front_end, public_url, root_secrets
from idp.principal.guards import check_policies
from idp.sessions.activity import Activity
from idp.settings import LoadedSettings, Settings, SettingsError
from idp.signing import routes as signing
from idp.signing.routes import PublishedKeys
from idp.signing.sealing import derive

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
        hot: Mapping[tuple[str, str], HotRoute],
        metrics_access: MetricsAccess,
        observe: Observer | None = None,
    ) -> None:
        server = parts.settings.server
        super().__init__(
            litestar,
            hot=hot,
            origins=allowed_origins(parts.settings),
            metrics_access=metrics_access,
            prefix=_prefix(parts.settings, litestar),
            max_header_bytes=server.max_header_bytes,
            body_timeout=server.body_timeout_seconds,
            observe=observe,
        )
        self.litestar = litestar
        self.parts = parts


def _prefix(settings: Settings, litestar: Litestar) -> PublicPrefix | None:
    prefix = prefix_of(public_url(settings))
    return PublicPrefix(prefix, {route.path.split("/")[1] for route in litestar.routes}) if prefix else None


class _Working(Struct, frozen=True):
    """What works on requests, or beside them, made of the parts."""

    store: SharedStore
    shared: SharedCache
    limiter: Limiter
    rules: LoginRules
    flood: Flood
    commands: CommandQueue
    idempotency: Idempotency
    activity: Activity
    resolver: Resolver
    introspector: Introspector
    checks: HealthChecks
    document: OpenApiDocument
    metrics_access: MetricsAccess


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
    working = _working(parts, loaded.profile, development)
    query_metrics.watch(parts.database.engine)
    litestar = _litestar(parts, working, development)
    check_policies(litestar)
    working.document.app = litestar
    internal_token = parts.settings.management.internal_token is not None
    hot = HotRoutes(working.introspector, issuer=parts.tokens.issuer, internal_token=internal_token)
    public = public_routes(PublishedKeys(parts.keyring), working.checks)
    return Application(litestar, parts, hot.routes | public, working.metrics_access, development.observe)


def _working(parts: Parts, profile: str, development: Development) -> _Working:
    settings = parts.settings
    valkey = cache.connect(settings.valkey.url.reveal() if settings.valkey.url else None)
    store, commands = SharedStore(valkey), CommandQueue(parts.database)
    shared = SharedCache(store)
    verdicts, activity = _verdicts(parts, shared, profile), Activity(parts.database)
    resolver = _resolver(parts, verdicts)
    flood = Flood(settings.rate_limits.bad_credentials_per_address_per_minute)
    return _Working(
        store=store,
        shared=shared,
        limiter=Limiter(
            store,
            key=derive(root_secrets(settings)[0], "rate-limit-counters"),
            back_off=settings.rate_limits.back_off_seconds,
        ),
        rules=LoginRules(settings.rate_limits),
        flood=flood,
        commands=commands,
        idempotency=Idempotency(parts.sealer, parts.database),
        activity=activity,
        resolver=resolver,
        introspector=_introspector(parts, _chain(parts, development), resolver, verdicts, activity, flood),
        checks=HealthChecks(_probes(parts, store, commands), signing=parts.keyring.probe),
        document=OpenApiDocument(
            openapi_config(public_url=public_url(settings), dev_headers=bool(development.authenticators))
        ),
        metrics_access=MetricsAccess(
            is_open=profile == "development",
            token=settings.management.metrics_token,
            port=settings.server.metrics_port,
        ),
    )


def _available(parts: Parts, working: _Working) -> dict[str, object]:
    """Return what routes ask for, by the names of their parameters."""
    limiter, rules = working.limiter, working.rules
    starter = SessionStarter(parts.settings, parts.tokens, parts.refresh_tokens, parts.cookies)
    return {
        "settings": parts.settings,
        "database": parts.database,
        "passwords": parts.passwords,
        "tokens": parts.tokens,
        "keyring": parts.keyring,
        "introspector": working.introspector,
        "flood": working.flood,
        "resolver": working.resolver,
        "refresh_tokens": parts.refresh_tokens,
        "session_cookies": parts.cookies,
        "session_starter": starter,
        "known_devices": parts.devices,
        "signing_out": SigningOut(working.introspector, parts.cookies, parts.refresh_tokens, working.flood),
        "limiter": limiter,
        "login_rules": rules,
        "sign_in": SignIn(parts.database, parts.passwords, limiter, rules, starter, parts.devices, parts.mailer),
        "health_checks": working.checks,
        "metrics_access": working.metrics_access,
        "openapi_document": working.document,
        "command_queue": working.commands,
        "minting": Minting(parts.settings.api_keys, parts.peppers),
        "scope_policy": parts.scope_policy,
        "idempotency": working.idempotency,
        "mailer": parts.mailer,
        **journeys(_means(parts, limiter, rules)),
    }


def _litestar(parts: Parts, working: _Working, development: Development) -> Litestar:
    settings, most = parts.settings, parts.settings.server.max_body_bytes
    origins = allowed_origins(settings)
    return Litestar(
        route_handlers=[*_routes(), *(route for build in development.routes for route in build(parts))],
        middleware=[AuthenticationMiddleware(working.introspector, parts.cookies, origins=origins, most=most)],
        dependencies={name: _always(part) for name, part in _available(parts, working).items()},
        exception_handlers=problems.HANDLERS,
        cors_config=_cors(settings),
        openapi_config=None,
        state=State(
            {
                "fresh_login_seconds": settings.accounts.fresh_login_seconds,
                "fresh_login_for_keys": settings.api_keys.require_fresh_login,
                "address_limits": AddressLimits(working.limiter, working.rules),
            }
        ),
        request_class=StrictRequest,
        request_max_body_size=most,
        before_send=[correct_allow, settle(parts.ear), tell_limits(working.limiter)],
        lifespan=[_lifespan(parts, working, _background(parts, working, development))],
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


def _resolver(parts: Parts, verdicts: Verdicts) -> Resolver:
    reads = parts.database.reads
    imported = ImportedKeys(reads, parts.passwords)
    return Resolver(reads, imported=imported, policy=parts.scope_policy, usage=parts.usage, verdicts=verdicts)


def _introspector(
    parts: Parts,
    chain: AuthenticatorChain,
    resolver: Resolver,
    verdicts: Verdicts,
    activity: Activity,
    flood: Flood,
) -> Introspector:
    settings = parts.settings
    prefixes = (settings.api_keys.user_key_prefix, settings.api_keys.service_token_prefix)
    return Introspector(
        chain,
        resolver,
        verdicts=verdicts,
        usage=parts.usage,
        activity=activity,
        flood=flood,
        is_key=lambda token: token.startswith(tuple(f"{prefix}_" for prefix in prefixes)),
        is_intact=lambda token: any(is_intact(token, prefix) for prefix in prefixes),
    )


def _verdicts(parts: Parts, shared: SharedCache, profile: str) -> Verdicts:
    """What is shared is named and signed with a key of this deployment and of what decides its verdicts."""
    policy = msgspec.json.encode(parts.settings.api_keys).hex()
    key = parts.proofs.of(f"verdicts of {__version__} for {parts.tokens.issuer} in {profile} under {policy}")
    authn = parts.settings.authn
    verdicts = Verdicts(parts.ear, shared, key=None, ttl=authn.cache_ttl_seconds, entries=authn.cache_entries)
    parts.proofs.when_ready(lambda: verdicts.share_under(key.current))
    return verdicts


def _probes(parts: Parts, store: SharedStore, commands: CommandQueue) -> dict[str, health.Probe | None]:
    async def ping_database() -> str | None:
        try:
            await parts.database.ping()
        except DatabaseUnavailable as error:
            if error.mistake is None:
                raise
            return f"unhealthy: {error.mistake}"
        return None

    return {
        "database": ping_database,
        "redis": store.check if store.valkey is not None else None,
        "command_processor": commands.probe,
    }


class _Background(Protocol):
    def start(self) -> None: ...

    async def stop(self) -> None: ...


def _mail_sender(parts: Parts, development: Development) -> MailSender:
    mail = parts.settings.mail
    try:
        transport = SmtpTransport(mail) if mail.smtp_host else None
    except UnusableAddress as error:
        advice = "put an address such as no-reply@example.com there"
        raise SettingsError([f"FROM_EMAIL is {mail.from_email!r} ({error}): {advice}."]) from None
    return MailSender(
        parts.database,
        parts.sealer,
        parts.mailer.posted,
        transport=transport,
        keeps_text=development.keeps_mail,
    )


def _background(parts: Parts, working: _Working, development: Development) -> list[_Background]:
    return [
        parts.proofs,
        *([DevelopmentMark(parts.database)] if development is PRODUCTION else []),
        parts.ear,
        parts.usage,
        working.activity,
        working.idempotency,
        working.commands,
        _mail_sender(parts, development),
        Chain(parts.database),
        OutboxGauge(parts.database),
    ]


def _lifespan(
    parts: Parts, working: _Working, background: Sequence[_Background]
) -> Callable[[Litestar], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_app: Litestar) -> AsyncIterator[None]:
        parts.passwords.start()
        with suppress(DatabaseUnavailable, asyncpg.PostgresError):  # else it is read in the background
            await parts.proofs.prepare()
        for each in background:
            each.start()
        try:
            yield
        finally:
            for each in reversed(background):
                await each.stop()
            parts.passwords.stop()
            await working.shared.close()
            await working.store.close()
            await parts.database.close()
            access_log.flush()

    return lifespan


def _always(value: Any) -> Provide:
    def provide() -> Any:
        return value

    return Provide(provide, sync_to_thread=False)


_EXPOSED_HEADERS = (
    "X-Request-Id",
    "X-Total-Count",
    "X-Next-Cursor",
    "Link",
    "Retry-After",
    "WWW-Authenticate",
    "RateLimit",
    "RateLimit-Policy",
)


def _cors(settings: Settings) -> CORSConfig | None:
    allowed = allowed_origins(settings)
    if not allowed.others and not allowed.loopback:
        return None
    return CORSConfig(
        allow_origins=list(allowed.others),
        allow_origin_regex=LOOPBACK.pattern if allowed.loopback else None,
        allow_credentials=True,
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"],
        allow_headers=[
            "Authorization",
            "Content-Type",
            "X-API-Key",
            "Idempotency-Key",
            "X-CSRF-Token",
            "X-User-Email",
            "X-User-Name",
            "X-Request-Id",
        ],
        expose_headers=list(_EXPOSED_HEADERS),
        max_age=600,
    )
