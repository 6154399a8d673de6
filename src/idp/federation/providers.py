"""The configured providers, and which one an e-mail domain belongs to."""

from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct

from idp.errors import ProviderNotFound
from idp.federation.client_secret import ClientSecret
from idp.federation.github import GitHubUpstream
from idp.federation.metadata import MetadataSource
from idp.federation.oidc import OidcUpstream
from idp.federation.presets import PRESETS, as_issuer
from idp.federation.settings_check import check_federation
from idp.federation.upstream import Upstream
from idp.settings import SettingsError
from idp.settings_schema import Federation, UpstreamProvider
from idp.signing.fetch import Fetcher
from idp.signing.foreign_jwt import ForeignIssuer
from idp.signing.remote_jwks import RemoteJwks
from idp.users.email import domain_key


class Provider(Struct, frozen=True):
    """A provider with its name in the settings and the text of its button."""

    name: str
    label: str
    settings: UpstreamProvider
    upstream: Upstream


class Providers:
    """All providers, in the order of the settings.

    Args:
        settings: of all providers.
        fetcher: limits where requests go.
        keys_removed: called when a provider withdraws a key.

    Raises:
        SettingsError: a provider cannot be used; names every problem.
    """

    def __init__(self, settings: Federation, fetcher: Fetcher, *, keys_removed: Callable[[], None]) -> None:
        self._providers: dict[str, Provider] = {}
        check_federation(settings)
        problems = []
        for name, each in settings.providers.items():
            try:
                upstream = _upstream(name, each, fetcher, keys_removed)
            except ValueError as error:
                problems.append(f"federation.providers.{name}: {error}.")
                continue
            self._providers[name] = Provider(name, each.label or PRESETS[each.preset].label, each, upstream)
        if problems:
            raise SettingsError(problems)
        self._of_domain = {
            domain.lower(): each for each in self._providers.values() for domain in each.settings.email_domains
        }

    def __iter__(self) -> Iterator[Provider]:
        return iter(self._providers.values())

    def get(self, name: str) -> Provider:
        """Return a provider.

        Raises:
            ProviderNotFound: there is none of this name.
        """
        provider = self._providers.get(name)
        if provider is None:
            raise ProviderNotFound
        return provider

    @property
    def bind_domains(self) -> bool:
        """Whether the domain of any address chooses a provider, so that no password is needed."""
        return bool(self._of_domain)

    def find_of_email(self, email: str) -> Provider | None:
        """Return the provider that the address's domain is bound to, None if there is none."""
        return self.find_of_domain(email.rpartition("@")[2]) if "@" in email else None

    def find_of_domain(self, domain: str) -> Provider | None:
        """Return the provider that an e-mail domain is bound to, None if there is none."""
        return self._of_domain.get(domain_key(f"@{domain}"))


def _upstream(name: str, settings: UpstreamProvider, fetcher: Fetcher, keys_removed: Callable[[], None]) -> Any:
    secret = ClientSecret(settings)
    issuer = as_issuer(settings)
    if problem := fetcher.problem_of(issuer.issuer):
        raise ValueError(f"issuer {issuer.issuer}: {problem}")
    if settings.preset == "github":
        return GitHubUpstream(name, settings, secret, fetcher)
    keys = RemoteJwks(
        issuer.issuer, fetcher, jwks_url=issuer.jwks_url, algorithms=issuer.algorithms, removed=keys_removed
    )
    return OidcUpstream(
        name, settings, ForeignIssuer(issuer, keys), MetadataSource(issuer.issuer, fetcher), secret, fetcher
    )
