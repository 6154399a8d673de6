"""GitHub: OAuth 2.0 without OpenID Connect. Who signed in, and with which verified primary address, its API says."""

from collections.abc import Mapping
from typing import Any, NoReturn

import httpx2
import structlog
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.httpx_client import AsyncOAuth2Client

from idp import clock
from idp.directory.claim_rules import evaluate
from idp.errors import DependencyUnavailable, UpstreamRefused
from idp.federation.client_secret import ClientSecret
from idp.federation.presets import GITHUB, PRESETS
from idp.federation.upstream import LoginRequest, UpstreamLogin
from idp.plain_text import without_unseen
from idp.settings_schema import UpstreamProvider
from idp.signing.fetch import Fetcher, FetchFailed
from idp.users.email import parse_email
from idp.users.identities import ForeignIdentity

log = structlog.get_logger("idp.federation")

_SECONDS, _MAX_NAME = 10.0, 200


class GitHubUpstream:
    """GitHub, or GitHub Enterprise Server at the setting `issuer`.

    Args:
        name: in the settings.
        settings: of the provider.
        secret: the client secret.
        fetcher: limits where requests go.
    """

    def __init__(self, name: str, settings: UpstreamProvider, secret: ClientSecret, fetcher: Fetcher) -> None:
        self.name = name
        self.settings = settings
        self._secret = secret
        self._fetcher = fetcher
        self._site = (settings.issuer or GITHUB).rstrip("/")
        self._api = "https://api.github.com" if self._site == GITHUB else f"{self._site}/api/v3"

    async def authorization_url(self, login: LoginRequest) -> str:
        parameters = {} if login.login_hint is None else {"login": login.login_hint}
        async with await self._client(login) as client:
            url, _ = client.create_authorization_url(
                f"{self._site}/login/oauth/authorize", state=login.state, code_verifier=login.verifier, **parameters
            )
        return str(url)

    async def complete(self, login: LoginRequest, answer: Mapping[str, str]) -> UpstreamLogin:
        if "error" in answer or not answer.get("code"):
            self._refuse("the provider answered without a code", received=answer.get("error", "")[:100])
        try:
            async with await self._client(login) as client:
                await client.fetch_token(
                    f"{self._site}/login/oauth/access_token",
                    code=answer["code"],
                    code_verifier=login.verifier,
                    headers={"Accept": "application/json"},
                )
                user = await self._read(client, "/user")
                addresses = await self._read(client, "/user/emails")
        except AuthlibBaseError as error:
            self._refuse("the code was refused", received=f"{error.error} {error.description}"[:400])
        except (FetchFailed, httpx2.HTTPError, OSError) as error:
            log.warning("a provider cannot be reached", provider=self.name, reason=f"{type(error).__name__}: {error}")
            raise DependencyUnavailable(f"{self.name} cannot be reached now.") from error
        except ValueError:
            self._refuse("the API did not answer JSON")
        return self._login(user, addresses)

    async def logout_url(self, id_token: str | None, *, return_to: str, state: str | None) -> str | None:  # noqa: ARG002
        return None  # GitHub has no logout for apps

    async def _read(self, client: AsyncOAuth2Client, path: str) -> Any:
        answer = await client.get(f"{self._api}{path}", headers={"Accept": "application/vnd.github+json"})
        if answer.status_code != 200:
            self._refuse("the API refused the token", received=f"{path} answered {answer.status_code}")
        return answer.json()

    def _login(self, user: Any, addresses: Any) -> UpstreamLogin:
        number = user.get("id") if isinstance(user, dict) else None
        if not isinstance(number, int):
            self._refuse("the API did not say who signed in")
        email, is_verified = _primary(addresses)
        name = user.get("name") or user.get("login")
        trusted = {domain.lower() for domain in self.settings.trusted_email_domains}
        identity = ForeignIdentity(
            provider=self._site,
            subject=str(number),  # a login name can change hands
            email=email,
            email_verified=is_verified and email is not None and email.rpartition("@")[2].lower() in trusted,
            name=(without_unseen(name).strip()[:_MAX_NAME] or None) if isinstance(name, str) else None,
        )
        return UpstreamLogin(identity, evaluate(self.settings.rules, user, issued_at=clock.now()))

    async def _client(self, login: LoginRequest) -> AsyncOAuth2Client:
        return AsyncOAuth2Client(
            client_id=self.settings.client_id,
            client_secret=self._secret.current(),
            token_endpoint_auth_method=self._secret.method,
            scope=" ".join(self.settings.scopes or PRESETS["github"].scopes),
            redirect_uri=login.redirect_uri,
            code_challenge_method="S256",
            transport=await self._fetcher.transport(),
            trust_env=False,
            follow_redirects=False,
            timeout=_SECONDS,
        )

    def _refuse(self, reason: str, **details: object) -> NoReturn:
        log.warning("a login at a provider was refused", provider=self.name, reason=reason, **details)
        raise UpstreamRefused


def _primary(addresses: Any) -> tuple[str | None, bool]:
    """Return the primary address, and whether GitHub has verified it."""
    for each in addresses if isinstance(addresses, list) else ():
        if isinstance(each, dict) and each.get("primary") is True and isinstance(each.get("email"), str):
            try:
                return parse_email(each["email"]), each.get("verified") is True
            except ValueError:
                return None, False
    return None, False
