"""A provider that speaks OpenID Connect: Authlib makes the requests, our verifier judges the tokens (SEC-67)."""

import hmac
from collections.abc import Iterable, Mapping
from typing import Any

import httpx2
import msgspec
import structlog
from msgspec import Struct

from idp.authn.authenticators.upstream_oidc import identity_of
from idp.directory.claim_rules import evaluate
from idp.errors import DependencyUnavailable, TokenExpired, TokenInvalid
from idp.federation.client_secret import ClientSecret
from idp.federation.metadata import MetadataSource
from idp.federation.presets import PRESETS
from idp.federation.requests import Requests
from idp.federation.upstream import LoginRequest, UpstreamLogin
from idp.plain_text import without_unseen
from idp.settings_schema import UpstreamProvider
from idp.signing.compact import parse
from idp.signing.fetch import Fetcher, FetchFailed
from idp.signing.foreign_jwt import ForeignClaims, ForeignIssuer

log = structlog.get_logger("idp.federation")

_MAX_TOKEN = 400_000  # characters of an ID token; 10,000 groups fit, unless they are UUIDs
_MAX_AMR, _MAX_AMR_TEXT, _MAX_SID = 10, 20, 255


class _AppleName(Struct):
    firstName: str | None = None  # noqa: N815  as Apple spells it
    lastName: str | None = None  # noqa: N815


class _AppleUser(Struct):
    name: _AppleName = msgspec.field(default_factory=_AppleName)


