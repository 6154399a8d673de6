"""Authenticator apps (TOTP, RFC 6238): a code of the current time step, or of one before or after it, once.

A secret is stored when a code of it was confirmed; until then it is in an encrypted field of the form or the response.
"""

import hashlib
import hmac
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec
import pyotp
from msgspec import Struct
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from idp import clock
from idp.errors import EnrolmentExpired, SecondFactorChanged, SecondFactorInvalid
from idp.signing.sealing import Sealer

Algorithm = Literal["SHA1", "SHA256", "SHA512"]
_DIGESTS: dict[str, Any] = {"SHA1": hashlib.sha1, "SHA256": hashlib.sha256, "SHA512": hashlib.sha512}
ALGORITHMS = tuple(_DIGESTS)
DIGITS, PERIODS = (6, 7, 8), (15, 30, 60)  # of imported secrets
_DRIFT = 1  # time steps that the clock of a phone may be off
_ENROLMENT = timedelta(minutes=30)

_READ = text("SELECT secret, algorithm, digits, period, last_step FROM idp.totp_secrets WHERE user_id = :user_id")
_SINCE = text("SELECT created_at FROM idp.totp_secrets WHERE user_id = :user_id")
# The atomic consumption: of two requests with the same code one updates the row.
_CONSUME = text("""
UPDATE idp.totp_secrets SET last_step = :step, last_used_at = :now, secret = :secret
 WHERE user_id = :user_id AND last_step < :step RETURNING 1
""")
# Only in the state that the enrolment began with: of two enrolments at once one is stored.
_STORE = text("""
INSERT INTO idp.totp_secrets (user_id, secret, algorithm, digits, period, last_step, created_at, last_used_at)
SELECT CAST(:user_id AS text), :secret, :algorithm, :digits, :period, :step, :now, :now
 WHERE CAST(:seen AS timestamptz) IS NULL
    OR EXISTS (SELECT FROM idp.totp_secrets WHERE user_id = :user_id AND created_at = :seen)
ON CONFLICT (user_id) DO UPDATE
   SET secret = excluded.secret, algorithm = excluded.algorithm, digits = excluded.digits, period = excluded.period,
       last_step = excluded.last_step, created_at = excluded.created_at, last_used_at = excluded.last_used_at
 WHERE totp_secrets.created_at = :seen
RETURNING 1
""")
_REMOVE = text("DELETE FROM idp.totp_secrets WHERE user_id = :user_id RETURNING 1")


class TotpSecret(Struct, frozen=True):
    """A shared secret and how its codes are computed. `repr` hides it.

    Attributes:
        secret: base32.
        period: of a time step, in seconds.
    """

    secret: str
    algorithm: Algorithm = "SHA1"
    digits: int = 6
    period: int = 30

    def __repr__(self) -> str:
        return "TotpSecret(hidden)"

    def step(self, code: str, *, now: datetime) -> int | None:
        """Return the time step that a code belongs to; None if it is none of the current ones."""
        app, current = self._app(), int(now.timestamp()) // self.period
        steps = range(current - _DRIFT, current + _DRIFT + 1)
        matching = [step for step in steps if hmac.compare_digest(app.generate_otp(step).encode(), code.encode())]
        return max(matching, default=None)

    def uri(self, *, account: str, issuer: str) -> str:
        """Return the URI that a QR code has for authenticator apps."""
        return self._app().provisioning_uri(name=account, issuer_name=issuer)

    def _app(self) -> pyotp.TOTP:
        return pyotp.TOTP(self.secret, digits=self.digits, digest=_DIGESTS[self.algorithm], interval=self.period)


class TotpEnrolment(Struct, frozen=True):
    """A secret that is shown to its user and not stored yet. `repr` hides it.

    Attributes:
        secret: base32, for typing.
        uri: for a QR code.
        sealed: the enrolment, encrypted; comes back with a code.
    """

    secret: str
    uri: str
    sealed: str

    def __repr__(self) -> str:
        return "TotpEnrolment(hidden)"


class _Waiting(Struct, frozen=True):
    """What is encrypted; `seen` is when the secret was stored that this one replaces, None without one."""

    user_id: str
    secret: str
    seen: datetime | None
    expires_at: datetime


