"""Refresh tokens: opaque, single use, rotated at each use; reuse ends the session (C-08; RFC 9700 section 4.14.2).

The tokens of a session form a chain. Each successor is derived from its predecessor under a key from the root secret.
So only digests are stored, and within the grace window an older token can return the newest one, by deriving forward. A
client that lost a response gets the successor later too, while it is unused
(`docs/decisions/0031-refresh-retry-returns-the-unused-successor.md`).
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
MAX_LENGTH = 512  # characters (S4-19)
_FORMAT = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}\Z")
REUSED = "refresh_token_reused"

# One statement, so that one of many concurrent requests succeeds, and a session that ends meanwhile gets no successor:
# PostgreSQL re-checks the updated rows after waiting for their locks.
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
    RETURNING s.id, s.user_id, s.idle_expires_at, s.expires_at, s.amr, s.acr, s.auth_time,
              s.client_sid, s.scopes, s.resources, s.claims
), successor AS (
    INSERT INTO idp.refresh_tokens (id, session_id, generation, digest, client_id, created_at, expires_at)
    SELECT $4, live.id, used.generation + 1, $5, $2, $3, live.idle_expires_at FROM used JOIN live ON true
)
SELECT id AS session_id, user_id, expires_at, amr, acr, auth_time, client_sid, scopes, resources, claims FROM live
"""
_FIND = """
SELECT t.session_id, t.generation, t.rotated_at, t.repeated_at, t.expires_at AS token_expires_at,
       s.user_id, s.ended_at, s.expires_at, s.amr, s.acr, s.auth_time, s.client_sid, s.scopes, s.resources, s.claims
  FROM idp.refresh_tokens t JOIN idp.user_sessions s ON s.id = t.session_id
 WHERE t.digest = ANY($1) AND t.client_id = $2
"""
_FIND_LATER = "SELECT digest FROM idp.refresh_tokens WHERE session_id = $1 AND generation > $2 ORDER BY generation"


# Only if it is unused; a concurrent retry and first use wait for each other.
_REISSUE_SUCCESSOR = """
UPDATE idp.refresh_tokens t SET repeated_at = $3
  FROM idp.user_sessions s
 WHERE t.session_id = $1 AND t.generation = $2 AND t.rotated_at IS NULL AND t.expires_at > $3
   AND s.id = t.session_id AND s.ended_at IS NULL AND s.expires_at > $3
RETURNING t.generation
"""


class Redeemed(Struct, frozen=True):
    """The result of a refresh: the last token of the chain, and the session; `grant` is None for our own tokens."""

    refresh_token: str
    user_id: str
    login: service.Login
    grant: service.AppGrant | None = None

    def __repr__(self) -> str:
        return f"Redeemed(session={self.login.session_id})"


class TokenOwner(Struct, frozen=True):
    """The session of a refresh token.

    Attributes:
        continues: whether it could be exchanged now.
    """

    session_id: UUID
    user_id: str
    continues: bool


