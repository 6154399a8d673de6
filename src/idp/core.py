"""Everything that works without an application, built from the settings without connecting to anything.

`app.py` puts an application on top of it; commands, tests and measurements use it alone.
"""

from uuid import UUID

import msgspec
from msgspec import Struct

from idp import __version__, cache
from idp.accounts.account_services import AccountServices
from idp.accounts.act_for_support import ActForSupport
from idp.accounts.factor_services import FactorServices, build_factors
from idp.accounts.foreign_users import ForeignUsers
from idp.accounts.pending_sign_ins import PendingSignIns
from idp.accounts.sign_out_routes import SigningOut
from idp.accounts.start_session import SessionStarter
from idp.apikeys.scopes import ScopePolicy
from idp.apikeys.secret import Peppers, is_intact
from idp.apikeys.service import KeyFactory
from idp.apikeys.usage import Usage
from idp.authn.chain import AuthenticatorChain
from idp.authn.imported_keys import ImportedKeys
from idp.authn.introspection import Introspector
from idp.authn.resolve import Resolver
from idp.authn.rights import Rights
from idp.authn.verdicts import Verdicts
from idp.cache import SharedCache, SharedStore
from idp.clerk.sync import ClerkUsers
from idp.db.change_source import ChangeSource
from idp.db.engine import Database
from idp.db.notify import ChangeListener
from idp.db.polling import ChangePoller
from idp.deployment import (
    allowed_origins,
    clerk_issuer,
    configured_issuers,
    front_end,
    own_secrets,
    public_url,
    root_secrets,
    service_names,
    shared_secrets,
)
from idp.federation.services import FederationServices, build_federation
from idp.mail.addresses import service_name
from idp.mail.outbox import Mailer
from idp.ops.bad_credential_limit import BadCredentialLimit
from idp.ops.health import HealthChecks
from idp.ops.metrics_access import MetricsAccess
from idp.ops.origins import AllowedOrigins
from idp.ops.rate_limit import Limiter
from idp.ops.rate_limit_rules import RateLimitRules
from idp.pages.drafts import Drafts
from idp.pages.languages import LANGUAGES
from idp.pages.signed_in import SignedInPages
from idp.provider import declared_clients
from idp.provider.declared_clients import DeclaredClients
from idp.provider.introspection_endpoint import IntrospectionEndpoint
from idp.provider.services import ProviderServices, build_provider
from idp.sessions.activity import Activity
from idp.sessions.cookie import SessionCookies
from idp.sessions.known_devices import KnownDevices
from idp.sessions.refresh_tokens import RefreshTokens
from idp.settings import LoadedSettings, Profile, Settings, SettingsError, config_dir
from idp.settings_schema import OidcIssuer
from idp.signing.clerk_token import ALGORITHM as CLERK_ALGORITHM
from idp.signing.clerk_token import ClerkTokens, PemKey
from idp.signing.fetch import Fetcher
from idp.signing.foreign_jwt import ForeignIssuer
from idp.signing.id_token import IdTokens
from idp.signing.jwt import TokenService
from idp.signing.keyring import Keyring
from idp.signing.proof_keys import ProofKeys
from idp.signing.remote_jwks import RemoteJwks
from idp.signing.sealing import Sealer, derive
from idp.signing.signing_key import Algorithm
from idp.tracing import Tracing
from idp.users.factors.challenges import Challenges
from idp.users.factors.enrolled import EnrolledFactors
from idp.users.factors.policy import FactorPolicy
from idp.users.factors.recovery_codes import RecoveryCodes
from idp.users.factors.relying_party import RelyingParty
from idp.users.factors.totp import Totp
from idp.users.one_time_tokens import OneTimeTokens
from idp.users.passwords import Passwords


