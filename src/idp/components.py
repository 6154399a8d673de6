"""What decides about requests and counts them: made once of the parts, without the framework."""

import msgspec
from msgspec import Struct

from idp import __version__, cache
from idp.apikeys.commands import CommandQueue
from idp.apikeys.idempotency import Idempotency
from idp.apikeys.secret import is_intact
from idp.authn.chain import AuthenticatorChain
from idp.authn.imported_keys import ImportedKeys
from idp.authn.introspection import Introspector
from idp.authn.resolve import Resolver
from idp.authn.verdicts import Verdicts
from idp.cache import SharedCache, SharedStore
from idp.core import Core, public_url, root_secrets
from idp.errors import DatabaseUnavailable
from idp.ops import health
from idp.ops.bad_credential_limit import BadCredentialLimit
from idp.ops.health import HealthChecks
from idp.ops.metrics_access import MetricsAccess
from idp.ops.rate_limit import Limiter
from idp.ops.rate_limit_rules import LoginRules
from idp.pages.schema import OpenApiDocument, openapi_config
from idp.sessions.activity import Activity
from idp.settings import Profile
from idp.signing.sealing import derive


class Components(Struct, frozen=True):
    """What decides about requests and counts them, made of the parts."""

    store: SharedStore
    shared: SharedCache
    limiter: Limiter
    rules: LoginRules
    bad_credentials: BadCredentialLimit
    commands: CommandQueue
    idempotency: Idempotency
    activity: Activity
    resolver: Resolver
    introspector: Introspector
    checks: HealthChecks
    document: OpenApiDocument
    metrics_access: MetricsAccess


def build_components(core: Core, profile: Profile, chain: AuthenticatorChain, *, dev_headers: bool) -> Components:
    """Make the components, without connecting to anything.

    Args:
        parts: what they are made of.
        profile: the one that the command chose.
        chain: who is asked about a credential.
        dev_headers: whether X-User-Email is accepted, for the documentation.
    """
    settings = core.settings
    valkey = cache.connect(settings.valkey.url.reveal() if settings.valkey.url else None)
    store, commands = SharedStore(valkey), CommandQueue(core.database)
    shared = SharedCache(store)
    verdicts, activity = _verdicts(core, shared, profile), Activity(core.database)
    resolver = _resolver(core, verdicts)
    bad_credentials = BadCredentialLimit(settings.rate_limits.bad_credentials_per_address_per_minute)
    return Components(
        store=store,
        shared=shared,
        limiter=Limiter(
            store,
            key=derive(root_secrets(settings)[0], "rate-limit-counters"),
            back_off=settings.rate_limits.back_off_seconds,
        ),
        rules=LoginRules(settings.rate_limits),
        bad_credentials=bad_credentials,
        commands=commands,
        idempotency=Idempotency(core.sealer, core.database),
        activity=activity,
        resolver=resolver,
        introspector=_introspector(core, chain, resolver, verdicts, activity, bad_credentials),
        checks=HealthChecks(_probes(core, store, commands), signing=core.keyring.probe),
        document=OpenApiDocument(openapi_config(public_url=public_url(settings), dev_headers=dev_headers)),
        metrics_access=MetricsAccess(
            is_open=profile == "development",
            token=settings.management.metrics_token,
            port=settings.server.metrics_port,
        ),
    )


def _resolver(core: Core, verdicts: Verdicts) -> Resolver:
    reads = core.database.reads
    imported = ImportedKeys(reads, core.passwords)
    return Resolver(reads, imported=imported, policy=core.scope_policy, usage=core.usage, verdicts=verdicts)


def _introspector(
    core: Core,
    chain: AuthenticatorChain,
    resolver: Resolver,
    verdicts: Verdicts,
    activity: Activity,
    bad_credentials: BadCredentialLimit,
) -> Introspector:
    settings = core.settings
    prefixes = (settings.api_keys.user_key_prefix, settings.api_keys.service_token_prefix)
    return Introspector(
        chain,
        resolver,
        verdicts=verdicts,
        usage=core.usage,
        activity=activity,
        bad_credentials=bad_credentials,
        is_key=lambda token: token.startswith(tuple(f"{prefix}_" for prefix in prefixes)),
        is_intact=lambda token: any(is_intact(token, prefix) for prefix in prefixes),
    )


def _verdicts(core: Core, shared: SharedCache, profile: Profile) -> Verdicts:
    """What is shared is named and signed with a key of this deployment and of what decides its verdicts."""
    policy = msgspec.json.encode(core.settings.api_keys).hex()
    key = core.proofs.of(f"verdicts of {__version__} for {core.tokens.issuer} in {profile} under {policy}")
    authn = core.settings.authn
    verdicts = Verdicts(
        core.change_listener, shared, key=None, ttl=authn.cache_ttl_seconds, entries=authn.cache_entries
    )
    core.proofs.when_ready(lambda: verdicts.share_under(key.current))
    return verdicts


def _probes(core: Core, store: SharedStore, commands: CommandQueue) -> dict[str, health.Probe | None]:
    async def ping_database() -> str | None:
        try:
            await core.database.ping()
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
