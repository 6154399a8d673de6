"""Problems of the settings `[federation.providers.<name>]` that refuse a start in every profile."""

import re
from collections.abc import Iterator

from idp.federation.client_secret import ClientSecret
from idp.federation.presets import as_issuer
from idp.settings import SettingsError
from idp.settings_schema import Federation, OidcIssuer, UpstreamProvider

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}\Z")
_DOMAIN = re.compile(r"(?=.{1,253}\Z)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{1,62}\Z")
_CLAIMS = frozenset({"subject_claim", "email_claim", "email_verified_claim", "name_claim"})


def problems_of(settings: Federation) -> list[str]:
    """Return a sentence for each problem, with the setting and the remedy."""
    owners: dict[str, str] = {}
    problems = []
    for name, each in settings.providers.items():
        where = f"federation.providers.{name}"
        problems += [f"{where}{problem}" for problem in _problems(name, each)]
        for domain in dict.fromkeys(each.lower() for each in each.email_domains):
            if domain in owners:
                problems.append(
                    f"{where}.email_domains contains {domain}, which {owners[domain]} has too: a domain belongs to one "
                    "provider."
                )
            owners[domain] = f"federation.providers.{name}"
    return problems


def check_federation(settings: Federation) -> None:
    """Refuse settings of providers that cannot work.

    Raises:
        SettingsError: one sentence per problem.
    """
    if problems := problems_of(settings):
        raise SettingsError(problems)


def issuers_of(settings: Federation) -> list[tuple[str, OidcIssuer]]:
    """Return name and issuer of each provider with OpenID Connect, for settings without problems."""
    return [(name, as_issuer(each)) for name, each in settings.providers.items() if each.preset != "github"]


def _problems(name: str, provider: UpstreamProvider) -> Iterator[str]:
    if not _NAME.match(name):
        yield (
            ": the name is part of a path, so use up to 40 lower-case letters, digits, hyphens and underscores, such "
            "as corp."
        )
    if not provider.client_id.strip():
        yield ".client_id is empty: use the id that the provider shows for the registered application."
    if unknown := sorted(provider.claims.keys() - _CLAIMS):
        yield f".claims contains {', '.join(unknown)}: it may contain {', '.join(sorted(_CLAIMS))}."
    if provider.refuse_passwords and not provider.email_domains:
        yield ".refuse_passwords is true without email_domains: name the domains whose people may not use passwords."
    for key in ("email_domains", "trusted_email_domains"):
        for domain in getattr(provider, key):
            if not _DOMAIN.match(domain.lower()):
                yield f".{key} contains {domain!r}, which is no domain: use one such as corp.example."
    try:
        as_issuer(provider)
        ClientSecret(provider)
    except ValueError as error:
        yield f": {error}."
