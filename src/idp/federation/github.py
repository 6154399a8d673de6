"""GitHub: OAuth 2.0 without OpenID Connect. Who signed in, and with which verified primary address, its API says."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec
from authlib.integrations.httpx_client import AsyncOAuth2Client

from idp import clock
from idp.directory.claim_rules import evaluate
from idp.federation.client_secret import ClientSecret
from idp.federation.presets import GITHUB, PRESETS
from idp.federation.requests import Requests
from idp.federation.upstream import LoginRequest, UpstreamLogin
from idp.plain_text import without_unseen
from idp.settings_schema import UpstreamProvider
from idp.signing.fetch import Fetcher, FetchFailed
from idp.users.email import parse_email
from idp.users.identities import ForeignIdentity

_MAX_NAME, _MAX_BITS = 200, 64
_LIMITED = frozenset({403, 429})  # with these GitHub refuses too many requests


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
        scopes = settings.scopes or PRESETS["github"].scopes
        self._requests = Requests(name, settings.client_id, secret, scopes, fetcher)
        self._site = (settings.issuer or GITHUB).rstrip("/")
        self._api = _api_of(self._site)

    async def authorization_url(self, login: LoginRequest) -> str:
        parameters = {} if login.login_hint is None else {"login": login.login_hint}
        async with await self._requests.client(login) as client:
            url, _ = client.create_authorization_url(
                f"{self._site}/login/oauth/authorize", state=login.state, code_verifier=login.verifier, **parameters
            )
        return str(url)

    async def complete(self, login: LoginRequest, answer: Mapping[str, str]) -> UpstreamLogin:
        if "error" in answer or not answer.get("code"):
            text = f"{answer.get('error', 'no code')} {answer.get('error_description', '')}".strip()
            self._requests.refuse("the provider answered with an error", received=text)
        async with self._requests.sent(), await self._requests.client(login) as client:
            await client.fetch_token(
                f"{self._site}/login/oauth/access_token",
                code=answer["code"],
                code_verifier=login.verifier,
                headers={"Accept": "application/json"},
            )
            user = await self._read(client, "/user")
            addresses = await self._read(client, "/user/emails")
        return self._login(user, addresses)

    async def logout_url(self, id_token: str | None, *, return_to: str, state: str | None) -> str | None:  # noqa: ARG002
        return None  # GitHub has no logout for apps

    async def _read(self, client: AsyncOAuth2Client, path: str) -> Any:
        answer = await client.get(f"{self._api}{path}", headers={"Accept": "application/vnd.github+json"})
        if answer.status_code >= 500 or answer.status_code in _LIMITED:
            raise FetchFailed(f"{path} answered {answer.status_code}")
        if answer.status_code != 200:
            self._requests.refuse("the API refused the token", received=f"{path} answered {answer.status_code}")
        try:
            return msgspec.json.decode(answer.content)  # refuses lone surrogates, which cannot be stored
        except (ValueError, RecursionError) as error:
            self._requests.refuse("an answer of the API is not usable", received=f"{path}: {error}")

    def _login(self, user: Any, addresses: Any) -> UpstreamLogin:
        number = user.get("id") if isinstance(user, dict) else None
        if type(number) is not int or number.bit_length() > _MAX_BITS:
            self._requests.refuse("the API did not say who signed in")
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


def _api_of(site: str) -> str:
    """Return the API of github.com, of GitHub Enterprise Cloud with data residency, or of an Enterprise Server."""
    host = urlsplit(site).hostname or ""
    return f"https://api.{host}" if site == GITHUB or host.endswith(".ghe.com") else f"{site}/api/v3"


def _primary(addresses: Any) -> tuple[str | None, bool]:
    """Return the primary address, and whether GitHub has verified it."""
    for each in addresses if isinstance(addresses, list) else ():
        if isinstance(each, dict) and each.get("primary") is True and isinstance(each.get("email"), str):
            try:
                return parse_email(each["email"]), each.get("verified") is True
            except ValueError:
                return None, False
    return None, False
