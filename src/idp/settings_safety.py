"""Refuse unsafe settings in production: name each setting with its value and the remedy.

S3-47, S3-48, S3-50, SEC-11, SEC-12. `settings_servers.py` checks the syntax of URLs.
"""

import itertools
import re
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_address, ip_network
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from idp.settings import Secret, Settings, SettingsError, root_secret
from idp.settings_servers import problem_of_host, problem_of_url, problem_of_valkey, shown

_PLACEHOLDER = re.compile(
    r"change|placeholder|replace|example|secret|password|your[-_ ]|dummy|default|insecure|x{6,}|12345|abcdef",
    re.IGNORECASE,
)
# Of secrets that other servers make, which may contain any letters and digits by chance.
_PLACEHOLDER_OF_OTHERS = re.compile(
    r"change|placeholder|replace|example|your[-_ ]|dummy|secret|[<>…]|x{6,}", re.IGNORECASE
)
_MIN_CLIENT_SECRET = 16
_MAX_PERIOD = 16
_SENDER = re.compile(r"^([^<>@\x00-\x1f]*<[^@\s<>,;]+@[^@\s<>,;]+>|[^@\s<>,;]+@[^@\s<>,;]+)$(?!\n)")
_ADVICE = "use at least 32 random characters, for example from `openssl rand -base64 48`."
_PUBLIC, _ISSUER = "https://id.example.com", "https://issuer.example.com"
_MAPPED = IPv6Network("::ffff:0:0/96")
# Of trusted proxies: an eighth of IPv4, a 128th of IPv6 (public addresses are in 2000::/3).
_MAX_ADDRESSES = {4: 2**29, 6: 2**121}
_HEADERS = re.compile(r"\s*[A-Za-z0-9-]+\s*=[^,\x00-\x1f]+(,\s*[A-Za-z0-9-]+\s*=[^,\x00-\x1f]+)*,?\s*")
_SHARED = ("AUTH_JWT_SECRET_KEY", "JWT_SECRET_KEY", "AUTH_JWT_PREVIOUS_SECRET_KEYS")


class _Named(NamedTuple):
    """A secret and its variable."""

    name: str
    secret: Secret


def refuse_unsafe(settings: Settings) -> None:
    """Refuse unsafe settings (S3-47, S3-48, S3-50, SEC-11, SEC-12).

    Raises:
        SettingsError: one sentence per problem: the setting, its value, the remedy.
    """
    problems = []
    if settings.database.url is None:
        problems.append(
            "DATABASE_URL is not set: set it to the URL of a PostgreSQL 15 to 18, "
            "for example postgresql://idp:…@db.internal:5432/idp."
        )
    if root_secret(settings) is None:
        problems.append(f"IDP_SECRET_KEY is not set: {_ADVICE}")
    problems += [problem for each in _keys(settings) if (problem := _weakness(each))]
    if settings.authn.allow_dev_headers:
        problems.append(
            "AUTH_ALLOW_DEV_HEADERS is true: dev headers let anyone act as any user and are only for `idp dev`; "
            "remove it or set it to false."
        )
    problems += _origins(settings)
    problems += _proxies(settings)
    problems += _duplicates(settings)
    if settings.tokens.algorithm == "HS256" and not (settings.tokens.auth_jwt_secret or settings.tokens.jwt_secret):
        problems.append(
            "AUTH_JWT_ALGORITHM is HS256 and no shared secret is set: "
            "set AUTH_JWT_SECRET_KEY, or remove AUTH_JWT_ALGORITHM to sign with ES256."
        )
    problems += _addresses(settings)
    problems += _mail(settings)
    problems += _issuers(settings)
    problems += _federation(settings)
    problems += _tracing(settings)
    if problems:
        raise SettingsError(problems)


# --- secrets ---------------------------------------------------------------------------------------------------------


def _keys(settings: Settings) -> Iterator[_Named]:
    """Yield all secrets that grant access."""
    single = {
        "IDP_SECRET_KEY": settings.secrets.secret_key,
        "AUTH_JWT_SECRET_KEY": settings.tokens.auth_jwt_secret,
        "JWT_SECRET_KEY": settings.tokens.jwt_secret,
        "ADMIN_TOKEN": settings.management.admin_token,
        "INTERNAL_API_TOKEN": settings.management.internal_token,
        "METRICS_TOKEN": settings.management.metrics_token,
    }
    yield from (_Named(name, secret) for name, secret in single.items() if secret is not None)
    yield from (_Named("IDP_PREVIOUS_SECRET_KEYS", each) for each in settings.secrets.previous_secret_keys)
    yield from (_Named("AUTH_JWT_PREVIOUS_SECRET_KEYS", each) for each in settings.tokens.previous_jwt_secrets)


