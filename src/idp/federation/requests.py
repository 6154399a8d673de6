"""Requests to a provider: Authlib's client inside our limits, and what is said when one fails (SEC-66)."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import httpx2
import structlog
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.httpx_client import AsyncOAuth2Client

from idp.errors import DependencyUnavailable, UpstreamRefused
from idp.federation.client_secret import ClientSecret
from idp.federation.upstream import LoginRequest
from idp.signing.fetch import Fetcher, FetchFailed
from idp.signing.json_object import read_object

log = structlog.get_logger("idp.federation")

SECONDS = 10.0  # for all requests of one answer
_MAX_SHOWN = 300  # characters of what was received
_BUSY = 429


class Requests:
    """Makes clients for one provider.

    Args:
        name: of the provider in the settings.
        client_id: ours there.
        secret: the client secret.
        scopes: requested.
        fetcher: limits where requests go.
    """

    def __init__(
        self, name: str, client_id: str, secret: ClientSecret, scopes: Sequence[str], fetcher: Fetcher
    ) -> None:
        self._name = name
        self._client_id = client_id
        self._secret = secret
        self._scope = " ".join(scopes)
        self._fetcher = fetcher

    async def client(self, login: LoginRequest) -> AsyncOAuth2Client:
        """Return a client for one login."""
        client = AsyncOAuth2Client(
            client_id=self._client_id,
            client_secret=self._secret.current(),
            token_endpoint_auth_method=self._secret.method,
            scope=self._scope,
            redirect_uri=login.redirect_uri,
            code_challenge_method="S256",
            transport=await self._fetcher.transport(),
            trust_env=False,
            follow_redirects=False,
            timeout=SECONDS,
        )
        client.register_compliance_hook("access_token_response", self._check_token_response)
        return client

    @asynccontextmanager
    async def sent(self) -> AsyncIterator[None]:
        """Limit the time of the requests inside.

        Raises:
            UpstreamRefused: the provider refused, or its answer is not usable.
            DependencyUnavailable: it cannot be reached in time.
        """
        try:
            async with asyncio.timeout(SECONDS):
                yield
        except AuthlibBaseError as error:
            self.refuse("the token endpoint refused the code", received=f"{error.error} {error.description}")
        except (FetchFailed, httpx2.HTTPError, OSError) as error:
            log.warning("a provider cannot be reached", provider=self._name, reason=f"{type(error).__name__}: {error}")
            raise DependencyUnavailable(f"{self._name} cannot be reached now.") from error
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            self.refuse("an answer is not usable", received=f"{type(error).__name__}: {error}")

    def refuse(self, reason: str, **details: object) -> NoReturn:
        """Log what was received against what was expected, and refuse the login.

        Raises:
            UpstreamRefused: always.
        """
        shown = {name: str(value)[:_MAX_SHOWN] for name, value in details.items()}
        log.warning("a login at a provider was refused", provider=self._name, reason=reason, **shown)
        raise UpstreamRefused

    def _check_token_response(self, answer: Any) -> Any:
        """Refuse what is no JSON object; Authlib reads errors, and raises for 5xx."""
        if answer.status_code == _BUSY:
            raise FetchFailed(f"the token endpoint answered {_BUSY}")
        if answer.status_code >= 500:
            return answer
        received = f"{answer.status_code} {answer.headers.get('content-type', 'without a type')}"
        try:
            document = read_object(answer.content)
        except ValueError:
            self.refuse("the token endpoint did not answer a JSON object", received=received, expected="200 with JSON")
        if answer.status_code != 200 and "error" not in document:
            self.refuse("the token endpoint did not answer 200", received=received, expected="200 with JSON")
        return answer
