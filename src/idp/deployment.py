"""What the settings say about a deployment as a whole: its address, its front end, its root secrets."""

import base64
import re
from datetime import timedelta
from urllib.parse import urlsplit

from idp.directory.claim_rules import rule_problems
from idp.mail.addresses import service_name
from idp.ops.origins import AllowedOrigins
from idp.principal.permissions import ADMIN
from idp.settings import Secret, Settings, SettingsError, root_secret
from idp.settings_schema import OidcIssuer


def public_url(settings: Settings) -> str:
    """Return the address that clients use, which is the issuer of every token."""
    return (settings.server.public_url or f"http://localhost:{settings.server.port}").rstrip("/")


def signing_key_age(settings: Settings) -> timedelta | None:
    """Return the age at which signing keys are rotated; None: never."""
    return timedelta(days=settings.tokens.signing_key_days) or None


def front_end(settings: Settings) -> str:
    """Return the address of the pages that mails link to: never taken from a request's Host (SEC-10)."""
    return settings.mail.frontend_url or public_url(settings)


def allowed_origins(settings: Settings) -> AllowedOrigins:
    """Return which web pages may call."""
    return AllowedOrigins(public_url(settings), settings.cors.origins, loopback=settings.cors.loopback)


def configured_issuers(settings: Settings) -> list[OidcIssuer]:
    """Return the foreign issuers: those of `[oidc.providers]`, and that of AUTH_OIDC_ISSUER (S3-21).

    Raises:
        SettingsError: one has no audience, or two have the same name.
    """
    oidc = settings.oidc
    places = {f"oidc.providers.{name}.audience": each for name, each in oidc.providers.items()}
    if oidc.issuer is not None:
        places["AUTH_OIDC_AUDIENCE"] = OidcIssuer(
            issuer=oidc.issuer,
            audience=oidc.audience,
            jwks_url=oidc.jwks_url,
            trusted_email_domains=oidc.trusted_email_domains,
        )
    found = list(places.values())
    problems = [
        f"The issuer {each.issuer} has no audience: set {place} to the client ids whose tokens are accepted."
        for place, each in places.items()
        if not all(audience.strip() for audience in each.audience or ("",))
    ]
    problems += [
        f"The issuer {each.issuer} has no algorithms: name those that it signs with, such as RS256."
        for each in found
        if not each.algorithms
    ]
    names = [name for each in found for name in (each.issuer, *each.aliases)]
    problems += [f"The issuer {name} is configured twice: remove one." for name in sorted(_repeated(names))]
    problems += [
        f"The issuer {name} is this service: remove it from [oidc]." for name in names if name == public_url(settings)
    ]
    problems += [
        f"{place.removesuffix('.audience')}.rules: {problem}"
        for place, each in places.items()
        for rule in each.rules
        for problem in rule_problems(rule)
    ]
    if problems:
        raise SettingsError(problems)
    return found


def rules_for_admin(settings: Settings) -> list[str]:
    """Return a sentence for each claim rule that makes administrators, for `idp config check`."""
    return [
        f"The issuer {name} decides who administers this service: a rule gives the role admin to everyone whose claim "
        f"{rule.claim} has the value {' or '.join(rule.values)}. Remove allow_admin_role if that is not meant."
        for name, issuer in settings.oidc.providers.items()
        for rule in issuer.rules
        if ADMIN in rule.roles
    ]


def clerk_issuer(settings: Settings) -> str | None:
    """Return the issuer of Clerk's session tokens: CLERK_ISSUER, or the host in CLERK_PUBLISHABLE_KEY.

    Raises:
        SettingsError: the key cannot be read, there is a public key without an issuer, or another issuer has its name.
    """
    clerk = settings.clerk
    issuer = clerk.issuer.rstrip("/") if clerk.issuer else None
    if issuer is None and clerk.publishable_key is not None:
        host = _host_in(clerk.publishable_key)
        if host is None:
            raise SettingsError(
                ["CLERK_PUBLISHABLE_KEY is not a publishable key: copy it from Clerk's dashboard (pk_…)."]
            )
        issuer = f"https://{host}"
    if issuer is None and clerk.jwt_key is not None:
        raise SettingsError(["CLERK_JWT_KEY is set without an issuer: set CLERK_PUBLISHABLE_KEY, or CLERK_ISSUER."])
    others = [name for each in configured_issuers(settings) for name in (each.issuer, *each.aliases)]
    if issuer is not None and issuer in (*others, public_url(settings)):
        raise SettingsError([f"The issuer {issuer} is configured for Clerk and elsewhere: remove one."])
    return issuer


def _host_in(publishable_key: str) -> str | None:
    """Return the host of the frontend API: `pk_test_` or `pk_live_`, and base64 of the host and `$`."""
    match = re.fullmatch(r"pk_(?:test|live)_([A-Za-z0-9+/=_-]{4,400})", publishable_key.strip())
    if match is None:
        return None
    try:
        decoded = base64.b64decode(match[1].rstrip("=") + "==", altchars=b"-_").decode("ascii")
    except ValueError:
        return None
    return decoded[:-1] if re.fullmatch(r"[A-Za-z0-9.-]{1,253}\$", decoded) else None


def _repeated(names: list[str]) -> set[str]:
    return {name for name in names if names.count(name) > 1}


def service_names(settings: Settings) -> list[str]:
    """Return the service's name and the longer labels of its host name, of which no password may be made (SEC-4)."""
    labels = (urlsplit(public_url(settings)).hostname or "").split(".")[:-1]
    brand = settings.pages.name
    return ["idp", brand, service_name(settings.mail.from_email, brand), *(each for each in labels if len(each) > 3)]


def root_secrets(settings: Settings) -> list[Secret]:
    """Return every secret that may open stored data, the current one first (C-06c, decision 0025).

    A shared secret that was used in place of the root secret still opens what was sealed with it. Proofs that come
    with a request use `signing/proof_keys.py` instead.

    Raises:
        SettingsError: there is none.
    """
    if root_secret(settings) is None:
        raise SettingsError(["IDP_SECRET_KEY is not set: put 32 or more random characters there."])
    current = [settings.secrets.secret_key] if settings.secrets.secret_key else []
    substitute = [] if current else shared_secrets(settings)[:1]
    secrets = [*current, *substitute, *settings.secrets.previous_secret_keys, *shared_secrets(settings)]
    return list(dict.fromkeys(secrets))


def own_secrets(settings: Settings) -> list[Secret]:
    """Return the root secrets that no other service holds, the current one first."""
    current = settings.secrets.secret_key
    shared = set(shared_secrets(settings))
    return [each for each in (current, *settings.secrets.previous_secret_keys) if each and each not in shared]


def shared_secrets(settings: Settings) -> list[Secret]:
    """Return the secrets that other services hold too, those in use first."""
    tokens = settings.tokens
    given = [tokens.auth_jwt_secret, tokens.jwt_secret, *tokens.previous_jwt_secrets]
    return list(dict.fromkeys(each for each in given if each is not None))
