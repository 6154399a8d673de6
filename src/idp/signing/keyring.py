"""The key ring: signing keys of two algorithms in the database, with staged rotation.

ES256 (or the configured algorithm) signs access tokens, RS256 ID tokens unless the client chose another (OpenID Connect
Core section 15.1 requires it); both are published, so that a verifier which caches the JWKS knows every key.

A new key is published first and signs only from `signs_from`, after every verifier had time to fetch the JWKS; the
previous key stays published for the maximum lifetime of its tokens (SEC-31). Private keys are encrypted under the root
secret; a row that no live root secret decrypts is neither used nor published, so write access to the table does not add
a key. If AUTH_JWT_SECRET_KEY was used as the root secret it stays live (C-06c), so its holders with write access could.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import msgspec
import structlog
from joserfc.jwk import ECKey, RSAKey
from sqlalchemy import Update, func, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from idp import clock
from idp.db.engine import Database
from idp.errors import DatabaseUnavailable, SigningKeyNotFound, SigningKeysSealed
from idp.ops import metrics
from idp.signing.models import SigningKeyRow
from idp.signing.sealing import Purpose, Sealer
from idp.signing.signing_key import ALGORITHMS, Algorithm, KeyStatus, PrivateKey, SigningKey, generate, public_jwk

log = structlog.get_logger("idp.signing")

PUBLISH_BEFORE_USE = timedelta(minutes=10)  # longer than the `max-age` of the JWKS
KEEP_AFTER_USE = timedelta(
    hours=13
)  # longer than the maximum lifetime of tokens: 1 h in production, 12 h under `idp dev`
_RELOAD_SECONDS = 60.0  # interval of reloading keys of other processes
_COOL_DOWN_SECONDS = 2.0  # at most one reload per cool-down for unknown `kid`s (SEC-22)
_RETRY_SECONDS = 0.5  # after a failed reload, so that its waiters do not retry one by one
_LOCK = 0x1D9_4E75
_PURPOSE: Purpose = "signing-key"

Also = Callable[[AsyncSession], Awaitable[None]]


class Keyring:
    """All signing keys, cached in memory and reloaded every minute.

    Args:
        database: stores them.
        sealer: decrypts private keys.
        algorithm: of access tokens.
        epoch: increases when the keys changed; they are then reloaded before the next use.
    """

    def __init__(
        self, database: Database, sealer: Sealer, algorithm: Algorithm, *, epoch: Callable[[], int] = lambda: 0
    ) -> None:
        self._epoch = epoch
        self._loaded_in = 0
        self._database = database
        self._sealer = sealer
        self._algorithm: Algorithm = algorithm
        self._keys: dict[str, SigningKey] = {}
        # Candidates for signing by algorithm, preferred first.
        self._signers: dict[Algorithm, list[SigningKey]] = {}
        self._sealed = False  # whether there are keys that no live root secret decrypts
        self._loaded = 0.0
        self._failed = float("-inf")
        self._lock = asyncio.Lock()

    async def signing_key(self, algorithm: Algorithm | None = None) -> SigningKey:
        """Return the current signing key of an algorithm; create the first one if there is none.

        Args:
            algorithm: that of access tokens by default.

        Raises:
            SigningKeysSealed: there are keys, but no live root secret decrypts them; no key is created.
            DatabaseUnavailable: it must be read or created and PostgreSQL is unavailable.
        """
        algorithm = algorithm or self._algorithm
        key = self.loaded_key(algorithm)
        if key is not None:
            return key
        if self._age() >= _RELOAD_SECONDS:
            await self._refresh(_RELOAD_SECONDS)
        key = self._current(algorithm)
        if key is None:
            if self._sealed and not self._keys:
                raise SigningKeysSealed
            await self._create_first(algorithm)
            await self._refresh(0)
            key = self._current(algorithm)
            assert key is not None
        return key

    def loaded_key(self, algorithm: Algorithm | None = None) -> SigningKey | None:
        """Return what `signing_key` returns if nothing has to be read for it, else None."""
        return self._current(algorithm or self._algorithm) if self._age() < _RELOAD_SECONDS else None

    async def signing_keys(self) -> dict[Algorithm, SigningKey]:
        """Return the current signing key of each algorithm; raises as `signing_key`."""
        return {each: await self.signing_key(each) for each in ALGORITHMS}

    async def probe(self) -> str | None:
        """Return why tokens cannot be signed although the database answers, else None."""
        try:
            await self.signing_key()
        except SigningKeysSealed as error:
            return f"{error.text} {error.remedy}"
        except DatabaseUnavailable:
            pass  # reported by another probe
        return None

    async def verification_key(self, kid: str) -> SigningKey | None:
        """Return the key with this id, or None.

        Reloads once a minute, to notice keys revoked by other processes; for unknown ids at most once per cool-down.

        Raises:
            DatabaseUnavailable: a reload was needed and PostgreSQL is unavailable.
        """
        good_for = _RELOAD_SECONDS if kid in self._keys else _COOL_DOWN_SECONDS
        if self._age() >= good_for:
            await self._refresh(good_for)
        key = self._keys.get(kid)
        return None if key is None or (key.expires_at and key.expires_at <= clock.now()) else key

    async def jwks(self) -> dict[str, Any]:
        """Return the public keys (RFC 7517 section 5), including those that sign soon."""
        return {"keys": [public_jwk(key.key, key.algorithm) for key in (await self._published())[1]]}

    async def list_keys(self) -> list[KeyStatus]:
        """Return the published keys with their dates, newest first."""
        signing, published = await self._published()
        now = clock.now()
        return [
            KeyStatus(
                key.kid,
                key.algorithm,
                "signing"
                if key.kid == signing[key.algorithm].kid
                else "announced"
                if key.signs_from > now
                else "retiring",
                key.signs_from,
                key.expires_at,
                public_jwk(key.key, key.algorithm),
            )
            for key in sorted(published, key=lambda key: key.signs_from, reverse=True)
        ]

    async def _published(self) -> tuple[dict[Algorithm, SigningKey], list[SigningKey]]:
        """Return the current signing keys, and all published keys."""
        signing = await self.signing_keys()
        now = clock.now()
        return signing, [key for key in self._keys.values() if key.expires_at is None or key.expires_at > now]

    async def rotate(self, *algorithms: Algorithm, at_once: bool = False, also: Also | None = None) -> list[str]:
        """Publish new keys, which sign after `PUBLISH_BEFORE_USE`, and schedule the expiry of the current ones.

        Args:
            algorithms: which keys; those of all algorithms by default.
            at_once: sign with them immediately and revoke every earlier key, after a leak. Access tokens must be
            refreshed; other processes follow on notification, within a minute at the latest, and verifiers at their
            next fetch of the JWKS.
            also: runs first in the same transaction, such as a check of the caller and an audit record.

        Returns:
            The new keys' ids.
        """
        signs_from = clock.now() + (timedelta(0) if at_once else PUBLISH_BEFORE_USE)
        made = await self._make_all(algorithms or ALGORITHMS, signs_from)
        async with self._locked() as session:
            if also is not None:
                await also(session)
            if at_once:
                await session.execute(_expire_all(signs_from))
            await self._publish(session, made)
        await self._refresh(0)
        return list(made)

    async def rotate_due(self, max_age: timedelta) -> list[str]:
        """Publish new keys for those that have signed longer than `max_age`, unless that was done already.

        Any number of processes may call it at once: each checks the age once more while it holds the lock.

        Returns:
            The new keys' ids.
        """
        now = clock.now()
        current = await self.signing_keys()
        due = [each for each, key in current.items() if key.signs_from <= now - max_age and key.expires_at is None]
        if not due:
            return []
        made = await self._make_all(due, now + PUBLISH_BEFORE_USE)
        async with self._locked() as session:
            newest = await session.execute(
                select(SigningKeyRow.algorithm, func.max(SigningKeyRow.signs_from)).group_by(SigningKeyRow.algorithm)
            )
            rotated = {algorithm for algorithm, signs_from in newest if signs_from > now - max_age}
            made = {kid: row for kid, row in made.items() if row.algorithm not in rotated}
            await self._publish(session, made)
        await self._refresh(0)
        return list(made)

    async def retire(self, kid: str, *, at_once: bool = False, also: Also | None = None) -> str | None:
        """Replace a key: publish a successor of the one that signs, or withdraw an announced one.

        A key that has a successor expires already, when no living token carries it any more.

        Args:
            kid: the key.
            at_once: revoke it now, with every token that it has signed, after a leak; a new key signs at once.
            also: as for `rotate`.

        Returns:
            The id of the successor; None if none was needed.

        Raises:
            SigningKeyNotFound: no published key has this id.
        """
        signing, published = await self._published()
        key = next((each for each in published if each.kid == kid), None)
        if key is None:
            raise SigningKeyNotFound
        now = clock.now()
        is_announced, signs = key.signs_from > now, key.kid == signing[key.algorithm].kid
        if signs and not at_once:
            return (await self.rotate(key.algorithm, also=also))[0]
        made = await self._make_all([key.algorithm] if signs else [], now)
        async with self._locked() as session:
            if also is not None:
                await also(session)
            if at_once or is_announced:
                of_key = SigningKeyRow.kid == kid
                await session.execute(update(SigningKeyRow).where(of_key).values(expires_at=now))
            if is_announced and not any(each.signs_from > now for each in published if each is not key):
                # The one that signs goes on.
                current = SigningKeyRow.kid == signing[key.algorithm].kid
                await session.execute(update(SigningKeyRow).where(current).values(expires_at=None))
            await self._publish(session, made)
        await self._refresh(0)
        return next(iter(made), None)

    async def _make_all(self, algorithms: Iterable[Algorithm], signs_from: datetime) -> dict[str, SigningKeyRow]:
        """Generate keys, by id, that are not stored yet."""
        made = [await asyncio.to_thread(self._make, each, signs_from) for each in algorithms]
        return {row.kid: row for row in made}

    async def _publish(self, session: AsyncSession, made: dict[str, SigningKeyRow]) -> None:
        """Store keys, and schedule the expiry of those that they replace."""
        for row in made.values():
            await session.execute(_expire_current(row.algorithm, row.signs_from))
        session.add_all(made.values())

    def _current(self, algorithm: Algorithm) -> SigningKey | None:
        now = clock.now()
        for key in self._signers.get(algorithm, ()):
            if key.signs_from <= now and (key.expires_at is None or key.expires_at > now):
                return key
        return None

    async def _refresh(self, older_than: float) -> None:
        async with self._lock:  # single-flight: waiters find fresh keys
            if self._age() < older_than:
                return
            if _monotonic() - self._failed < _RETRY_SECONDS:
                raise DatabaseUnavailable
            try:
                await self._load()
            except DatabaseUnavailable:
                self._failed = _monotonic()
                raise

    def _age(self) -> float:
        if not self._loaded or self._loaded_in != self._epoch():
            return float("inf")
        return _monotonic() - self._loaded

    async def _load(self) -> None:
        now, epoch = clock.now(), self._epoch()
        alive = or_(SigningKeyRow.expires_at.is_(None), SigningKeyRow.expires_at > now)
        async with self._database.transaction() as session:
            rows = list(await session.scalars(select(SigningKeyRow).where(alive)))
        opened = {row.kid: key for row in rows if (key := self._open(row))}
        self._keys = opened
        self._signers = {each: _in_signing_order(each, opened.values()) for each in ALGORITHMS}
        self._sealed = len(opened) < len(rows)
        self._loaded, self._loaded_in = _monotonic(), epoch
        for algorithm in ALGORITHMS:
            if (current := self._current(algorithm)) is not None:
                metrics.set_signing_key(algorithm, current.signs_from.timestamp())

    def _open(self, row: SigningKeyRow) -> SigningKey | None:
        known = self._keys.get(row.kid)
        if known is not None:
            return msgspec.structs.replace(known, expires_at=row.expires_at)
        private = self._sealer.open(row.sealed_private_jwk, purpose=_PURPOSE)
        if private is None:
            log.error(
                "signing key encrypted under another root secret: its tokens are refused; "
                "put that secret into IDP_PREVIOUS_SECRET_KEYS",
                kid=row.kid,
            )
            return None
        data = msgspec.json.decode(private)
        key: PrivateKey = ECKey.import_key(data) if data["kty"] == "EC" else RSAKey.import_key(data)
        algorithm: Algorithm = "ES256" if data["kty"] == "EC" else "RS256"
        return SigningKey(
            row.kid,
            algorithm,
            key,
            row.signs_from,
            row.expires_at,
            private_key=key.private_key,
            public_key=key.public_key,
        )

    async def _create_first(self, algorithm: Algorithm) -> None:
        """Create a key that signs at once, unless another process has."""
        now = clock.now()
        row = await asyncio.to_thread(self._make, algorithm, now)
        async with self._locked() as session:
            if not await self._exists(session, algorithm):
                await self._publish(session, {row.kid: row})

    def _make(self, algorithm: Algorithm, signs_from: datetime) -> SigningKeyRow:
        key = generate(algorithm)
        private = msgspec.json.encode(key.as_dict(private=True))
        return SigningKeyRow(
            kid=key.thumbprint(),
            algorithm=algorithm,
            public_jwk=public_jwk(key, algorithm),
            sealed_private_jwk=self._sealer.seal(private, purpose=_PURPOSE),
            signs_from=signs_from,
        )

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[AsyncSession]:
        """Open a transaction that is the only one to change keys."""
        async with self._database.transaction() as session:
            await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            yield session

    async def _exists(self, session: AsyncSession, algorithm: Algorithm) -> bool:
        """Whether another process created a decryptable key since the last reload."""
        rows = await session.scalars(select(SigningKeyRow).where(SigningKeyRow.algorithm == algorithm))
        now = clock.now()
        return any(
            self._sealer.open(row.sealed_private_jwk, purpose=_PURPOSE) is not None
            and row.signs_from <= now
            and (row.expires_at is None or row.expires_at > now)
            for row in rows
        )


async def all_sealed(database: Database, sealer: Sealer) -> bool:
    """Whether there are live signing keys and none of them can be decrypted.

    Raises:
        DatabaseUnavailable: PostgreSQL is unavailable.
    """
    alive = or_(SigningKeyRow.expires_at.is_(None), SigningKeyRow.expires_at > clock.now())
    async with database.transaction() as session:
        sealed = list(await session.scalars(select(SigningKeyRow.sealed_private_jwk).where(alive)))
    return bool(sealed) and all(sealer.open(each, purpose=_PURPOSE) is None for each in sealed)


def _expire_current(algorithm: str, successor_signs_from: datetime) -> Update:
    present = SigningKeyRow.expires_at.is_(None), SigningKeyRow.algorithm == algorithm
    return update(SigningKeyRow).where(*present).values(expires_at=successor_signs_from + KEEP_AFTER_USE)


def _expire_all(now: datetime) -> Update:
    alive = or_(SigningKeyRow.expires_at.is_(None), SigningKeyRow.expires_at > now)
    return update(SigningKeyRow).where(alive).values(expires_at=now)


def _in_signing_order(algorithm: Algorithm, keys: Iterable[SigningKey]) -> list[SigningKey]:
    """Return the keys of an algorithm, newest first, expiring ones last.

    An expiring key signs only if there is no other, because its tokens must not outlive it.
    """
    fitting = (key for key in keys if key.algorithm == algorithm)
    return sorted(fitting, key=lambda key: (key.expires_at is None, key.signs_from), reverse=True)


def _monotonic() -> float:
    return time.clock_gettime(time.CLOCK_MONOTONIC)  # a tenth of `loop.time()`, which asks for the process id