class RefreshTokens:
    """Issues and rotates refresh tokens.

    Args:
        database: stores the digests.
        roots: root secrets, the current one first, for digests.
        proofs: keys for deriving successors.
        grace_seconds: time after its rotation in which a token returns the last one of its chain.
        allow_late_retry: whether a later retry returns the successor while that is unused.
    """

    def __init__(
        self,
        database: Database,
        roots: Sequence[Secret],
        proofs: ProofKeys,
        *,
        grace_seconds: float,
        allow_late_retry: bool = True,
    ) -> None:
        self._database = database
        self._peppers = Peppers(roots, "refresh-token")
        self._proofs = proofs
        self._key = proofs.of("refresh-token-successor")
        self._grace = timedelta(seconds=grace_seconds)
        self._allow_late_retry = allow_late_retry

    def new(self, *, client_id: str) -> tuple[str, service.FirstToken]:
        """Return the first token of a chain, and its record for `sessions.service.start`."""
        token = PREFIX + secrets.token_urlsafe(32)
        return token, service.FirstToken(self._peppers.digest(token).hex, client_id)

    async def session_of(self, token: str, *, client_id: str) -> TokenOwner | None:
        """Return the session and user of a token, whether active or not; None for an unknown one."""
        row = await self._find(token, client_id)
        if row is None:
            return None
        now = clock.now()
        ends = min(row["token_expires_at"], row["expires_at"])
        continues = row["rotated_at"] is None and row["ended_at"] is None and ends > now
        return TokenOwner(row["session_id"], row["user_id"], continues)

    async def redeem(self, token: str, origin: Origin, *, client_id: str) -> Redeemed:
        """Exchange a token for its successor.

        A retry within the grace window returns the last token of the chain; a later one the successor, if that is
        unused.

        Args:
            token: the presented token.
            origin: the request's origin, for the audit record.
            client_id: the client that the token must belong to.

        Raises:
            RefreshTokenInvalid: it is unknown, expired, another client's, or its session ended.
            RefreshTokenReused: it was used before the grace window, and its successor is used or was returned twice;
            the session with its chain was ended.
            DatabaseUnavailable: PostgreSQL is unavailable. A retry is safe.
        """
        await self._proofs.prepare()
        digests, now = self._possible(token), clock.now()
        successor = self._successor(token, self._key.current)
        digest = self._peppers.digest(successor).hex
        row = await self._database.reads.fetchrow(ROTATE, digests, client_id, now, uuid7(), digest)
        if row is not None:
            return Redeemed(successor, row["user_id"], _login(row), _grant(row))
        row = await self._find(token, client_id)
        if row is None or row["rotated_at"] is None or row["ended_at"] is not None or row["expires_at"] <= now:
            raise RefreshTokenInvalid
        if now - row["rotated_at"] > self._grace and not await self._reissue_successor(row, now):
            await self._revoke(row, origin)
        tip = await self._derive_tip(token, row)
        return Redeemed(tip, row["user_id"], _login(row), _grant(row))

    async def _find(self, token: str, client_id: str) -> Any:
        return await self._database.reads.fetchrow(_FIND, self._possible(token), client_id)

    async def _reissue_successor(self, row: Any, now: datetime) -> bool:
        """Whether a late retry may get the successor: it is unused, and this token was not returned twice.

        If it was, two clients may have it. One of them has just used it, so this request comes from the other.
        """
        if not self._allow_late_retry or row["repeated_at"] is not None:
            return False
        following = row["generation"] + 1
        return await self._database.reads.fetchrow(_REISSUE_SUCCESSOR, row["session_id"], following, now) is not None

    async def _derive_tip(self, token: str, row: Any) -> str:
        """Derive the last token of the chain; each step may use a different live root secret."""
        for later in await self._database.reads.fetch(_FIND_LATER, row["session_id"], row["generation"]):
            candidates = [self._successor(token, key) for key in self._key.all]
            known = [each for each in candidates if later["digest"] in self._peppers.possible(each)]
            if not known:
                raise RefreshTokenInvalid  # derived under a removed root secret
            token = known[0]
        return token

    async def _revoke(self, row: Any, origin: Origin) -> None:
        """End the session and commit, so that the later error does not roll it back (rule 4)."""
        async with self._database.transaction() as session:
            ended = await service.end(session, origin, row["session_id"], user_id=row["user_id"], reason=REUSED)
        if ended:
            metrics.count_attempt(method="refresh_token", outcome=REUSED)
        raise RefreshTokenReused

    def _possible(self, token: str) -> list[str]:
        return self._peppers.possible(token) if token.isascii() and len(token) <= MAX_LENGTH else []

    @staticmethod
    def _successor(token: str, key: bytes) -> str:
        derived = hmac.digest(key, token.encode(), "sha256")
        return PREFIX + base64.urlsafe_b64encode(derived).rstrip(b"=").decode()


def is_well_formed(token: str) -> bool:
    """Whether a token has our format."""
    return bool(_FORMAT.match(token))


def _grant(row: Any) -> service.AppGrant | None:
    if row["client_sid"] is None:
        return None
    return service.AppGrant(row["client_sid"], tuple(row["scopes"]), tuple(row["resources"]), tuple(row["claims"]))


def _login(row: Any) -> service.Login:
    return service.Login(
        session_id=row["session_id"],
        amr=tuple(row["amr"]),
        acr=row["acr"],
        auth_time=row["auth_time"],
        expires_at=row["expires_at"],
    )