def _weakness(key: _Named) -> str | None:
    value, advice = key.secret.reveal(), _ADVICE
    if key.name == "AUTH_JWT_PREVIOUS_SECRET_KEYS":  # an earlier secret cannot be chosen again
        advice = (
            "an attacker who guesses it can forge tokens, so remove it from the list; users with "
            "such a token must sign in again."
        )
    if len(value) < 32:
        return f"{key.name} has {len(value)} characters: {advice}"
    if _PLACEHOLDER.search(value) or _repeats(value) or len(set(value)) < 10:
        return f"{key.name} looks like a placeholder or a pattern: {advice}"
    if key.name.endswith("_TOKEN") and not re.fullmatch(r"[!-~]+", value):
        return f"{key.name} contains a space or a character that is not allowed in a header: {advice}"
    return None


def _repeats(value: str) -> bool:
    """Whether it repeats a short piece."""
    return any(all(c == value[i % n] for i, c in enumerate(value)) for n in range(1, _MAX_PERIOD + 1))


def _duplicates(settings: Settings) -> Iterator[str]:
    """Report equal secrets, because a holder of one has the other too."""
    keys = list(_keys(settings))
    for one, other in itertools.combinations(keys, 2):
        kinds = {one.name, other.name}
        is_repeated = any(kinds <= set(kind) for kind in (("IDP_SECRET_KEY", "IDP_PREVIOUS_SECRET_KEYS"), _SHARED[::2]))
        if one.secret != other.secret or is_repeated or kinds == {"JWT_SECRET_KEY", _SHARED[2]}:
            continue
        shared = [each for each in (one, other) if each.name in _SHARED]
        own = one if other in shared else other
        if len(shared) == 1:
            yield f"{own.name} is also a shared JWT secret, which other services know: use another value."
        else:
            yield f"{one.name} and {other.name} have the same value: use different values."
    for name, password in _passwords(settings):
        for key in keys:
            if password == key.secret.reveal():
                yield f"{key.name} is also the password in {name}: use different values."


