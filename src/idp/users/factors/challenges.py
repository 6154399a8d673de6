"""Challenges that an authenticator signs (WebAuthn Level 3 section 13.4.3): not stored before they are used.

A challenge is an expiry and random bytes with a keyed digest over them, its purpose and its user. Using one stores its
digest until it expires, so that it is used once, also of two concurrent uses.
"""

import hashlib
import hmac
import secrets
from datetime import UTC, datetime, timedelta
from typing import Literal

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from idp import clock
from idp.errors import PasskeyRejected
from idp.signing.proof_keys import ProofKeys
from idp.users.factors.models import UsedChallengeRow

Purpose = Literal["register", "sign-in", "second-factor"]
LIFE = timedelta(minutes=30)  # a sign-in page may stay open
_TIME, _RANDOM, _DIGEST = 8, 24, 32  # bytes


class Challenges:
    """Makes and uses challenges.

    Args:
        proofs: keys of unstored proofs.
    """

    def __init__(self, proofs: ProofKeys) -> None:
        self._key = proofs.of("webauthn")

    def new(self, purpose: Purpose, user_id: str | None = None) -> bytes:
        """Return a challenge.

        Args:
            purpose: what its signature is for.
            user_id: whose; None if the signature tells who it is.
        """
        end = int((clock.now() + LIFE).timestamp())
        body = end.to_bytes(_TIME) + secrets.token_bytes(_RANDOM)
        return body + _digest(self._key.current, body, purpose, user_id)

    def user_handle(self, user_id: str) -> bytes:
        """Return what authenticators keep instead of the user's id (section 5.4.3): it tells nothing about the user."""
        return _digest(self._key.current, b"", "user-handle", user_id)

    async def use(self, session: AsyncSession, challenge: bytes, purpose: Purpose, user_id: str | None = None) -> None:
        """Use a challenge up, in the caller's transaction.

        Raises:
            PasskeyRejected: it is of another purpose or user, expired, or used already.
        """
        body, presented = challenge[:-_DIGEST], challenge[-_DIGEST:]
        genuine = any(hmac.compare_digest(presented, _digest(key, body, purpose, user_id)) for key in self._key.all)
        if not genuine or len(body) != _TIME + _RANDOM:
            raise PasskeyRejected("The challenge is not one of this service for this purpose.")
        end = datetime.fromtimestamp(int.from_bytes(body[:_TIME]), UTC)
        if end <= clock.now():
            raise PasskeyRejected("The challenge has expired: begin again.")
        used = insert(UsedChallengeRow).values(digest=hashlib.sha256(challenge).hexdigest(), expires_at=end)
        if (await session.execute(used.on_conflict_do_nothing().returning(UsedChallengeRow.digest))).first() is None:
            raise PasskeyRejected("The challenge was used before: begin again.")


def _digest(key: bytes, body: bytes, purpose: str, user_id: str | None) -> bytes:
    about = f"{purpose}:{'' if user_id is None else 'user:' + user_id}".encode()
    return hmac.digest(key, body + about, "sha256")
