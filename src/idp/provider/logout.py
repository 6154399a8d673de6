"""RP-initiated logout (OpenID Connect RP-Initiated Logout 1.0; SEC-72).

A client sends a browser here to sign its user out. Only an ID token that belongs to the browser's session ends it
without a question; only an address that the client registered is returned to.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlencode
from uuid import UUID

from msgspec import Struct, structs
from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from idp import clock
from idp.audit.record import Origin
from idp.db.engine import Database
from idp.errors import LogoutRequestInvalid, PostLogoutRedirectUriMismatch, UnknownClient
from idp.principal.model import Principal
from idp.provider.authorization_checks import MAX_STATE, Parameters
from idp.provider.models import ClientRow
from idp.provider.redirect_uris import is_registered
from idp.sessions import service as sessions
from idp.sessions.models import SessionRow
from idp.signing.id_token import IdTokens
from idp.users import credentials

NAMES = ("id_token_hint", "client_id", "post_logout_redirect_uri", "state", "ui_locales", "logout_hint")
_MAX_SHOWN = 500  # characters of a wrong URI


class LogoutRequest(Struct, frozen=True):
    """A valid request.

    Attributes:
        client_id: None if the request names no client.
        client_name: for people.
        redirect_uri: of the client, where the browser goes afterwards; None: to our own page.
        state: returned to the client.
        subject: the user of the ID token, None without one.
        sid: of the ID token.
    """

    client_id: str | None = None
    client_name: str | None = None
    redirect_uri: str | None = None
    state: str | None = None
    subject: str | None = None
    sid: UUID | None = None

    @property
    def location(self) -> str | None:
        """The client's address with `state`; None to show our own page."""
        if self.redirect_uri is None or self.state is None:
            return self.redirect_uri
        query = urlencode({"state": self.state}, quote_via=quote)
        return f"{self.redirect_uri}{'&' if '?' in self.redirect_uri else '?'}{query}"

    @property
    def parameters(self) -> dict[str, str]:
        """What the confirmation page sends again."""
        sent = {"client_id": self.client_id, "post_logout_redirect_uri": self.redirect_uri, "state": self.state}
        return {name: value for name, value in sent.items() if value is not None}


class Logout:
    """Decides about logout requests.

    Args:
        database: stores clients and sessions.
        tokens: verifies ID tokens.
    """

    def __init__(self, database: Database, tokens: IdTokens) -> None:
        self._database = database
        self._tokens = tokens

    async def check(self, pairs: Sequence[tuple[str, str]]) -> LogoutRequest:
        """Return the request that these parameters make.

        Raises:
            LogoutRequestInvalid: a parameter is repeated, the ID token is not ours or of another client, or `state` is
                too long.
            UnknownClient: there is no such client.
            PostLogoutRedirectUriMismatch: the address is not registered, or no client is named.
        """
        parameters = Parameters(pairs)
        if repeated := sorted(set(parameters.repeated) & set(NAMES)):
            raise LogoutRequestInvalid(f"{', '.join(repeated)} is repeated.")
        state = parameters.get("state")
        if state is not None and (len(state) > MAX_STATE or "\x00" in state):
            raise LogoutRequestInvalid(f"state has a null character, or more than {MAX_STATE} characters.")
        hint = await self._read_hint(parameters)
        client = await self._find_client(parameters, hint)
        request = LogoutRequest(
            redirect_uri=_check_uri(parameters.get("post_logout_redirect_uri"), client),
            state=state,
            subject=hint.get("sub"),
            sid=_uuid(hint.get("sid")),
        )
        return structs.replace(request, client_id=client.client_id, client_name=client.name) if client else request

    async def _read_hint(self, parameters: Parameters) -> dict[str, Any]:
        presented = parameters.get("id_token_hint")
        if presented is None:
            return {}
        claims = await self._tokens.read_hint(presented)
        if claims is None and (old := await self._tokens.read_old_hint(presented)) is not None:
            claims = {"aud": old["aud"]}  # as good as `client_id`: the user is asked
        if claims is None:
            raise LogoutRequestInvalid("id_token_hint is not an ID token of this service.")
        if parameters.get("client_id") not in {None, claims["aud"]}:
            raise LogoutRequestInvalid("id_token_hint was issued to another client than client_id.")
        return claims

    async def _find_client(self, parameters: Parameters, hint: dict[str, Any]) -> ClientRow | None:
        client_id = parameters.get("client_id") or hint.get("aud")
        if client_id is None:
            return None
        async with self._database.transaction() as session:
            client = await session.get(ClientRow, client_id) if "\x00" not in client_id else None
        if client is None:
            raise UnknownClient
        return client

    async def is_proven(self, request: LogoutRequest, browser: Principal) -> bool:
        """Whether the request's ID token belongs to the browser's session, so that nobody needs to be asked."""
        session_id = browser.credential.session_id
        if request.sid is None or session_id is None or request.subject != browser.user_id:
            return False
        query = select(SessionRow.id).where(
            SessionRow.parent_id == UUID(session_id),
            SessionRow.client_id == request.client_id,
            SessionRow.client_sid == request.sid,
        )
        async with self._database.transaction() as session:
            return (await session.scalars(query.limit(1))).first() is not None

    async def end(self, browser: Principal, origin: Origin) -> UUID | None:
        """End the browser's session with its apps, and return its id. One that has ended meanwhile stays so.

        Args:
            browser: who is signed in.
            origin: the request's origin.
        """
        if browser.credential.session_id is None:
            return None
        session_id = UUID(browser.credential.session_id)
        await self._end(session_id, browser.user_id, origin)
        return session_id

    async def end_expired(self, request: LogoutRequest, origin: Origin) -> UUID | None:
        """End the apps of a browser's session that has expired, if the request's ID token belongs to it; return its id.

        Their refresh tokens may last longer than the browser's session, and the user wants them to end.
        """
        now, app, browser = clock.now(), SessionRow, aliased(SessionRow)
        query = (
            select(browser.id, browser.user_id)
            .join(app, app.parent_id == browser.id)
            .where(
                app.user_id == request.subject,
                app.client_id == request.client_id,
                app.client_sid == request.sid,
                browser.ended_at.is_(None),
                or_(browser.expires_at <= now, browser.idle_expires_at <= now),
            )
        )
        if request.sid is None:
            return None
        async with self._database.transaction() as session:
            found = (await session.execute(query.limit(1))).one_or_none()
        if found is None:
            return None
        await self._end(found[0], found[1], origin)
        return UUID(str(found[0]))

    async def _end(self, session_id: UUID, user_id: str, origin: Origin) -> None:
        by_user = structs.replace(origin, actor=f"user:{user_id}")

        async def work(session: AsyncSession) -> None:
            await credentials.hold(session, user_id)
            await sessions.end(session, by_user, session_id, user_id=user_id, reason=sessions.LOGGED_OUT)

        await self._database.transact(work)


def _check_uri(uri: str | None, client: ClientRow | None) -> str | None:
    if uri is None:
        return None
    if client is None:
        raise LogoutRequestInvalid("post_logout_redirect_uri requires id_token_hint or client_id.")
    if not is_registered(uri, client.post_logout_redirect_uris, native=client.application_type == "native"):
        raise PostLogoutRedirectUriMismatch(
            received=uri[:_MAX_SHOWN], registered=list(client.post_logout_redirect_uris)
        )
    return uri


def _uuid(text: object) -> UUID | None:
    try:
        return UUID(text) if isinstance(text, str) else None
    except ValueError:
        return None