class Totp:
    """Enrols and checks authenticator apps. Every function but `show` works in the caller's transaction.

    Args:
        sealer: encrypts secrets.
        issuer: the service's name in the app.
    """

    def __init__(self, sealer: Sealer, *, issuer: str) -> None:
        self._sealer = sealer
        self._issuer = issuer

    async def begin(self, session: AsyncSession, user_id: str, *, account: str) -> TotpEnrolment:
        """Return a new secret for a user; nothing is stored.

        Args:
            session: the caller's transaction.
            user_id: the user.
            account: their name in the app, such as the e-mail address.
        """
        seen = await session.scalar(_SINCE, {"user_id": user_id})
        waiting = _Waiting(user_id, pyotp.random_base32(), seen, clock.now() + _ENROLMENT)
        return self._shown(waiting, self._sealer.seal(msgspec.json.encode(waiting), purpose="totp-enrolment"), account)

    def show(self, sealed: str, user_id: str, *, account: str) -> TotpEnrolment:
        """Return an enrolment again, after a wrong code.

        Raises:
            EnrolmentExpired: it is too old, or of another user.
        """
        return self._shown(self._open(sealed, user_id), sealed, account)

    def _shown(self, waiting: _Waiting, sealed: str, account: str) -> TotpEnrolment:
        uri = TotpSecret(waiting.secret).uri(account=account, issuer=self._issuer)
        return TotpEnrolment(waiting.secret, uri, sealed)

    async def enrol(self, session: AsyncSession, user_id: str, sealed: str, code: str) -> bool:
        """Store the secret of an enrolment, whose first code is then used up; return whether it replaced another.

        Raises:
            EnrolmentExpired: it is too old, or of another user.
            SecondFactorInvalid: the code is wrong.
            SecondFactorChanged: another enrolment was faster, or the app was removed meanwhile.
        """
        waiting, now = self._open(sealed, user_id), clock.now()
        secret = TotpSecret(waiting.secret)
        step = secret.step(only_code(code), now=now)
        if step is None:
            raise SecondFactorInvalid
        if not await self._store(session, user_id, secret, step=step, seen=waiting.seen, now=now):
            raise SecondFactorChanged
        return waiting.seen is not None

    async def add(self, session: AsyncSession, user_id: str, secret: TotpSecret) -> bool:
        """Store the secret of another service, for imports; False if the user has one."""
        return await self._store(session, user_id, secret, step=0, seen=None, now=clock.now())

    async def _store(
        self,
        session: AsyncSession,
        user_id: str,
        secret: TotpSecret,
        *,
        step: int,
        seen: datetime | None,
        now: datetime,
    ) -> bool:
        values = {
            "user_id": user_id,
            "secret": self._sealer.seal(secret.secret.encode(), purpose="totp"),
            "algorithm": secret.algorithm,
            "digits": secret.digits,
            "period": secret.period,
            "step": step,
            "seen": seen,
            "now": now,
        }
        return (await session.execute(_STORE, values)).first() is not None

    async def check(self, session: AsyncSession, user_id: str, code: str) -> bool:
        """Use a code up; False if it is wrong, too old, used, or the user has no app."""
        row = (await session.execute(_READ, {"user_id": user_id})).one_or_none()
        opened = self._sealer.open(row.secret, purpose="totp") if row is not None else None
        if row is None or opened is None:
            return False
        now = clock.now()
        step = TotpSecret(opened.decode(), row.algorithm, row.digits, row.period).step(code, now=now)
        if step is None:
            return False
        # With each use the secret moves to the current root secret, so that an earlier one can be removed (C-06c).
        secret = row.secret if self._sealer.is_current(row.secret) else self._sealer.seal(opened, purpose="totp")
        consumed = await session.execute(_CONSUME, {"user_id": user_id, "step": step, "now": now, "secret": secret})
        return consumed.first() is not None

    async def remove(self, session: AsyncSession, user_id: str) -> bool:
        """Remove the app of a user; False if there is none."""
        return (await session.execute(_REMOVE, {"user_id": user_id})).first() is not None

    def _open(self, sealed: str, user_id: str) -> _Waiting:
        opened = self._sealer.open(sealed, purpose="totp-enrolment")
        waiting = msgspec.json.decode(opened, type=_Waiting) if opened is not None else None
        if waiting is None or waiting.user_id != user_id or waiting.expires_at <= clock.now():
            raise EnrolmentExpired
        return waiting


def only_code(entered: str) -> str:
    """Return a code as it was entered, without spaces and hyphens."""
    return "".join(each for each in entered if not each.isspace() and each != "-").lower()
