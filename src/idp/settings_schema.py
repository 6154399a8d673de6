"""The settings: one frozen struct per section, and the table of environment names.

`config/idp.toml` documents each setting; a test fails if one is missing there.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

Seconds = Annotated[float, Meta(gt=0, le=3600)]
KeyPrefix = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{1,30}[a-z0-9](?!\n)$")]
Count = Annotated[int, Meta(ge=1, le=10_000_000)]


class Secret:
    """A secret value: `repr` and `str` hide it, `reveal()` returns it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(hidden)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the settings files."""


class Server(Section, frozen=True):
    host: str = "0.0.0.0"  # noqa: S104  a container publishes it; `idp dev` binds to loopback
    port: Annotated[int, Meta(ge=0, le=65535)] = 8000
    metrics_port: Annotated[int, Meta(ge=1, le=65535)] | None = None
    workers: Annotated[int, Meta(ge=1, le=512)] = 1
    worker_timeout_seconds: Annotated[float, Meta(ge=2, le=3600)] = 30.0
    public_url: str | None = None
    trusted_proxies: tuple[str, ...] = ()
    max_body_bytes: Count = 1_000_000
    max_header_bytes: Count = 32_768
    body_timeout_seconds: Seconds = 15.0
    max_connections: Count = 10_000
    max_connections_per_address: Count = 1_000


class Database(Section, frozen=True):
    url: Secret | None = None
    direct_url: Secret | None = None
    migration_url: Secret | None = None
    pool_size: Count = 10
    max_overflow: Annotated[int, Meta(ge=0, le=1000)] = 20
    pool_timeout_seconds: Seconds = 1.0
    connect_timeout_seconds: Seconds = 10.0
    connection_max_age_seconds: Annotated[float, Meta(ge=10, le=86_400)] = 1800.0
    statement_timeout_seconds: Seconds = 5.0
    run_migrations: bool = False
    changes: Literal["listen", "poll"] = "listen"
    poll_seconds: Annotated[float, Meta(ge=0.05, le=0.5)] = 0.25


class Valkey(Section, frozen=True):
    url: Secret | None = None


class Secrets(Section, frozen=True):
    secret_key: Secret | None = None
    previous_secret_keys: tuple[Secret, ...] = ()


class Tokens(Section, frozen=True):
    auth_jwt_secret: Secret | None = None
    jwt_secret: Secret | None = None
    previous_jwt_secrets: tuple[Secret, ...] = ()
    algorithm: Literal["ES256", "RS256", "HS256"] | None = None
    access_token_minutes: Annotated[int, Meta(ge=1, le=60)] = 30
    max_roles: Annotated[int, Meta(ge=0, le=100)] = 32
    refresh_token_days: Annotated[int, Meta(ge=1, le=365)] = 7
    remembered_refresh_token_days: Annotated[int, Meta(ge=1, le=365)] = 60
    refresh_grace_seconds: Annotated[float, Meta(ge=0, le=60)] = 10.0
    refresh_repeat_while_unused: bool = True
    audience: str | None = None
    signing_key_days: Annotated[int, Meta(ge=0, le=3650)] = 90
    accept_legacy: bool = False


class Authn(Section, frozen=True):
    allow_dev_headers: bool = False
    plugins: tuple[str, ...] = ()
    plugin_settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    cache_ttl_seconds: Annotated[int, Meta(ge=0, le=86_400)] = 1800
    cache_entries: Annotated[int, Meta(ge=100, le=10_000_000)] = 50_000


class Management(Section, frozen=True):
    admin_token: Secret | None = None
    internal_token: Secret | None = None
    metrics_token: Secret | None = None


class Passwords(Section, frozen=True):
    min_length: Annotated[int, Meta(ge=8, le=64)] = 8
    max_length: Annotated[int, Meta(ge=64, le=1024)] = 128
    require_complexity: bool = False
    refuse_common: bool = False
    argon2_time_cost: Annotated[int, Meta(ge=1, le=20)] = 2
    argon2_memory_kib: Annotated[int, Meta(ge=7168, le=1_048_576)] = 19_456
    argon2_parallelism: Annotated[int, Meta(ge=1, le=16)] = 1
    workers: Annotated[int, Meta(ge=1, le=64)] = 1
    queue_limit: Annotated[int, Meta(ge=1, le=10_000)] = 64
    queue_limit_per_address: Annotated[int, Meta(ge=1, le=10_000)] = 8


class Accounts(Section, frozen=True):
    default_teams: tuple[str, ...] = ("General",)
    default_domains: tuple[str, ...] = ("engineering",)
    require_email_verification: bool = False
    verification_hours: Annotated[int, Meta(ge=1, le=168)] = 24
    reset_minutes: Annotated[int, Meta(ge=5, le=60)] = 15  # SEC-10: at most an hour
    email_change_hours: Annotated[int, Meta(ge=1, le=168)] = 24
    invitation_days: Annotated[int, Meta(ge=1, le=30)] = 7
    session_ttl_seconds: Count = 2_592_000
    remembered_session_ttl_seconds: Count = 7_776_000
    fresh_login_seconds: Count = 900
    max_sessions_per_user: Count = 100
    deletion_grace_days: Annotated[int, Meta(ge=0, le=90)] = 14
    support_minutes: Annotated[int, Meta(ge=1, le=240)] = 30


class SecondFactor(Section, frozen=True):
    required_roles: tuple[str, ...] = ()
    required_teams: tuple[str, ...] = ()
    grace_days: Annotated[int, Meta(ge=0, le=365)] = 14
    relying_party_id: str | None = None


class RateLimits(Section, frozen=True):
    login_window_seconds: Count = 900
    failed_logins_per_pair: Count = 10
    failed_logins_per_account: Count = 100
    failed_logins_per_address: Count = 100
    consecutive_failures_per_account: Annotated[int, Meta(ge=1, le=100)] = 100  # SEC-8: at most 100
    registrations_per_address_per_hour: Count = 100
    resets_per_account_per_hour: Count = 5
    resets_per_address_per_hour: Count = 50
    verifications_per_account_per_hour: Count = 5
    verifications_per_address_per_hour: Count = 50
    bad_links_per_address_per_hour: Count = 100
    authorizations_per_address_per_hour: Count = 3000
    bad_credentials_per_address_per_minute: Count = 600
    back_off_seconds: tuple[Count, ...] = (60, 300, 900, 3600, 86_400)


class Cors(Section, frozen=True):
    origins: tuple[str, ...] = ()
    loopback: bool = False


class Seed(Section, frozen=True):
    file: str | None = None


class Logging(Section, frozen=True):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"


class Tracing(Section, frozen=True):
    endpoint: str | None = None
    headers: Secret | None = None
    sample_ratio: Annotated[float, Meta(ge=0, le=1)] = 0.01
    trust_sampled_flag: bool = False
    service_name: Annotated[str, Meta(min_length=1, max_length=100)] = "idp"


class ApiKeys(Section, frozen=True):
    grantable_scopes: tuple[str, ...] = ("*",)
    role_scopes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    user_key_prefix: KeyPrefix = "sk_live"
    service_token_prefix: KeyPrefix = "amp_live"  # noqa: S105
    require_checksum: bool = False
    max_keys_per_user: Count = 100
    require_fresh_login: bool = False


Algorithm = Literal["RS256", "PS256", "ES256", "EdDSA"]


class ClaimRule(Section, frozen=True):
    """What values of a claim give: `[[oidc.providers.<name>.rules]]` (decision 0044)."""

    claim: str
    values: tuple[str, ...] = ()
    teams: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    teams_by_external_ref: bool = False
    domains_by_key: bool = False
    absent_is_empty: bool = False
    allow_admin_role: bool = False


class OidcIssuer(Section, frozen=True):
    """Another issuer whose tokens are accepted: `[oidc.providers.<name>]`."""

    issuer: str
    audience: tuple[str, ...]
    jwks_url: str | None = None
    algorithms: tuple[Algorithm, ...] = ("RS256",)
    aliases: tuple[str, ...] = ()
    audience_from_client: bool = False
    leeway_seconds: Annotated[int, Meta(ge=0, le=60)] = 30  # SEC-23
    subject_claim: str = "sub"
    email_claim: str = "email"
    email_verified_claim: str = "email_verified"
    name_claim: str = "name"
    trusted_email_domains: tuple[str, ...] = ()
    create_users: bool = True
    rules: tuple[ClaimRule, ...] = ()


class Oidc(Section, frozen=True):
    issuer: str | None = None
    audience: tuple[str, ...] = ()
    jwks_url: str | None = None
    trusted_email_domains: tuple[str, ...] = ()
    providers: dict[str, OidcIssuer] = field(default_factory=dict)


PresetName = Literal["oidc", "google", "entra", "github", "keycloak", "auth0", "okta", "cognito", "apple", "clerk"]


class UpstreamProvider(Section, frozen=True):
    """A provider that people may sign in with: `[federation.providers.<name>]`."""

    client_id: str
    preset: PresetName = "oidc"
    client_secret: Secret | None = None
    label: Annotated[str, Meta(min_length=1, max_length=60)] | None = None
    issuer: str | None = None
    tenant: str | None = None
    domain: str | None = None
    region: str | None = None
    pool: str | None = None
    team_id: str | None = None
    key_id: str | None = None
    private_key: Secret | None = None
    jwks_url: str | None = None
    scopes: tuple[str, ...] = ()
    algorithms: tuple[Algorithm, ...] = ()
    leeway_seconds: Annotated[int, Meta(ge=0, le=60)] = 30
    trusted_email_domains: tuple[str, ...] = ()
    create_users: bool = True
    email_domains: tuple[str, ...] = ()
    refuse_passwords: bool = False
    logout: bool = True
    hidden: bool = False
    claims: dict[str, str] = field(default_factory=dict)
    rules: tuple[ClaimRule, ...] = ()


class Federation(Section, frozen=True):
    providers: dict[str, UpstreamProvider] = field(default_factory=dict)


class Clerk(Section, frozen=True):
    webhook_secrets: tuple[Secret, ...] = ()
    publishable_key: str | None = None
    secret_key: Secret | None = None
    jwt_key: str | None = None
    issuer: str | None = None
    authorized_parties: tuple[str, ...] = ()
    allow_missing_azp: bool = False
    leeway_seconds: Annotated[int, Meta(ge=0, le=60)] = 5
    provision_on_first_sight: bool = False
    metadata_roles: tuple[str, ...] = ()
    api_url: str = "https://api.clerk.com"


class Mail(Section, frozen=True):
    smtp_host: str | None = None
    smtp_port: Annotated[int, Meta(ge=1, le=65535)] = 587
    smtp_username: str | None = None
    smtp_password: Secret | None = None
    smtp_use_tls: bool = True
    from_email: str | None = None
    frontend_url: str | None = None


class Kafka(Section, frozen=True):
    bootstrap_servers: str | None = None
    client_id: str = "auth-service"
    users_topic: str = "users"
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: str | None = None
    sasl_username: str | None = None
    sasl_password: Secret | None = None
    relay_in_serve: bool = True
    takeover_seconds: Annotated[float, Meta(ge=0.5, le=60)] = 6.0
    options: dict[str, str | int | float | bool] = field(default_factory=dict)


class Events(Section, frozen=True):
    retention_days: Annotated[int, Meta(ge=1, le=3650)] = 7


class Pages(Section, frozen=True):
    name: Annotated[str, Meta(min_length=1, max_length=60, pattern=r"^[^\x00-\x1f\x7f]+(?!\n)$")] = "idp"
    logo: str | None = None
    accent: Annotated[str, Meta(pattern=r"^#[0-9A-Fa-f]{6}(?!\n)$")] | None = None


class Dev(Section, frozen=True):
    in_container: bool = False
    clerk_file: str | None = None
    upstream_key_file: str | None = None


class Feed(Section, frozen=True):
    max_readers: Annotated[int, Meta(ge=1, le=10_000)] = 100


class Webhooks(Section, frozen=True):
    deliver_in_serve: bool = True
    timeout_seconds: Annotated[float, Meta(ge=1, le=60)] = 15.0
    disable_after_days: Annotated[float, Meta(gt=0, le=30)] = 5.0
    max_endpoints: Annotated[int, Meta(ge=1, le=1000)] = 50


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings, built once and passed down."""

    server: Server = Server()
    database: Database = Database()
    valkey: Valkey = Valkey()
    secrets: Secrets = Secrets()
    tokens: Tokens = Tokens()
    authn: Authn = Authn()
    management: Management = Management()
    passwords: Passwords = Passwords()
    accounts: Accounts = Accounts()
    second_factor: SecondFactor = SecondFactor()
    rate_limits: RateLimits = RateLimits()
    cors: Cors = Cors()
    seed: Seed = Seed()
    logging: Logging = Logging()
    tracing: Tracing = Tracing()
    api_keys: ApiKeys = ApiKeys()
    oidc: Oidc = Oidc()
    federation: Federation = Federation()
    clerk: Clerk = Clerk()
    mail: Mail = Mail()
    kafka: Kafka = Kafka()
    events: Events = Events()
    feed: Feed = Feed()
    webhooks: Webhooks = Webhooks()
    pages: Pages = Pages()
    dev: Dev = Dev()