class Core(Struct, frozen=True):
    """The service's objects, one of each."""

    loaded: LoadedSettings
    settings: Settings
    profile: Profile
    origins: AllowedOrigins
    database: Database
    change_listener: ChangeSource
    store: SharedStore
    shared: SharedCache
    keyring: Keyring
    tokens: TokenService
    id_tokens: IdTokens
    sealer: Sealer
    proofs: ProofKeys
    peppers: Peppers
    passwords: Passwords
    factors: EnrolledFactors
    totp: Totp
    recovery_codes: RecoveryCodes
    provider: ProviderServices
    federation: FederationServices
    fetcher: Fetcher
    foreign_issuers: tuple[ForeignIssuer, ...]
    foreign_users: ForeignUsers
    clerk_tokens: ClerkTokens | None
    clerk_users: ClerkUsers
    scope_policy: ScopePolicy
    key_factory: KeyFactory
    usage: Usage
    cookies: SessionCookies
    devices: KnownDevices
    refresh_tokens: RefreshTokens
    session_starter: SessionStarter
    activity: Activity
    one_time_tokens: OneTimeTokens
    mailer: Mailer
    limiter: Limiter
    rules: RateLimitRules
    bad_credentials: BadCredentialLimit
    verdicts: Verdicts
    resolver: Resolver
    rights: Rights
    health: HealthChecks
    metrics_access: MetricsAccess
    tracing: Tracing | None

    def introspector(self, chain: AuthenticatorChain) -> Introspector:
        """Return what decides about credentials with these authenticators."""
        keys = self.settings.api_keys
        prefixes = (keys.user_key_prefix, keys.service_token_prefix)
        return Introspector(
            chain,
            self.resolver,
            verdicts=self.verdicts,
            usage=self.usage,
            activity=self.activity,
            bad_credentials=self.bad_credentials,
            is_key=lambda token: token.startswith(tuple(f"{prefix}_" for prefix in prefixes)),
            is_intact=lambda token: any(is_intact(token, prefix) for prefix in prefixes),
        )

    def introspection(self, introspector: Introspector) -> IntrospectionEndpoint:
        """Return what answers at the introspection endpoint."""
        return IntrospectionEndpoint(introspector, self.provider.client_authentication, issuer=self.tokens.issuer)

    def signed_in_pages(self, introspector: Introspector) -> SignedInPages:
        """Return what opens the pages of the account and the administration."""
        return SignedInPages(
            introspector,
            self.cookies,
            self.factors,
            Drafts(self.sealer, self.origins),
            public_url=self.tokens.issuer,
            fresh_seconds=self.settings.accounts.fresh_login_seconds,
        )

    def declared_clients(self) -> DeclaredClients:
        """Return what applies config/clients.toml.

        Raises:
            SettingsError: it has a mistake, or a secret that it names is missing.
        """
        path = config_dir() / declared_clients.NAME
        declared = declared_clients.read(path, fetch_problem=self.fetcher.problem_of)
        return DeclaredClients(self.database, self.provider.clients, declared)

    def signing_out(self, introspector: Introspector) -> SigningOut:
        """Return what ends sessions."""
        return SigningOut(introspector, self.cookies, self.refresh_tokens, self.bad_credentials, self._leave)

    async def _leave(self, session_id: UUID) -> str | None:
        """Return where the browser of an ended session ends the one at its provider."""
        leaving = await self.federation.logout.leave(session_id)
        return leaving.url if leaving is not None else None

    def act_for_support(self) -> ActForSupport:
        """Return what starts sessions of support."""
        return ActForSupport(self.account_services(), self.cookies)

    def relying_party(self) -> RelyingParty:
        """Return who passkeys are for.

        Raises:
            SettingsError: second_factor.relying_party_id is not a domain of the service.
        """
        configured = self.settings.second_factor.relying_party_id
        return RelyingParty.of(self.origins, name=self.settings.pages.name, configured=configured)

    def account_services(self) -> AccountServices:
        """Return the services that the account flows share."""
        return AccountServices(
            database=self.database,
            passwords=self.passwords,
            one_time_tokens=self.one_time_tokens,
            mailer=self.mailer,
            limiter=self.limiter,
            rules=self.rules,
            devices=self.devices,
            settings=self.settings.accounts,
            front_end=front_end(self.settings).rstrip("/"),
        )

    def factor_services(self) -> FactorServices:
        """Return what sets up and checks second factors."""
        services, keep_login = self.account_services(), self.federation.sign_in.keep_login
        return build_factors(
            services,
            self.session_starter,
            self.totp,
            self.recovery_codes,
            self.relying_party(),
            Challenges(self.proofs),
            keep_login,
        )


