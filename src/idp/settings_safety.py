"""What production refuses: each unsafe setting is named, with what was seen and what to put there.

S3-47, S3-48, S3-50, SEC-11, SEC-12.
"""

import re
from collections.abc import Iterator
from ipaddress import ip_network

from idp.settings import Secret, Settings, SettingsError, root_secret

_PLACEHOLDER = re.compile(
    r"change|placeholder|replace|example|secret|password|your[-_ ]|dummy|default|insecure|x{6,}|12345|abcdef",
    re.IGNORECASE,
)
_LONGEST_PERIOD = 16
_VALKEY_URL = re.compile(r"^((valkey|redis)s?://[^/\s]|unix://)")
_ORIGIN = re.compile(r"^https?://[^/\s?#@*]+$")
_PAGES = re.compile(r"^https?://[^/\s?#@]+(/[^\s?#]*)?$")
_MAPPED = ip_network("::ffff:0:0/96")
_SENDER = re.compile(r"^([^<>@\x00-\x1f]*<[^@\s<>,;]+@[^@\s<>,;]+>|[^@\s<>,;]+@[^@\s<>,;]+)$(?!\n)")
_ADVICE = "put 32 or more random characters there, for example what `openssl rand -base64 48` prints."


def refuse_unsafe(settings: Settings) -> None:
    """Refuse what must not run in production (S3-47, S3-48, S3-50, SEC-11, SEC-12).

    Raises:
        SettingsError: one sentence a problem: the setting, what was seen, what to put there.
    """
    problems = []
    if settings.database.url is None:
        problems.append(
            "DATABASE_URL is not set: put the address of a PostgreSQL 15 to 18 there, "
            "for example postgresql://idp:…@db.internal:5432/idp."
        )
    if root_secret(settings) is None:
        problems.append(f"IDP_SECRET_KEY is not set: {_ADVICE}")
    problems += [problem for name, secret in _keys(settings) if (problem := _weakness(name, secret))]
    if settings.authn.allow_dev_headers:
        problems.append(
            "AUTH_ALLOW_DEV_HEADERS is true: dev headers let anyone be anyone and exist only under `idp dev`; "
            "remove it or put false."
        )
    problems += _origins(settings)
    problems += _proxies(settings)
    problems += _shared_with_siblings(settings)
    if settings.tokens.algorithm == "HS256" and not (settings.tokens.auth_jwt_secret or settings.tokens.jwt_secret):
        problems.append(
            "AUTH_JWT_ALGORITHM is HS256 and no shared secret is set: "
            "set AUTH_JWT_SECRET_KEY, or remove AUTH_JWT_ALGORITHM to sign with ES256."
        )
    valkey = settings.valkey.url
    if valkey is not None and not _VALKEY_URL.match(valkey.reveal()):
        problems.append("VALKEY_URL is no address of a Valkey: put valkey://:password@host:6379/0 there.")
    url = settings.server.public_url
    if url is not None and not re.match(r"^https?://[^/\s?#]+(/[^\s?#]*)?$", url):
        problems.append(f"IDP_PUBLIC_URL is {url!r}: put an address such as https://id.example.com there.")
    problems += _mail(settings)
    if problems:
        raise SettingsError(problems)


def _keys(settings: Settings) -> Iterator[tuple[str, Secret]]:
    single = {
        "IDP_SECRET_KEY": settings.secrets.secret_key,
        "AUTH_JWT_SECRET_KEY": settings.tokens.auth_jwt_secret,
        "JWT_SECRET_KEY": settings.tokens.jwt_secret,
        "ADMIN_TOKEN": settings.management.admin_token,
        "INTERNAL_API_TOKEN": settings.management.internal_token,
        "METRICS_TOKEN": settings.management.metrics_token,
    }
    yield from ((name, secret) for name, secret in single.items() if secret is not None)
    yield from (("IDP_PREVIOUS_SECRET_KEYS", secret) for secret in settings.secrets.previous_secret_keys)
    yield from (("AUTH_JWT_PREVIOUS_SECRET_KEYS", secret) for secret in settings.tokens.previous_jwt_secrets)


def _weakness(name: str, secret: Secret) -> str | None:
    value = secret.reveal()
    if len(value) < 32:
        return f"{name} has {len(value)} characters: {_ADVICE}"
    if _PLACEHOLDER.search(value) or _repeats(value) or len(set(value)) < 10:
        return f"{name} looks like a placeholder or a pattern: {_ADVICE}"
    return None


def _repeats(value: str) -> bool:
    """Whether it is a short piece over and over."""
    return any(all(c == value[i % n] for i, c in enumerate(value)) for n in range(1, _LONGEST_PERIOD + 1))


def _origins(settings: Settings) -> Iterator[str]:
    for origin in settings.cors.origins:
        if "*" in origin:
            yield (
                "AUTH_API_CORS_ORIGINS holds *: any web page could call with a visitor's credentials; "
                "put the exact origins there, for example https://app.example.com."
            )
        elif not _ORIGIN.match(origin):
            yield f"AUTH_API_CORS_ORIGINS holds {origin!r}, which is no origin: put https://app.example.com there."


def _proxies(settings: Settings) -> Iterator[str]:
    for network in settings.server.trusted_proxies:
        try:
            parsed = ip_network(network)
            # ::ffff:0:0/96 is every IPv4 address.
            everyone = parsed.prefixlen == 0 or (parsed.overlaps(_MAPPED) and parsed.prefixlen <= _MAPPED.prefixlen)
        except ValueError as error:
            yield f"IDP_TRUSTED_PROXIES holds {network!r}, which is no network ({error}): put 10.0.0.0/8 there."
            continue
        if everyone:
            yield (
                f"IDP_TRUSTED_PROXIES holds {network}: anybody could choose the address they are counted by; "
                "put the networks of your own proxies there."
            )


def _mail(settings: Settings) -> Iterator[str]:
    """S4-29: without a sender no server takes a mail, and links must lead to pages."""
    mail = settings.mail
    if mail.smtp_host and not _SENDER.match(mail.from_email or ""):
        seen = "not set" if mail.from_email is None else repr(mail.from_email)
        yield f"FROM_EMAIL is {seen}, and SMTP_HOST is set: put an address such as no-reply@example.com there."
    if mail.frontend_url is not None and not _PAGES.match(mail.frontend_url):
        yield f"FRONTEND_URL is {mail.frontend_url!r}: put an address such as https://app.example.com there."


def _shared_with_siblings(settings: Settings) -> Iterator[str]:
    """A secret that other services hold must not also be a key to this one."""
    shared = {settings.tokens.auth_jwt_secret, settings.tokens.jwt_secret, *settings.tokens.previous_jwt_secrets}
    own = {"IDP_SECRET_KEY": settings.secrets.secret_key, "ADMIN_TOKEN": settings.management.admin_token}
    for name, secret in own.items():
        if secret is not None and secret in shared:
            yield f"{name} is also a shared JWT secret, which other services hold: give it a value of its own."
