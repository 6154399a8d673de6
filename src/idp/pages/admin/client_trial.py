"""The tester of a client: runs the authorization code flow against this service as the administrator.

It calls what answers at the endpoints, with the client's own redirect URI, and shows each step. Tokens are shown masked
and decoded; the session that the client gets is ended at once.
"""

import base64
import secrets
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import msgspec
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Struct

from idp.audit.record import Origin, origin_of
from idp.authn.routes import client_of
from idp.db.engine import Database
from idp.errors import IdpError
from idp.ops.problems import invalid
from idp.pages.admin.clients import ONE, PATH, show_client
from idp.pages.admin.routes import Page, admin_form, problem_text, words
from idp.pages.admin.unverified_claims import claims_of
from idp.pages.signed_in import SignedInPages
from idp.principal.model import Principal
from idp.principal.requests import AnyRequest
from idp.provider import consents
from idp.provider.authorization import Authorization, Show, Step
from idp.provider.client_shapes import ClientOut
from idp.provider.clients import ClientRepository
from idp.provider.shapes import TokenRequest
from idp.provider.token_endpoint import TokenEndpoint
from idp.sessions import service as sessions
from idp.signing.pkce import challenge_of

_ENDED = "client_tested"
_SHOWN = 8  # characters of a code or token


class TrialStep(Struct, frozen=True):
    """A step of the flow.

    Attributes:
        name: of its text.
        good: whether it went as a client wants.
        line: what was requested or where it led.
        values: by name, in order.
    """

    name: str
    good: bool
    line: str
    values: dict[str, str]


