"""The application on one screen: who authenticates, in which order, and which features are served.

A new authenticator is one file under `authn/authenticators/` and one line in `_authenticators`; a new feature is a
package with a `plugin.py` and one line in `_features`.
"""

from litestar import Litestar
from litestar.plugins.htmx import HTMXPlugin
from litestar.types import Receive, Scope, Send

from idp.accounts.plugin import AccountsPlugin
from idp.apikeys.plugin import ApiKeysPlugin
from idp.audit.plugin import AuditPlugin
from idp.authn.authenticators.admin_token import AdminToken
from idp.authn.authenticators.api_key import ApiKey
from idp.authn.authenticators.clerk_jwt import ClerkJwt
from idp.authn.authenticators.local_jwt import LocalJwt
from idp.authn.authenticators.session_cookie import SessionCookie
from idp.authn.authenticators.upstream_oidc import UpstreamOidc
from idp.authn.chain import Authenticator, AuthenticatorChain
from idp.authn.fast_path import FastPath, public_routes
from idp.authn.introspection import Introspector
from idp.authn.plugin import AuthnPlugin
from idp.authn.plugins import load_plugins
from idp.clerk.plugin import ClerkPlugin
from idp.core import Core, build_core
from idp.db.plugin import DatabasePlugin
from idp.deployment import public_url, signing_key_age
from idp.development import PRODUCTION, Development
from idp.directory.plugin import DirectoryPlugin
from idp.events.plugin import EventsPlugin
from idp.federation.link_proof import LinkProof
from idp.federation.plugin import FederationPlugin
from idp.feed.plugin import FeedPlugin
from idp.mail.plugin import MailPlugin
from idp.ops.envelope import Envelope
from idp.ops.plugin import CachePlugin, HealthPlugin, HttpPlugin, RateLimitPlugin
from idp.ops.public_prefix import PublicPrefix
from idp.pages.plugin import PagesPlugin
from idp.plugin import Plugin
from idp.principal.guards import check_policies
from idp.provider.discovery import OPEN_PATHS
from idp.provider.introspection_endpoint import IntrospectionEndpoint
from idp.provider.plugin import ProviderPlugin
from idp.sessions.plugin import SessionsPlugin
from idp.settings import LoadedSettings
from idp.signing.plugin import SigningPlugin
from idp.signing.routes import PublishedKeys
from idp.users.plugin import UsersPlugin
from idp.webhooks.plugin import WebhooksPlugin


def _authenticators(core: Core, development: Development) -> tuple[Authenticator, ...]:
    """The chain: the first authenticator that owns a credential decides about it (rule 1)."""
    settings = core.settings
    return (
        AdminToken(settings.management.admin_token),
        ApiKey(settings.api_keys, core.peppers),
        LocalJwt(core.tokens),
        UpstreamOidc(core.foreign_issuers, core.foreign_users.ensure),
        SessionCookie(core.cookies),
        ClerkJwt(core.clerk_tokens, core.clerk_users.provision if settings.clerk.provision_on_first_sight else None),
        *load_plugins(settings.authn, issuer=core.tokens.issuer),
        *(build(core) for build in development.authenticators),
    )


def _features(
    core: Core, introspector: Introspector, introspection: IntrospectionEndpoint, development: Development
) -> list[Plugin]:
    """Every feature, in the order in which they start."""
    settings, database, services = core.settings, core.database, core.account_services()
    support, factors, pages = core.act_for_support(), core.factor_services(), core.signed_in_pages(introspector)
    dev_headers = bool(development.authenticators)
    return [
        HttpPlugin(settings, core.origins, core.tracing),
        DatabasePlugin(database, core.change_listener, refuse_development=core.profile == "production"),
        CachePlugin(core.store, core.shared),
        RateLimitPlugin(core.limiter, core.rules),
        SigningPlugin(core.keyring, core.tokens, core.proofs, max_age=signing_key_age(settings)),
        UsersPlugin(core.passwords, core.factors),
        SessionsPlugin(core.refresh_tokens, core.cookies, core.devices, core.activity),
        ApiKeysPlugin(database, core.key_factory, core.scope_policy, usage=core.usage, sealer=core.sealer),
        MailPlugin(settings.mail, database, core.sealer, core.mailer, keeps_text=development.keeps_mail),
        AuditPlugin(database),
        EventsPlugin(database, settings.kafka, settings.events),
        HealthPlugin(core.health, core.metrics_access, database, core.change_listener),
        DirectoryPlugin(),
        AuthnPlugin(settings, introspector, core.resolver, core.bad_credentials, core.cookies, core.rights),
        AccountsPlugin(services, core.session_starter, core.signing_out(introspector), support, factors),
        ClerkPlugin(settings.clerk, database, core.clerk_users),
        ProviderPlugin(core.provider, introspection, core.declared_clients()),
        FederationPlugin(database, core.federation, LinkProof(services)),
        FeedPlugin(database, settings.feed),
        WebhooksPlugin(settings.webhooks, database, core.sealer, core.fetcher),
        PagesPlugin(
            public_url(settings), core.loaded, core.proofs, core.origins, introspector, pages, dev_headers=dev_headers
        ),
        *(build(core) for build in development.features),
    ]


class Application(Litestar):
    """Litestar behind the outermost ASGI layer (`ops/envelope.py`), which handles every request and response."""

    def __init__(self, core: Core, introspector: Introspector, development: Development) -> None:
        introspection = core.introspection(introspector)
        features = _features(core, introspector, introspection, development)
        core.health.watch(features)
        limit = core.settings.server.max_body_bytes  # given here: Litestar ignores what a plugin sets
        plugins = [HTMXPlugin(), *features]
        super().__init__(plugins=plugins, openapi_config=None, logging_config=None, request_max_body_size=limit)
        check_policies(self)
        self.core = core
        settings, published = core.settings, PublishedKeys(core.keyring)
        fast_routes = FastPath(introspector, settings.management).routes | introspection.routes
        fast_routes |= core.provider.fast_routes | public_routes(published, core.health)
        self._envelope = Envelope(
            super().__call__,
            settings.server,
            fast_routes=fast_routes,
            origins=core.origins,
            metrics_access=core.metrics_access,
            open_paths=OPEN_PATHS,
            prefix=PublicPrefix.of(public_url(settings), self.routes),
            observe=development.observe,
            tracing=core.tracing,
        )
        self.prepare = self._envelope.prepare  # for `ops/http_protocol.py`

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # type: ignore[override]
        await self._envelope(scope, receive, send)


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
    chain = AuthenticatorChain(_authenticators(core, development))
    return Application(core, core.introspector(chain), development)
