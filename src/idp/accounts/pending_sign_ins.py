"""Sign-ins whose first factor was right, and that wait for the second one (SEC-8). There is no session yet.

The client holds a random token, of which only the digest is stored. It is good for one session, ten minutes and five
wrong codes, and ends with the password that it was begun with.
"""

import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NoReturn
from uuid import UUID

import msgspec
from litestar import Response
from litestar.datastructures import Cookie
from msgspec import Struct, structs
from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import Text
from uuid_utils.compat import uuid7

from idp import clock
from idp.errors import SecondFactorEnrolmentRequired, SecondFactorRequired
from idp.ops.origins import AllowedOrigins
from idp.settings import Secret
from idp.signing.jwt import Family
from idp.signing.peppers import Peppers
from idp.users.factors.enrolled import HAS_SECOND_FACTOR, FactorOverview

LIFE = timedelta(minutes=10)
_MOST_OF_USER = 20  # that wait; a further one replaces the oldest
MAX_WRONG_CODES = 5
_MAX_TOKEN = 128  # characters; ours have 43

# For the same users as a session may start for (sessions/service.py), if they have a factor or must set one up.
_BEGIN = text(f"""
WITH factors AS (
    SELECT (SELECT created_at FROM idp.totp_secrets WHERE user_id = :user_id) AS totp_since,
           (SELECT count(*) FROM idp.passkeys WHERE user_id = :user_id) AS passkeys,
           (SELECT count(*) FROM idp.recovery_codes WHERE user_id = :user_id AND used_at IS NULL) AS recovery_codes
), begun AS (
    INSERT INTO idp.pending_sign_ins (id, user_id, digest, password_version, amr, remember, wrong_codes, details,
                                      created_at, expires_at)
    SELECT :id, u.id, :digest, u.password_version, :amr, :remember, 0, :details, :now, :expires_at
      FROM idp.users u
     WHERE u.id = :user_id AND u.is_active AND u.deleted_at IS NULL AND u.password_version = :password_version
       AND (CAST(:most_failures AS integer) IS NULL OR :most_failures >
            coalesce((SELECT failures FROM idp.sign_in_failures WHERE user_id = :user_id), 0))
       AND (:enrols OR {HAS_SECOND_FACTOR})
    RETURNING id
)
SELECT totp_since, passkeys, recovery_codes FROM factors, begun
""").bindparams(bindparam("amr", type_=ARRAY(Text())), bindparam("details", type_=JSONB()))  # noqa: S608  constants
_FIND = text("""
SELECT id, user_id, password_version, amr, remember, details FROM idp.pending_sign_ins
 WHERE digest = ANY(:digests) AND expires_at > :now AND wrong_codes < :most
""").bindparams(bindparam("digests", type_=ARRAY(Text())))
_LOCK = text(f"{_FIND.text} FOR UPDATE").bindparams(bindparam("digests", type_=ARRAY(Text())))
_PRUNE = text("""
DELETE FROM idp.pending_sign_ins WHERE id IN (
    SELECT id FROM idp.pending_sign_ins WHERE user_id = :user_id ORDER BY created_at DESC OFFSET :most)
""")
_COUNT_WRONG = text("UPDATE idp.pending_sign_ins SET wrong_codes = wrong_codes + 1 WHERE id = :id")
_FINISH = text("DELETE FROM idp.pending_sign_ins WHERE id = :id")
_FORGET = text("DELETE FROM idp.pending_sign_ins WHERE user_id = :user_id")
_CLEAN_UP = text("""
DELETE FROM idp.pending_sign_ins WHERE id IN (
    SELECT id FROM idp.pending_sign_ins WHERE expires_at < :now ORDER BY expires_at LIMIT :limit
       FOR UPDATE SKIP LOCKED) RETURNING 1
""")


class SignInDetails(Struct, frozen=True):
    """What the request of the first factor wanted, for the session that starts in the end.

    Attributes:
        family: the token format.
        message: text for the response.
        mode: "token" or "cookie".
        device_info: the client's description.
        enrols: whether the user must set up a second factor, because the policy requires one.
        kept: of the flow that began it, such as the login at a provider.
        leave_to: the page of an app that the browser goes to in the end, None for ours.
    """

    family: Family
    message: str
    mode: str
    device_info: Any = None
    enrols: bool = False
    kept: dict[str, Any] = {}
    leave_to: str | None = None


