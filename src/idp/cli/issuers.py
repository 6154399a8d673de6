"""Fetches what the configured issuers and providers publish, for `idp config check --online`."""

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from idp.settings import Profile, Settings


def unreachable_issuers(settings: "Settings", profile: "Profile") -> list[str]:
    """Return a sentence for each issuer whose discovery document or keys cannot be used."""
    from idp.deployment import clerk_issuer, configured_issuers
    from idp.settings_schema import OidcIssuer
    from idp.signing.fetch import Fetcher, FetchFailed
    from idp.signing.remote_jwks import RemoteJwks

    issuers = configured_issuers(settings)
    clerk = clerk_issuer(settings)
    if clerk is not None and settings.clerk.jwt_key is None:
        issuers.append(OidcIssuer(issuer=clerk, audience=(), jwks_url=f"{clerk}/.well-known/jwks.json"))
    fetcher = Fetcher(allow_loopback=profile == "development")

    async def problem_of(each: OidcIssuer) -> str | None:
        try:
            await RemoteJwks(each.issuer, fetcher, jwks_url=each.jwks_url, algorithms=each.algorithms).fetch()
        except FetchFailed as error:
            return f"The issuer {each.issuer} cannot be used: {error}."
        return None

    async def check_all() -> list[str | None]:
        return await asyncio.gather(*map(problem_of, issuers))

    return [problem for problem in asyncio.run(check_all()) if problem is not None]


def unreachable_providers(settings: "Settings", profile: "Profile") -> list[str]:
    """Return a sentence for each provider of sign-ins whose discovery document or keys cannot be used."""
    from idp.federation.metadata import MetadataSource
    from idp.federation.settings_check import issuers_of
    from idp.settings_schema import OidcIssuer
    from idp.signing.fetch import Fetcher, FetchFailed
    from idp.signing.remote_jwks import RemoteJwks

    fetcher = Fetcher(allow_loopback=profile == "development")

    async def problem_of(name: str, each: OidcIssuer) -> str | None:
        try:
            await MetadataSource(each.issuer, fetcher).fetch()
            await RemoteJwks(each.issuer, fetcher, jwks_url=each.jwks_url, algorithms=each.algorithms).fetch()
        except FetchFailed as error:
            return f"The provider {name} cannot be used: {error}."
        return None

    async def check_all() -> list[str | None]:
        return await asyncio.gather(*(problem_of(name, each) for name, each in issuers_of(settings.federation)))

    return [problem for problem in asyncio.run(check_all()) if problem is not None]