class Trial:
    """Runs the flow.

    Args:
        authorizations: answers authorization requests.
        token_endpoint: answers token requests.
        database: has the sessions.
        principal: the administrator, who signs in to the client.
        origin: of the request.
    """

    def __init__(
        self,
        authorizations: Authorization,
        token_endpoint: TokenEndpoint,
        database: Database,
        principal: Principal,
        origin: Origin,
    ) -> None:
        self._authorizations, self._token_endpoint = authorizations, token_endpoint
        self._database, self._principal, self._origin = database, principal, origin
        self._sid: str | None = None
        self._consented = self._redeemed = False
        self.steps: list[TrialStep] = []

    async def run(self, client: ClientOut, form: dict[str, str], *, address: str | None) -> None:
        """Run the flow, and record its steps.

        Args:
            client: the client.
            form: `redirect_uri`, `scope`, `consent` and `client_secret`.
            address: of the administrator, for limits.

        Raises:
            IdpError: the authorization request is refused without a redirect.
        """
        verifier = secrets.token_urlsafe(32)
        redirect_uri = form.get("redirect_uri", "")
        sent = {
            "response_type": "code",
            "client_id": client.client_id,
            "redirect_uri": redirect_uri,
            "scope": " ".join(words(form.get("trial_scope", ""))) or client.scope,
            "state": secrets.token_urlsafe(8),
            "nonce": secrets.token_urlsafe(8),
            "code_challenge": challenge_of(verifier) or "",
            "code_challenge_method": "S256",
        }
        self.steps.append(TrialStep("request", True, f"GET /oauth2/authorize?{urlencode(sent)}", sent))
        step = await self._authorizations.begin(list(sent.items()), self._principal, self._origin)
        step = await self._consent(step, agreed=bool(form.get("consent")))
        if isinstance(step, Show):
            self.steps.append(TrialStep(f"waits_{step.page}", False, "", {}))
            return
        answered = {name: masked(text) if name == "code" else text for name, text in step.parameters.items()}
        self.steps.append(TrialStep("redirect", "code" in answered, f"303 {redirect_uri}", answered))
        if code := step.parameters.get("code"):
            await self._redeem(client, form, code, verifier, address)
        await self._end(client.client_id)

    async def _consent(self, step: Step, *, agreed: bool) -> Step:
        if not isinstance(step, Show) or step.page != "consent" or not agreed:
            return step
        await self._note_consent(step.request_id)
        await self._authorizations.approve(str(step.request_id), self._principal, self._origin)
        self.steps.append(TrialStep("consent", True, "POST /consent", {}))
        return await self._authorizations.resume(str(step.request_id), self._principal, self._origin)

    async def _note_consent(self, request_id: UUID) -> None:
        """Note whether the test is the first consent to the client, which is taken back at its end."""
        pending = await self._authorizations.pending(str(request_id))
        async with self._database.transaction() as session:
            granted = await consents.granted_scopes(session, self._principal.user_id, pending.client_id)
        self._consented = not granted

    async def _redeem(
        self, client: ClientOut, form: dict[str, str], code: str, verifier: str, address: str | None
    ) -> None:
        secret = form.get("client_secret", "").strip() or None
        by_header = secret is not None and client.token_endpoint_auth_method == "client_secret_basic"  # noqa: S105
        basic = base64.b64encode(f"{client.client_id}:{secret}".encode()).decode() if by_header else None
        request = TokenRequest(
            grant_type="authorization_code",
            code=code,
            redirect_uri=form.get("redirect_uri", ""),
            code_verifier=verifier,
            client_id=None if by_header else client.client_id,
            client_secret=None if by_header else secret,
        )
        asked = {"grant_type": "authorization_code", "code": masked(code), "code_verifier": masked(verifier)}
        self.steps.append(TrialStep("token_request", True, "POST /oauth2/token", asked))
        header = f"Basic {basic}" if basic else None
        try:
            answer = await self._token_endpoint.answer(header, request, lambda: self._origin, address=address)
        except IdpError as error:
            said = {"error": error.oauth or error.code, "error_description": error.detail}
            self.steps.append(TrialStep("token_refused", False, str(error.status), said))
            return
        self._redeemed = True
        self._tell(msgspec.json.decode(answer, type=dict[str, Any]))

    def _tell(self, answer: dict[str, Any]) -> None:
        shown = {name: masked(str(value)) if name.endswith("_token") else str(value) for name, value in answer.items()}
        self.steps.append(TrialStep("tokens", True, "200", shown))
        for name in ("id_token", "access_token"):
            if claims := claims_of(str(answer.get(name, ""))):
                self.steps.append(TrialStep(name, True, "", claims))
                self._sid = self._sid or claims.get("sid")

    async def _end(self, client_id: str) -> None:
        """End the session that the client has of this browser; without its `sid`, all that it has of the person.

        A consent that only the test gave is taken back.
        """
        user_id = self._principal.user_id
        async with self._database.transaction() as session:
            if self._sid is not None:
                sid = UUID(self._sid)
                if not await sessions.end_app(session, self._origin, sid, user_id=user_id, reason=_ENDED):
                    await sessions.end(session, self._origin, sid, user_id=user_id, reason=_ENDED)
            elif self._redeemed:
                await sessions.end_of_grant(session, self._origin, user_id, client_id, reason=_ENDED)
        if self._consented:
            await consents.take_back(self._database, self._principal, self._origin, client_id)


@admin_form(f"{ONE}/test")
async def test_client(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    authorizations: NamedDependency[Authorization],
    token_endpoint: NamedDependency[TokenEndpoint],
    client_id: FromPath[str],
) -> Page:
    """Run the code flow for a client, and show each step."""
    visitor, form = await signed_in_pages.submit(request, page=f"{PATH}/{client_id}", admin=True, fresh=True)
    trial = Trial(authorizations, token_endpoint, database, visitor.principal, origin_of(request))
    try:
        async with database.transaction() as session:
            client = ClientOut.of(await ClientRepository(session).get_client(client_id))
        if "authorization_code" not in client.grant_types:
            raise invalid(["body", "grant_types"], "authorization_code")
        await trial.run(client, form, address=client_of(request))
    except IdpError as error:
        problem = problem_text(request, error)
        return await show_client(
            request, visitor, database, client_id, entered=form, problem=problem, trial=trial.steps
        )
    return await show_client(request, visitor, database, client_id, entered=form, trial=trial.steps)


def masked(text: str) -> str:
    """Return the beginning of a code or token."""
    return f"{text[:_SHOWN]}… ({len(text)})"


ROUTES = (test_client,)