class PendingSignIn(Struct, frozen=True):
    """A sign-in that waits, for the client. `repr` hides the token.

    Attributes:
        methods: what the user can prove themselves with.
        enrols: whether they must set up a second factor first.
        page: where a browser sets one up.
        cookies: to set in a browser.
    """

    token: str
    methods: tuple[str, ...]
    enrols: bool
    page: str
    cookies: Sequence[Cookie] = ()

    def __repr__(self) -> str:
        return f"PendingSignIn({', '.join(self.methods)})"

    def with_cookie(self, cookie: Cookie) -> "PendingSignIn":
        """Return a copy with an additional cookie."""
        return structs.replace(self, cookies=[*self.cookies, cookie])

    def response(self) -> Response[Any]:
        """Refuse a client of the API, which continues with the token. Raises as `refuse`."""
        self.refuse()

    def refuse(self) -> NoReturn:
        """Refuse a client of the API.

        Raises:
            SecondFactorRequired: with the token.
            SecondFactorEnrolmentRequired: a browser must set up a factor.
        """
        if self.enrols:
            raise SecondFactorEnrolmentRequired(page=self.page)
        seconds = int(LIFE.total_seconds())
        raise SecondFactorRequired(pending_token=self.token, methods=list(self.methods), expires_in=seconds)


class FoundSignIn(Struct, frozen=True):
    """A sign-in that waits, as it is stored."""

    id: UUID
    user_id: str
    password_version: int
    amr: tuple[str, ...]
    remember: bool
    details: SignInDetails


class PendingSignIns:
    """Stores sign-ins that wait. Every function works in the caller's transaction.

    Args:
        roots: root secrets, the current one first, for the digests of tokens.
        origins: our own URL: whether it is https, and its path.
        public_url: the service's own URL.
    """

    def __init__(self, roots: Sequence[Secret], origins: AllowedOrigins, *, public_url: str) -> None:
        self._peppers = Peppers(roots, "pending-sign-in")
        self._page = f"{public_url}/login"
        self._secure = origins.own.startswith("https://")
        self._path = origins.cookie_path
        self.name = origins.cookie_name("idp_pending")

    def cookie(self, token: str | None) -> Cookie:
        """Return the cookie that keeps a token in a browser, where it is in no address; None deletes it."""
        return Cookie(
            key=self.name,
            value=token or "",
            max_age=int(LIFE.total_seconds()) if token else 0,
            path=self._path,
            secure=self._secure,
            httponly=True,
            samesite="lax",
        )

    async def begin(
        self,
        session: AsyncSession,
        user_id: str,
        details: SignInDetails,
        *,
        password_version: int,
        amr: tuple[str, ...],
        remember: bool,
        max_failures: int | None,
    ) -> PendingSignIn | None:
        """Let a sign-in wait, unless its user may not sign in or has no second factor to wait for.

        Args:
            session: the caller's transaction.
            user_id: who has proved the first factor.
            details: of the request.
            password_version: at that proof.
            amr: how it was proved.
            remember: use the longer lifetime.
            max_failures: refuse at this many consecutive wrong passwords and codes; None: no limit.
        """
        token, now = secrets.token_urlsafe(32), clock.now()
        values = {
            "id": uuid7(),
            "user_id": user_id,
            "digest": self._peppers.digest(token).hex,
            "password_version": password_version,
            "amr": list(amr),
            "remember": remember,
            "details": msgspec.to_builtins(details),
            "now": now,
            "expires_at": now + LIFE,
            "most_failures": max_failures,
            "enrols": details.enrols,
        }
        row = (await session.execute(_BEGIN, values)).mappings().one_or_none()
        if row is None:
            return None
        await session.execute(_PRUNE, {"user_id": user_id, "most": _MOST_OF_USER})
        methods = FactorOverview(**row, totp_last_used=None).methods
        cookies = [self.cookie(token)] if details.mode == "cookie" else []
        return PendingSignIn(token, methods, details.enrols, self._page, cookies)

    async def find(self, session: AsyncSession, presented_token: str, *, lock: bool = False) -> FoundSignIn | None:
        """Return the sign-in of a token; None if there is none, or it has expired or had too many wrong codes."""
        if len(presented_token) > _MAX_TOKEN or not presented_token.isascii():
            return None
        values = {
            "digests": self._peppers.possible(presented_token),
            "now": clock.now(),
            "most": MAX_WRONG_CODES,
        }
        row = (await session.execute(_LOCK if lock else _FIND, values)).mappings().one_or_none()
        if row is None:
            return None
        details = msgspec.convert(row["details"], SignInDetails)
        return FoundSignIn(**{**row, "amr": tuple(row["amr"]), "details": details})

    async def count_wrong_code(self, session: AsyncSession, found: FoundSignIn) -> None:
        """Count a wrong code."""
        await session.execute(_COUNT_WRONG, {"id": found.id})

    async def finish(self, session: AsyncSession, found: FoundSignIn) -> None:
        """Delete a sign-in, whose session starts in the same transaction."""
        await session.execute(_FINISH, {"id": found.id})

    async def forget(self, session: AsyncSession, user_id: str) -> None:
        """Delete all sign-ins of a user that wait."""
        await session.execute(_FORGET, {"user_id": user_id})

    async def clean_up(self, session: AsyncSession, *, limit: int) -> int:
        """Delete expired ones; return how many."""
        return len((await session.execute(_CLEAN_UP, {"now": clock.now(), "limit": limit})).all())