# Names of the old services and short names; the first one present wins. Every setting can also be set as
# IDP_<SECTION>__<KEY>, which takes precedence, and every secret as <NAME>_FILE.
ALIASES: dict[str, tuple[str, ...]] = {
    "server.port": ("PORT", "AUTH_SERVICE_PORT"),
    "server.metrics_port": ("IDP_METRICS_PORT",),
    "server.workers": ("WEB_CONCURRENCY",),
    "server.public_url": ("IDP_PUBLIC_URL", "API_BASE_URL"),
    "server.trusted_proxies": ("IDP_TRUSTED_PROXIES",),
    "database.url": ("DATABASE_URL", "AUTH_DATABASE_URL"),
    "database.direct_url": ("DATABASE_DIRECT_URL",),
    "database.migration_url": ("DATABASE_MIGRATION_URL",),
    "database.pool_size": ("DB_POOL_SIZE",),
    "database.max_overflow": ("DB_MAX_OVERFLOW",),
    "database.run_migrations": ("RUN_MIGRATIONS",),
    "valkey.url": ("VALKEY_URL", "REDIS_URL"),
    "secrets.secret_key": ("IDP_SECRET_KEY",),
    "secrets.previous_secret_keys": ("IDP_PREVIOUS_SECRET_KEYS",),
    "tokens.auth_jwt_secret": ("AUTH_JWT_SECRET_KEY",),
    "tokens.jwt_secret": ("JWT_SECRET_KEY",),
    "tokens.previous_jwt_secrets": ("AUTH_JWT_PREVIOUS_SECRET_KEYS",),
    "tokens.algorithm": ("AUTH_JWT_ALGORITHM", "JWT_ALGORITHM"),
    "tokens.access_token_minutes": (
        "AUTH_JWT_ACCESS_TOKEN_EXPIRE_MINUTES",
        "JWT_ACCESS_TOKEN_EXPIRE_MINUTES",
    ),
    "tokens.refresh_token_days": ("JWT_REFRESH_TOKEN_EXPIRE_DAYS", "AUTH_JWT_REFRESH_TOKEN_EXPIRE_DAYS"),
    "authn.allow_dev_headers": ("AUTH_ALLOW_DEV_HEADERS",),
    "authn.cache_ttl_seconds": ("TOKEN_CACHE_TTL",),
    "management.admin_token": ("ADMIN_TOKEN", "AUTH_ADMIN_TOKEN"),
    "management.internal_token": ("INTERNAL_API_TOKEN",),
    "management.metrics_token": ("METRICS_TOKEN",),
    "accounts.session_ttl_seconds": ("SESSION_TTL",),
    "rate_limits.failed_logins_per_pair": ("MAX_LOGIN_ATTEMPTS",),
    "rate_limits.login_window_seconds": ("RATE_LIMIT_WINDOW",),
    "rate_limits.failed_logins_per_address": ("AUTH_RATE_LIMIT_PER_IP",),
    "cors.origins": ("AUTH_API_CORS_ORIGINS", "ALLOWED_ORIGINS"),
    "seed.file": ("IDP_SEED_FILE",),
    "logging.level": ("LOG_LEVEL",),
    "api_keys.grantable_scopes": ("API_KEY_SCOPES",),
    "oidc.issuer": ("AUTH_OIDC_ISSUER",),
    "oidc.audience": ("AUTH_OIDC_AUDIENCE",),
    "oidc.jwks_url": ("AUTH_OIDC_JWKS_URL",),
    "oidc.trusted_email_domains": ("AUTH_OIDC_TRUSTED_EMAIL_DOMAINS",),
    "clerk.webhook_secrets": ("CLERK_WEBHOOK_SECRET", "CLERK_WEBHOOK_SIGNING_SECRET"),
    "clerk.publishable_key": ("CLERK_PUBLISHABLE_KEY",),
    "clerk.secret_key": ("CLERK_SECRET_KEY",),
    "clerk.jwt_key": ("CLERK_JWT_KEY",),
    "clerk.issuer": ("CLERK_ISSUER",),
    "clerk.authorized_parties": ("CLERK_AUTHORIZED_PARTIES",),
    "clerk.api_url": ("CLERK_API_URL",),
    "mail.smtp_host": ("SMTP_HOST",),
    "mail.smtp_port": ("SMTP_PORT",),
    "mail.smtp_username": ("SMTP_USERNAME",),
    "mail.smtp_password": ("SMTP_PASSWORD",),
    "mail.smtp_use_tls": ("SMTP_USE_TLS",),
    "mail.from_email": ("FROM_EMAIL",),
    "mail.frontend_url": ("FRONTEND_URL",),
    "kafka.bootstrap_servers": ("KAFKA_BOOTSTRAP_SERVERS",),
    "kafka.client_id": ("KAFKA_CLIENT_ID",),
    "kafka.users_topic": ("KAFKA_USERS_TOPIC",),
    "kafka.security_protocol": ("KAFKA_SECURITY_PROTOCOL",),
    "kafka.sasl_mechanism": ("KAFKA_SASL_MECHANISM",),
    "kafka.sasl_username": ("KAFKA_SASL_USERNAME",),
    "kafka.sasl_password": ("KAFKA_SASL_PASSWORD",),
}

# Variables of the old services, or common ones, that idp does not read, with the alternative: `idp config check` lists
# them, `idp serve` logs them at start.
NOT_READ: dict[str, str] = {
    "BCRYPT_ROUNDS": "passwords are hashed with Argon2id; passwords.argon2_time_cost sets its cost.",
    "GENERAL_RATE_LIMIT_PER_IP": "the section [rate_limits] has a limit for each purpose.",
    "ACCESS_TOKEN_TTL": "use AUTH_JWT_ACCESS_TOKEN_EXPIRE_MINUTES (minutes).",
    "REFRESH_TOKEN_TTL": "use JWT_REFRESH_TOKEN_EXPIRE_DAYS (days).",
    "HOST": "use IDP_SERVER__HOST, or `idp serve --host`.",
}
