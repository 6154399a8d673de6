"""Refresh tokens: opaque, single use, rotated at each use; a used one ends its session (C-08; RFC 9700 section 4.14.2).

The tokens of a session are a chain. Each one's successor is derived from it under a key of the root secret, so only
digests are stored, and a tab that comes a moment late with the token before can still be given the last one: by
deriving forward as far as the chain goes. A client that never got its answer can, too, for as long as the successor is
unused: then nobody else has it (`docs/decisions/0031-refresh-retry-returns-the-unused-successor.md`).
"""

import base64
import hmac
import re
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from msgspec import Struct
from uuid_utils.compat import uuid7

from idp import clock
from idp.audit.record import Origin
from idp.db.engine import Database
from idp.errors import RefreshTokenInvalid, RefreshTokenReused
from idp.ops import metrics
from idp.sessions import service
from idp.settings import Secret
from idp.signing.peppers import Peppers
from idp.signing.proof_keys import ProofKeys

PREFIX = "rt_"
LONGEST = 512  # characters (S4-19)
_FORM = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}\Z")
REUSED = "refresh_token_reused"

# One statement does it all, so that of many at once one wins, and a session that ends meanwhile gets no successor: the
# rows it updates are looked at again after waiting for them.
ROTATE = """
WITH used AS (
    UPDATE idp.refresh_tokens t SET rotated_at = $3
      FROM idp.user_sessions s
     WHERE t.digest = ANY($1) AND t.client_id = $2 AND t.rotated_at IS NULL AND t.expires_at > $3
       AND s.id = t.session_id AND s.ended_at IS NULL AND s.expires_at > $3
    RETURNING t.session_id, t.generation
), live AS (
    UPDATE idp.user_sessions s
       SET last_seen_at = $3,
           idle_expires_at = least(s.expires_at, $3::timestamptz + make_interval(secs => s.idle_seconds))
      FROM used WHERE s.id = used.session_id AND s.ended_at IS NULL
    RETURNING s.id, s.user_id, s.idle_expires_at, s.expires_at, s.amr, s.acr, s.auth_time
), successor AS (
    INSERT INTO idp.refresh_tokens (id, session_id, generation, digest, client_id, created_at, expires_at)
    SELECT $4, live.id, used.generation + 1, $5, $2, $3, live.idle_expires_at FROM used JOIN live ON true
)
SELECT id AS session_id, user_id, expires_at, amr, acr, auth_time FROM live
"""
_FIND = """
SELECT t.session_id, t.generation, t.rotated_at, t.repeated_at, t.expires_at AS token_expires_at,
       s.user_id, s.ended_at, s.expires_at, s.amr, s.acr, s.auth_time
  FROM idp.refresh_tokens t JOIN idp.user_sessions s ON s.id = t.session_id
 WHERE t.digest = ANY($1) AND t.client_id = $2
"""
_LATER = "SELECT digest FROM idp.refresh_tokens WHERE session_id = $1 AND generation > $2 ORDER BY generation"


# Only where it is unused: of a repeat and a first use at once, one waits for the other and sees what it did.
_HAND_OUT_AGAIN = """
UPDATE idp.refresh_tokens t SET repeated_at = $3
  FROM idp.user_sessions s
 WHERE t.session_id = $1 AND t.generation = $2 AND t.rotated_at IS NULL AND t.expires_at > $3
   AND s.id = t.session_id AND s.ended_at IS NULL AND s.expires_at > $3
RETURNING t.generation
"""


class Redeemed(Struct, frozen=True):
    """What a refresh token was exchanged for: the last token of its chain, and whose session it continues."""

    refresh_token: str
    user_id: str
    login: service.Login

    def __repr__(self) -> str:
        return f"Redeemed(session={self.login.session_id})"


class OfToken(Struct, frozen=True):
    """Whose a refresh token is.

    Attributes:
        continues: whether it could be exchanged now.
    """

    session_id: UUID
    user_id: str
    continues: bool


