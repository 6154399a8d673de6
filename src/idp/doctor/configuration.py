"""Checks of the settings (S3-48 to S3-50, S3-53 to S3-56)."""

from collections.abc import Iterator, Sequence

from idp.doctor.findings import Finding, ok, problem, unknown, warning
from idp.settings import LoadedSettings, Settings, root_secret

_GENERATE = "IDP_SECRET_KEY=$(openssl rand -base64 48)"
_CHECKLIST = "the settings are unsafe, so `idp serve` does not start"


def check_settings(loaded: LoadedSettings, unsafe: Sequence[str]) -> Iterator[Finding]:
    """Yield a finding for each check.

    Args:
        loaded: the settings.
        unsafe: sentences about unsafe settings, which stop `idp serve`.
    """
    settings = loaded.settings
    for sentence in unsafe:
        seen, _, change = sentence.rpartition(": ")
        yield problem("unsafe settings", seen or sentence, why=_CHECKLIST, change=change)
    if not unsafe:
        yield ok("unsafe settings", "none")
    yield _root_secret(settings)
    yield _source_of_secrets(loaded)
    yield _public_url(settings)
    yield _trusted_proxies(settings)
    yield ok("CORS", ", ".join(settings.cors.origins) or "no origin of another site may send credentials")
    yield _internal_routes(settings)
    yield _metrics(settings)
    yield _mail(settings)
    yield _revocation(settings)


def _root_secret(settings: Settings) -> Finding:
    if settings.secrets.secret_key is None:
        if root_secret(settings) is None:
            return problem(
                "root secret", "IDP_SECRET_KEY is not set", why="nothing can be encrypted or signed", change=_GENERATE
            )
        return warning(
            "root secret",
            "IDP_SECRET_KEY is not set; the shared JWT secret is used instead",
            why="services that know the shared secret could decrypt the signing keys",
            change=_GENERATE,
        )
    previous = len(settings.secrets.previous_secret_keys)
    if previous:
        return warning(
            "root secret",
            f"set, with {previous} previous",
            why="each previous secret is one more that opens stored data",
            change="remove it from IDP_PREVIOUS_SECRET_KEYS once `idp keys secrets` counts no key that needs it",
        )
    return ok("root secret", f"set, {len(settings.secrets.secret_key.reveal())} characters")


def _source_of_secrets(loaded: LoadedSettings) -> Finding:
    """S3-56: a file of a secrets manager instead of a variable or a settings file."""
    source = loaded.sources.get("secrets.secret_key", "")
    if source.endswith("_FILE") or not source:
        return ok("source of secrets", source.removeprefix("env ") or "unset")
    return warning(
        "source of secrets",
        source,
        why="variables are shown by process listings, crash reports and container inspection",
        change="IDP_SECRET_KEY_FILE=/run/secrets/idp_secret_key (every secret has a _FILE form)",
    )


def _public_url(settings: Settings) -> Finding:
    url = settings.server.public_url
    if url is None:
        return problem(
            "public URL",
            "IDP_PUBLIC_URL is not set",
            why="it is the issuer of every token and the base of every link",
            change="IDP_PUBLIC_URL=https://id.example.com",
        )
    if not url.lower().startswith("https://"):
        return warning(
            "public URL",
            url,
            why="passwords and tokens travel unencrypted",
            change=f"put TLS in front and set IDP_PUBLIC_URL=https://{url.partition('://')[2]}",
        )
    return ok("public URL", url)


def _trusted_proxies(settings: Settings) -> Finding:
    networks = settings.server.trusted_proxies
    if networks:
        return ok("proxy headers", f"trusted from {', '.join(networks)}")
    return warning(
        "proxy headers",
        "IDP_TRUSTED_PROXIES is not set, so X-Forwarded-For is ignored",
        why="behind a proxy all clients share its address: one bad client uses up the rate limits of all",
        change="IDP_TRUSTED_PROXIES=10.0.0.0/8 (the network of your proxy; leave it unset without one)",
    )


def _internal_routes(settings: Settings) -> Finding:
    """C-28."""
    if settings.management.internal_token is not None:
        return ok("internal routes", "INTERNAL_API_TOKEN is set")
    return warning(
        "internal routes",
        "INTERNAL_API_TOKEN is not set",
        why="/internal/validate-key answers everyone who reaches it",
        change="INTERNAL_API_TOKEN=$(openssl rand -base64 32), or check with `idp doctor --url` that it is not routed",
    )


def _metrics(settings: Settings) -> Finding:
    """S3-53."""
    if settings.server.metrics_port is not None:
        return ok("monitoring", f"/metrics on port {settings.server.metrics_port}")
    if settings.management.metrics_token is not None:
        return ok("monitoring", "/metrics with METRICS_TOKEN")
    return warning(
        "monitoring",
        "neither IDP_METRICS_PORT nor METRICS_TOKEN is set",
        why="Prometheus cannot read /metrics, so no alert fires",
        change="IDP_METRICS_PORT=9464, and deploy/prometheus/alerts.yaml",
    )


def _mail(settings: Settings) -> Finding:
    if settings.mail.smtp_host is None:
        return warning(
            "mail",
            "SMTP_HOST is not set",
            why="nobody can reset a password or verify an address; mails wait in the outbox",
            change="SMTP_HOST=smtp.example.com, and FROM_EMAIL",
        )
    return ok("mail", settings.mail.smtp_host)


def _revocation(settings: Settings) -> Finding:
    """How long a revoked credential may still be accepted by another process (rule 5)."""
    if not settings.authn.cache_ttl_seconds:
        return ok("revocation", "verdicts are not cached: at once")
    if settings.database.changes == "poll":
        milliseconds = round(settings.database.poll_seconds * 1000)
        return ok("revocation", f"polled every {milliseconds} ms: within {milliseconds + 100} ms, at most 1 s")
    return ok("revocation", "notified by PostgreSQL: in milliseconds, at most 1 s when a part fails")


def cannot_check_settings(reason: str) -> Finding:
    """Return the finding for settings that cannot be read at all."""
    return unknown("settings", reason, why="no other check is possible", change="`idp config check` names each mistake")