def build_core(loaded: LoadedSettings) -> Core:
    """Build the core without connecting to anything.

    Raises:
        SettingsError: there is no root secret.
        DatabaseUrlError: the database's address cannot be used.
    """
    settings, profile = loaded.settings, loaded.profile
    fetcher = Fetcher(allow_loopback=profile == "development")
    roots, origins = root_secrets(settings), allowed_origins(settings)
    database, sealer, peppers = Database(settings.database), Sealer(roots), Peppers(roots)
    listener = change_source(settings, database)
    proofs = ProofKeys(database, own_secrets(settings), shared_secrets(settings))
    algorithm: Algorithm = "RS256" if settings.tokens.algorithm == "RS256" else "ES256"
    keyring = Keyring(database, sealer, algorithm, epoch=lambda: listener.changes.signing)
    tokens = TokenService(keyring, settings.tokens, issuer=public_url(settings), profile=profile)
    store = SharedStore(cache.connect(settings.valkey.url.reveal() if settings.valkey.url else None))
    shared = SharedCache(store)
    bound = (each for each in settings.federation.providers.values() if each.refuse_passwords)
    passwords = Passwords(
        settings.passwords,
        service=service_names(settings),
        refused_domains={domain.lower() for each in bound for domain in each.email_domains},
    )
    usage, scope_policy = Usage(database, peppers.current), ScopePolicy(settings.api_keys)
    verdicts = _verdicts(loaded, listener, shared, proofs)
    imported = ImportedKeys(database.reads, passwords)
    name, home = service_name(settings.mail.from_email, settings.pages.name), settings.mail.frontend_url
    cookies = SessionCookies(roots, proofs, origins=origins)
    refresh_tokens = RefreshTokens(
        database,
        roots,
        proofs,
        grace_seconds=settings.tokens.refresh_grace_seconds,
        allow_late_retry=settings.tokens.refresh_repeat_while_unused,
    )
    bad_credentials = BadCredentialLimit(settings.rate_limits.bad_credentials_per_address_per_minute)
    resolver = Resolver(database.reads, imported=imported, policy=scope_policy, usage=usage, verdicts=verdicts)
    id_tokens = IdTokens(keyring, issuer=tokens.issuer, profile=profile)
    foreign_users = ForeignUsers(database, settings.accounts)
    pending_sign_ins = PendingSignIns(roots, origins, public_url=tokens.issuer)
    policy = FactorPolicy(settings.second_factor)
    session_starter = SessionStarter(settings, tokens, refresh_tokens, cookies, pending_sign_ins, policy)
    counters_key = derive(roots[0], "rate-limit-counters")
    return Core(
        loaded=loaded,
        settings=settings,
        profile=profile,
        origins=origins,
        database=database,
        change_listener=listener,
        store=store,
        shared=shared,
        keyring=keyring,
        tokens=tokens,
        id_tokens=id_tokens,
        sealer=sealer,
        proofs=proofs,
        peppers=peppers,
        passwords=passwords,
        factors=EnrolledFactors(database),
        totp=Totp(sealer, issuer=name),
        recovery_codes=RecoveryCodes(roots),
        provider=build_provider(
            settings,
            database,
            roots,
            resolver=resolver,
            refresh_tokens=refresh_tokens,
            tokens=tokens,
            id_tokens=id_tokens,
            bad_credentials=bad_credentials,
            fetcher=fetcher,
            ui_locales=tuple(LANGUAGES),
        ),
        federation=build_federation(
            settings.federation,
            database,
            roots,
            fetcher=fetcher,
            keys_removed=listener.changes.forget_signatures,
            foreign_users=foreign_users,
            starter=session_starter,
            sealer=sealer,
            issuer=tokens.issuer,
        ),
        fetcher=fetcher,
        foreign_issuers=foreign_issuers(settings, fetcher, listener),
        foreign_users=foreign_users,
        clerk_tokens=clerk_tokens(settings, fetcher, listener),
        clerk_users=ClerkUsers(database, settings.accounts, settings.clerk.metadata_roles),
        scope_policy=scope_policy,
        key_factory=KeyFactory(settings.api_keys, peppers),
        usage=usage,
        cookies=cookies,
        devices=KnownDevices(proofs, origins=origins),
        refresh_tokens=refresh_tokens,
        session_starter=session_starter,
        activity=Activity(database),
        one_time_tokens=OneTimeTokens(roots, settings.accounts),
        mailer=Mailer(sealer, base_url=front_end(settings), service=name, home=home, own_url=tokens.issuer),
        limiter=Limiter(store, key=counters_key, back_off=settings.rate_limits.back_off_seconds),
        rules=RateLimitRules(settings.rate_limits),
        bad_credentials=bad_credentials,
        verdicts=verdicts,
        resolver=resolver,
        rights=Rights(database.reads, settings.accounts, scope_policy),
        health=HealthChecks(signing=keyring.probe),
        metrics_access=MetricsAccess(
            is_open=profile == "development",
            token=settings.management.metrics_token,
            port=settings.server.metrics_port,
        ),
        tracing=Tracing(settings.tracing, version=__version__) if settings.tracing.endpoint is not None else None,
    )