class RefreshTokens:
    """The chains of all sessions.

    Args:
        database: where their digests are.
        roots: root secrets, the current one first: digests under each of them are known.
        proofs: the keys that successors are derived with.
        grace_seconds: how long after its rotation a token still leads to the last one of its chain.
        repeats: whether it leads there after that, too, while its successor is unused.
    """

    def __init__(
        self,
        database: Database,
        roots: Sequence[Secret],
        proofs: ProofKeys,
        *,
        grace_seconds: float,
        repeats: bool = True,
    ) -> None:
        self._database = database
        self._peppers = Peppers(roots, "refresh-token")
        self._proofs = proofs
        self._key = proofs.of("refresh-token-successor")
        self._grace = timedelta(seconds=grace_seconds)
        self._repeats = repeats

    def new(self, *, client_id: str) -> tuple[str, service.FirstToken]:
        """Return the first token of a chain, and what `sessions.service.start` keeps of it."""
        token = PREFIX + secrets.token_urlsafe(32)
        return token, service.FirstToken(self._peppers.digest(token).hex, client_id)

    async def session_of(self, token: str, *, client_id: str) -> OfToken | None:
        """Return the session and the user that a token belongs to, whatever became of it; None for an unknown one."""
        row = await self._find(token, client_id)
        if row is None:
            return None
        now = clock.now()
        ends = min(row["token_expires_at"], row["expires_at"])
        continues = row["rotated_at"] is None and row["ended_at"] is None and ends > now
        return OfToken(row["session_id"], row["user_id"], continues)

    async def redeem(self, token: str, origin: Origin, *, client_id: str) -> Redeemed:
        """Exchange a token for its successor.

        Repeated within the grace window it leads to the last token of the chain; later to its successor, if that was
        never used.

        Args:
            token: what was presented.
            origin: who presents it, for the record.
            client_id: whose token it must be.

        Raises:
            RefreshTokenInvalid: it is unknown, expired or another client's, or its session ended.
            RefreshTokenReused: it was used before the grace window, and so was its successor, or it had been handed
                out twice; its session and the whole chain ended with it.
            DatabaseUnavailable: PostgreSQL is away. Nothing is lost by trying again.
        """
        await self._proofs.prepare()
        digests, now = self._possible(token), clock.now()
        successor = self._successor(token, self._key.current)
        digest = self._peppers.digest(successor).hex
        row = await self._database.reads.fetchrow(ROTATE, digests, client_id, now, uuid7(), digest)
        if row is not None:
            return Redeemed(successor, row["user_id"], _login(row))
        row = await self._find(token, client_id)
        if row is None or row["rotated_at"] is None or row["ended_at"] is not None or row["expires_at"] <= now:
            raise RefreshTokenInvalid
        if now - row["rotated_at"] > self._grace and not await self._hand_out_again(row, now):
            await self._revoke(row, origin)
        tip = await self._tip(token, row)
        return Redeemed(tip, row["user_id"], _login(row))

    async def _find(self, token: str, client_id: str) -> Any:
        return await self._database.reads.fetchrow(_FIND, self._possible(token), client_id)

    async def _hand_out_again(self, row: Any, now: datetime) -> bool:
        """Say whether a late repeat may have the successor: it is unused, and this token was not handed out twice.

        If it was, two may have it. One of them has just used it and got the successor, so this is the other one.
        """
        if not self._repeats or row["repeated_at"] is not None:
            return False
        following = row["generation"] + 1
        return await self._database.reads.fetchrow(_HAND_OUT_AGAIN, row["session_id"], following, now) is not None

    async def _tip(self, token: str, row: Any) -> str:
        """Derive the last token of the chain; each step may have been made under another live root secret."""
        for later in await self._database.reads.fetch(_LATER, row["session_id"], row["generation"]):
            candidates = [self._successor(token, key) for key in self._key.all]
            known = [each for each in candidates if later["digest"] in self._peppers.possible(each)]
            if not known:
                raise RefreshTokenInvalid  # made under a root secret that is gone
            token = known[0]
        return token

    async def _revoke(self, row: Any, origin: Origin) -> None:
        """End the session, commit, and only then refuse: a refusal must not roll its own work back (rule 4)."""
        async with self._database.transaction() as session:
            ended = await service.end(session, origin, row["session_id"], user_id=row["user_id"], reason=REUSED)
        if ended:
            metrics.count_attempt(method="refresh_token", outcome=REUSED)
        raise RefreshTokenReused

    def _possible(self, token: str) -> list[str]:
        return self._peppers.possible(token) if token.isascii() and len(token) <= LONGEST else []

    @staticmethod
    def _successor(token: str, key: bytes) -> str:
        derived = hmac.digest(key, token.encode(), "sha256")
        return PREFIX + base64.urlsafe_b64encode(derived).rstrip(b"=").decode()


def is_well_formed(token: str) -> bool:
    """Whether a token looks like one of ours, whoever made it."""
    return bool(_FORM.match(token))


def _login(row: Any) -> service.Login:
    return service.Login(
        session_id=row["session_id"],
        amr=tuple(row["amr"]),
        acr=row["acr"],
        auth_time=row["auth_time"],
        expires_at=row["expires_at"],
    )
