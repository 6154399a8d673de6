"""The metadata of a provider, fetched by discovery and kept for an hour (OpenID Connect Discovery; SEC-68)."""

import asyncio
import time
from typing import Any

import msgspec
import structlog
from msgspec import Struct, structs

from idp.errors import DependencyUnavailable
from idp.signing.fetch import Fetcher, FetchFailed

log = structlog.get_logger("idp.federation")

_LIFE, _RETRY_SECONDS = 3600.0, 2.0


class Metadata(Struct, frozen=True):
    """What a login needs of the metadata."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    userinfo_endpoint: str | None = None
    end_session_endpoint: str | None = None
    authorization_response_iss_parameter_supported: bool = False


class MetadataSource:
    """Fetches the metadata of one issuer; an old one serves while the issuer is unreachable.

    Args:
        issuer: as configured; the document must name it exactly.
        fetcher: fetches it.
    """

    def __init__(self, issuer: str, fetcher: Fetcher) -> None:
        self.issuer = issuer
        self._fetcher = fetcher
        self._known: Metadata | None = None
        self._fresh_until = self._next_try = float("-inf")
        self._lock = asyncio.Lock()

    async def get(self) -> Metadata:
        """Return the metadata.

        Raises:
            DependencyUnavailable: it is not known, and cannot be fetched now.
        """
        if time.monotonic() >= self._fresh_until:
            async with self._lock:
                now = time.monotonic()
                if self._fresh_until <= now >= self._next_try:
                    try:
                        self._known = await self.fetch()
                        self._fresh_until = now + _LIFE
                    except FetchFailed as error:
                        self._next_try = time.monotonic() + _RETRY_SECONDS
                        log.warning("metadata of a provider cannot be used", issuer=self.issuer, reason=str(error))
                        if self._known is None:
                            raise DependencyUnavailable(f"{self.issuer} cannot be reached now.") from error
        if self._known is None:
            raise DependencyUnavailable(f"{self.issuer} cannot be reached now.")
        return self._known

    async def fetch(self) -> Metadata:
        """Fetch the metadata now.

        Raises:
            FetchFailed: with the reason, in one sentence.
        """
        url = f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"
        document: dict[str, Any] = (await self._fetcher.get(url)).document
        if document.get("issuer") != self.issuer:
            raise FetchFailed(f"{url} names another issuer, {str(document.get('issuer'))[:200]!r}")
        try:
            metadata = msgspec.convert(document, Metadata)
        except msgspec.ValidationError as error:
            raise FetchFailed(f"{url} is not usable: {error}") from None
        for endpoint in (metadata.authorization_endpoint, metadata.token_endpoint):
            if problem := self._fetcher.problem_of(endpoint):
                raise FetchFailed(f"{url} has the endpoint {endpoint[:200]}: {problem}")
        leave = metadata.end_session_endpoint
        if leave is not None and (problem := self._fetcher.problem_of(leave)):  # sessions end here alone
            log.warning("the logout of a provider is not used", issuer=self.issuer, reason=problem)
            metadata = structs.replace(metadata, end_session_endpoint=None)
        return metadata