def change_source(settings: Settings, database: Database) -> ChangeSource:
    """Return what receives changes: by LISTEN, or by polling where that is not available."""
    floor_seconds = settings.authn.cache_ttl_seconds
    if settings.database.changes == "poll":
        return ChangePoller(database, seconds=settings.database.poll_seconds, floor_seconds=floor_seconds)
    return ChangeListener(database, floor_seconds=floor_seconds)


def foreign_issuers(settings: Settings, fetcher: Fetcher, listener: ChangeSource) -> tuple[ForeignIssuer, ...]:
    """Return the issuers whose tokens are accepted; a key that they withdraw ends the verdicts that it verified."""

    def build(each: OidcIssuer) -> ForeignIssuer:
        keys = RemoteJwks(
            each.issuer,
            fetcher,
            jwks_url=each.jwks_url,
            algorithms=each.algorithms,
            removed=listener.changes.forget_signatures,
        )
        return ForeignIssuer(each, keys)

    return tuple(build(each) for each in configured_issuers(settings))


def clerk_tokens(settings: Settings, fetcher: Fetcher, listener: ChangeSource) -> ClerkTokens | None:
    """Return what verifies Clerk's session tokens, None without a Clerk instance.

    Raises:
        SettingsError: the settings of Clerk cannot be used.
    """
    clerk, issuer = settings.clerk, clerk_issuer(settings)
    if issuer is None:
        return None
    if clerk.jwt_key is not None:
        try:
            return ClerkTokens(issuer, clerk, PemKey(clerk.jwt_key))
        except ValueError as error:
            raise SettingsError([f"{error}."]) from None
    keys = RemoteJwks(
        issuer,
        fetcher,
        jwks_url=f"{issuer}/.well-known/jwks.json",
        algorithms=(CLERK_ALGORITHM,),
        removed=listener.changes.forget_signatures,
    )
    return ClerkTokens(issuer, clerk, keys)


def _verdicts(loaded: LoadedSettings, listener: ChangeSource, shared: SharedCache, proofs: ProofKeys) -> Verdicts:
    """Shared entries are named and signed with a key of this deployment and of the settings that decide verdicts."""
    settings = loaded.settings
    policy = msgspec.json.encode(settings.api_keys).hex()
    key = proofs.of(f"verdicts of {__version__} for {public_url(settings)} in {loaded.profile} under {policy}")
    authn = settings.authn
    verdicts = Verdicts(listener, shared, key=None, ttl=authn.cache_ttl_seconds, entries=authn.cache_entries)
    proofs.when_ready(lambda: verdicts.enable_sharing(key.current))
    return verdicts