def _passwords(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield the passwords of other servers."""
    if settings.mail.smtp_password is not None:
        yield "SMTP_PASSWORD", settings.mail.smtp_password.reveal()
    database = settings.database
    for name, url in (
        ("DATABASE_URL", database.url),
        ("DATABASE_DIRECT_URL", database.direct_url),
        ("DATABASE_MIGRATION_URL", database.migration_url),
        ("VALKEY_URL", settings.valkey.url),
    ):
        match = re.match(r"^[^/]+://[^/@]*?:([^/@]+)@", url.reveal()) if url is not None else None
        if match:
            yield name, unquote(match[1])


# --- addresses -------------------------------------------------------------------------------------------------------


def _addresses(settings: Settings) -> Iterator[str]:
    valkey, url = settings.valkey.url, settings.server.public_url
    if valkey is not None and (problem := problem_of_valkey("VALKEY_URL", valkey.reveal())):
        yield problem
    if url is not None:
        yield from _check_url(
            "IDP_PUBLIC_URL", url, example=_PUBLIC, why="passwords and tokens would travel unencrypted"
        )


def _check_url(name: str, url: str, *, example: str, why: str, path: bool = True) -> Iterator[str]:
    if problem := problem_of_url(name, url, example=example, path=path):
        yield problem
    elif _is_plain_http(url):
        yield f"{name} begins with http:// and is not a loopback address, so {why}: use {example}."


def _is_plain_http(url: str) -> bool:
    return url.lower().startswith("http://") and not _is_loopback(urlsplit(url).hostname or "")


def _is_loopback(host: str) -> bool:
    name = host.lower().removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _origins(settings: Settings) -> Iterator[str]:
    if settings.cors.loopback:
        yield (
            "IDP_CORS__LOOPBACK is true: pages of any program on a user's machine could call; it "
            "is only for `idp dev`, so remove it or set it to false."
        )
    for origin in settings.cors.origins:
        if "*" in origin:
            yield (
                "AUTH_API_CORS_ORIGINS contains *: any web page could call with a visitor's credentials; "
                "list the exact origins, for example https://app.example.com."
            )
        elif problem_of_url("", origin, example="", path=False):
            seen = "one with credentials" if "@" in origin else repr(origin)
            yield f"AUTH_API_CORS_ORIGINS contains {seen}, which is not an origin: use one such as https://app.example.com."
        elif _is_plain_http(origin):
            yield (
                f"AUTH_API_CORS_ORIGINS contains {origin!r}: a network attacker could change that page and call with a "
                "visitor's credentials; use https://."
            )


def _proxies(settings: Settings) -> Iterator[str]:
    networks: list[IPv4Network | IPv6Network] = []
    for text in settings.server.trusted_proxies:
        try:
            network = ip_network(text)
        except ValueError as error:
            yield f"IDP_TRUSTED_PROXIES contains {text!r}, which is not a network ({error}): use 10.0.0.0/8."
            continue
        if network.prefixlen == 0:
            yield (
                f"IDP_TRUSTED_PROXIES contains {network}: clients could forge their address; "
                "list only the networks of your proxies."
            )
        else:
            networks.append(_to_ipv4(network))
    if _too_wide(networks):
        yield (
            "IDP_TRUSTED_PROXIES contains a large part of the Internet: clients could forge their "
            "address; list only the networks of your proxies."
        )


def _to_ipv4(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """Return the IPv4 network of an IPv4-mapped IPv6 network."""
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        return IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
    return network


def _too_wide(networks: list[IPv4Network | IPv6Network]) -> bool:
    four = collapse_addresses(each for each in networks if isinstance(each, IPv4Network))
    six = list(collapse_addresses(each for each in networks if isinstance(each, IPv6Network)))
    if any(each.supernet_of(_MAPPED) for each in six):
        return True
    return (
        sum(each.num_addresses for each in four) > _MAX_ADDRESSES[4]
        or sum(each.num_addresses for each in six) > _MAX_ADDRESSES[6]
    )


# --- mail ------------------------------------------------------------------------------------------------------------


def _mail(settings: Settings) -> Iterator[str]:
    """Check mail settings (S4-29): a sender is required, and links must lead to pages."""
    mail = settings.mail
    if mail.smtp_host and (problem := problem_of_host("SMTP_HOST", mail.smtp_host, example="smtp.example.com")):
        yield problem
    if mail.smtp_host and not _SENDER.match(mail.from_email or ""):
        seen = "not set" if mail.from_email is None else repr(mail.from_email)
        yield f"FROM_EMAIL is {seen}, and SMTP_HOST is set: use an address such as no-reply@example.com."
    if mail.smtp_host and mail.smtp_password and not mail.smtp_use_tls and not _is_loopback(mail.smtp_host):
        yield (
            "SMTP_PASSWORD is set and SMTP_USE_TLS is false: the password would travel unencrypted; "
            "set SMTP_USE_TLS=true, or remove SMTP_USERNAME and SMTP_PASSWORD if the server does not need them."
        )
    if mail.frontend_url is not None:
        why = "one-time links would travel unencrypted"
        yield from _check_url("FRONTEND_URL", mail.frontend_url, example="https://app.example.com", why=why)


# --- other issuers ---------------------------------------------------------------------------------------------------


def _issuers(settings: Settings) -> Iterator[str]:
    """Check where the keys of other issuers come from (SEC-66)."""
    oidc = settings.oidc
    urls = {"AUTH_OIDC_ISSUER": oidc.issuer, "AUTH_OIDC_JWKS_URL": oidc.jwks_url}
    urls |= {"CLERK_ISSUER": settings.clerk.issuer}
    why = "the secret key of the Clerk instance would travel unencrypted"
    yield from _check_url("CLERK_API_URL", settings.clerk.api_url, example="https://api.clerk.com", why=why)
    for name, each in oidc.providers.items():
        urls |= {f"oidc.providers.{name}.issuer": each.issuer, f"oidc.providers.{name}.jwks_url": each.jwks_url}
    for name, url in urls.items():
        if url is None:
            continue
        if problem := problem_of_url(name, url.partition("?")[0], example=_ISSUER):
            yield problem
        elif not url.lower().startswith("https://"):
            yield f"{name} is {shown(url)}: its keys could be replaced on the way, so use a URL such as {_ISSUER}."


# --- traces ----------------------------------------------------------------------------------------------------------


def _tracing(settings: Settings) -> Iterator[str]:
    tracing, example = settings.tracing, "http://collector:4318/v1/traces"
    if tracing.endpoint is None:
        return
    if problem := problem_of_url("IDP_TRACING__ENDPOINT", tracing.endpoint, example=example):
        yield problem
    elif tracing.headers is not None and _is_plain_http(tracing.endpoint):
        yield (
            "IDP_TRACING__HEADERS is set and IDP_TRACING__ENDPOINT begins with http://: the headers would travel "
            "unencrypted; use https://, or remove the headers."
        )
    if tracing.headers is not None and not _HEADERS.fullmatch(tracing.headers.reveal()):
        yield "IDP_TRACING__HEADERS is not a list of headers: use name=value,name=value."


# --- providers of sign-ins -------------------------------------------------------------------------------------------


def _federation(settings: Settings) -> Iterator[str]:
    """Check providers' URLs and secrets (SEC-11, SEC-66); `federation/settings_check.py` checks the rest."""
    for name, each in settings.federation.providers.items():
        where = f"federation.providers.{name}"
        for key, url in (("issuer", each.issuer), ("jwks_url", each.jwks_url)):
            if url is None:
                continue
            if problem := problem_of_url(f"{where}.{key}", url.partition("?")[0], example=_ISSUER):
                yield problem
            elif not url.lower().startswith("https://"):
                yield f"{where}.{key} is {shown(url)}: answers could be replaced on the way, so use https://."
        secret = each.client_secret.reveal() if each.client_secret is not None else None
        if secret is not None and (len(secret) < _MIN_CLIENT_SECRET or _PLACEHOLDER_OF_OTHERS.search(secret)):
            yield (
                f"{where}.client_secret is shorter than {_MIN_CLIENT_SECRET} characters or looks like a placeholder: "
                "copy the secret that the provider shows for the registered application."
            )