class OidcUpstream:
    """One provider.

    Args:
        name: in the settings.
        settings: of the provider.
        issuer: verifies its ID tokens.
        metadata: its endpoints.
        secret: the client secret.
        fetcher: limits where requests go.
    """

    def __init__(
        self,
        name: str,
        settings: UpstreamProvider,
        issuer: ForeignIssuer,
        metadata: MetadataSource,
        secret: ClientSecret,
        fetcher: Fetcher,
    ) -> None:
        self.name = name
        self.settings = settings
        self.issuer = issuer
        self.metadata = metadata
        self._preset = PRESETS[settings.preset]
        self._fetcher = fetcher
        self._requests = Requests(name, settings.client_id, secret, settings.scopes or self._preset.scopes, fetcher)

    async def authorization_url(self, login: LoginRequest) -> str:
        metadata = await self.metadata.get()
        parameters: dict[str, Any] = {**self._preset.parameters, "nonce": login.nonce}
        if login.login_hint is not None:
            parameters["login_hint"] = login.login_hint
        if login.fresh:
            parameters["prompt"] = "login"
        async with await self._requests.client(login) as client:
            url, _ = client.create_authorization_url(
                metadata.authorization_endpoint, state=login.state, code_verifier=login.verifier, **parameters
            )
        return str(url)

    async def complete(self, login: LoginRequest, answer: Mapping[str, str]) -> UpstreamLogin:
        self._check_answer(answer, (await self.metadata.get()).authorization_response_iss_parameter_supported)
        received = await self._exchange(login, answer["code"])
        id_token = received.get("id_token")
        if not isinstance(id_token, str) or len(id_token) > _MAX_TOKEN:
            seen = "none" if id_token is None else f"{len(str(id_token))} characters"
            self._requests.refuse(
                "the token response has no usable id_token", received=seen, expected=f"≤ {_MAX_TOKEN}"
            )
        verified = await self._verify(id_token, login)
        claims = {
            **(_name_of(answer) if self.settings.preset == "apple" else {}),
            **await self._userinfo(received, verified),
            **verified.claims,
        }
        try:
            identity = identity_of(self.issuer.settings, claims)
        except TokenInvalid:
            self._requests.refuse(
                "the ID token has no usable subject", subject_claim=self.issuer.settings.subject_claim
            )
        amr, sid = claims.get("amr"), claims.get("sid")
        return UpstreamLogin(
            identity=identity,
            evaluation=evaluate(self.issuer.settings.rules, claims, issued_at=verified.issued_at),
            amr=_lines(amr[:_MAX_AMR]) if isinstance(amr, list) else (),
            sid=without_unseen(sid)[:_MAX_SID] if isinstance(sid, str) else None,
            id_token=id_token,
        )

    async def logout_url(self, id_token: str | None, *, return_to: str, state: str | None) -> str | None:
        try:
            endpoint = (await self.metadata.get()).end_session_endpoint
        except DependencyUnavailable:
            return None
        if endpoint is None:
            return None
        parameters = {"client_id": self.settings.client_id, "post_logout_redirect_uri": return_to}
        if id_token is not None:
            parameters["id_token_hint"] = id_token
        if state is not None:
            parameters["state"] = state
        return str(httpx2.URL(endpoint).copy_merge_params(parameters))

    def _check_answer(self, answer: Mapping[str, str], sends_issuer: bool) -> None:
        """Check the parameters of the callback (RFC 9207: an answer of another provider is refused)."""
        issuer = answer.get("iss")
        if issuer is not None and issuer not in self.issuer.names:
            self._requests.refuse(
                "the answer comes from another issuer", received=issuer, expected=self.metadata.issuer
            )
        if issuer is None and sends_issuer:
            self._requests.refuse("the answer has no iss, although the provider says that it sends one")
        if "error" in answer:
            text = f"{answer['error']} {answer.get('error_description', '')}".strip()
            self._requests.refuse("the provider answered with an error", received=text)
        if not answer.get("code"):
            self._requests.refuse("the answer has no code")

    async def _exchange(self, login: LoginRequest, code: str) -> Mapping[str, Any]:
        metadata = await self.metadata.get()
        async with self._requests.sent(), await self._requests.client(login) as client:
            received = await client.fetch_token(
                metadata.token_endpoint, code=code, code_verifier=login.verifier, grant_type="authorization_code"
            )
        return dict(received)

    async def _verify(self, id_token: str, login: LoginRequest) -> ForeignClaims:
        """Verify the ID token: signature, issuer, audience, times, nonce and azp (OpenID Connect Core 3.1.3.7)."""
        try:
            unverified = parse(id_token, max_length=_MAX_TOKEN)
            if not self.issuer.owns(unverified):
                expected = sorted(self.issuer.names)
                self._requests.refuse(
                    "the ID token names another issuer", received=unverified.claims.get("iss"), expected=expected
                )
            verified = await self.issuer.verify(unverified)
        except (TokenInvalid, TokenExpired) as error:
            self._requests.refuse("the ID token is not valid", received=error.__cause__ or type(error).__name__)
        except ValueError as error:
            self._requests.refuse("the ID token cannot be read", received=error)
        claims = verified.claims
        nonce, azp, audience = claims.get("nonce"), claims.get("azp"), claims.get("aud")
        if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(), login.nonce.encode()):
            self._requests.refuse(
                "the ID token belongs to another login", received="another nonce" if nonce else "no nonce"
            )
        is_other = azp is not None and azp != self.settings.client_id
        if is_other or (isinstance(audience, list) and len(audience) > 1 and not azp):
            self._requests.refuse("the ID token is for another client", received=azp, expected=self.settings.client_id)
        return verified

    async def _userinfo(self, received: Mapping[str, Any], verified: ForeignClaims) -> dict[str, Any]:
        """Return claims of userinfo, if the ID token has no address; only for the same subject (section 5.3.2)."""
        endpoint = (await self.metadata.get()).userinfo_endpoint
        token = received.get("access_token")
        if self.issuer.settings.email_claim in verified.claims or endpoint is None or not isinstance(token, str):
            return {}
        try:
            document = (await self._fetcher.get(endpoint, bearer=token)).document
        except FetchFailed as error:
            log.info("userinfo of a provider is not available", provider=self.name, reason=str(error))
            return {}
        return document if document.get("sub") == verified.claims.get("sub") else {}


def _name_of(answer: Mapping[str, str]) -> dict[str, str]:
    """Return the name that Apple sends with the first answer of a user, and never again: only the name counts."""
    try:
        sent = msgspec.json.decode(answer.get("user", "").encode(), type=_AppleUser)
    except (ValueError, RecursionError):
        return {}
    name = " ".join(each for each in (sent.name.firstName, sent.name.lastName) if each)
    return {"name": name} if name else {}


def _lines(values: Iterable[object]) -> tuple[str, ...]:
    return tuple(without_unseen(str(each))[:_MAX_AMR_TEXT] for each in values)
