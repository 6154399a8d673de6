"""The key ring: our signing keys, in the database, rotated in stages.

A new key is published first and signs only from `signs_from`, when every verifier has had time to fetch the JWKS; the
one before it stays published for as long as a token it signed can live (SEC-31). Private keys are sealed under the root
secret; a row that no live root secret opens is neither used nor published, so writing rows alone adds no key. Where
AUTH_JWT_SECRET_KEY stood in as the root secret it stays a live one (C-06c): whoever shares it and can write rows could.
"""

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec
import structlog
from joserfc.jwk import ECKey, RSAKey
from msgspec import Struct
from sqlalchemy import Update, or_, select, text, update

from idp import clock
from idp.db.engine import Database
from idp.errors import DatabaseUnavailable, SigningKeysSealed
from idp.signing.models import SigningKeyRow
from idp.signing.sealing import Purpose, Sealer

log = structlog.get_logger("idp.signing")

Algorithm = Literal["ES256", "RS256"]
PrivateKey = ECKey | RSAKey

PUBLISH_BEFORE_USE = timedelta(minutes=10)  # longer than a verifier may cache the JWKS (`max-age` of our answer)
KEEP_AFTER_USE = timedelta(hours=13)  # longer than any token lives: 1 h in production, 12 h under `idp dev`
_RELOAD_SECONDS = 60.0  # how often each process looks for keys that another one made
_COOL_DOWN_SECONDS = 2.0  # at most one look per cool-down for unknown `kid`s, however many come (SEC-22)
_RETRY_SECONDS = 0.5  # after a look that failed, so that whoever waited for it does not wait for one of their own
_LOCK = 0x1D9_4E75
_PURPOSE: Purpose = "signing-key"


class SigningKey(Struct, frozen=True):
    """An opened key. `key` and `private_key` hold the private part and never leave `idp.signing`."""

    kid: str
    algorithm: Algorithm
    key: PrivateKey
    signs_from: datetime
    expires_at: datetime | None
    private_key: Any  # of `cryptography`, as the next one: for signing
    public_key: Any  # for verifying

    def __repr__(self) -> str:
        return f"SigningKey({self.kid})"


class KeyStatus(Struct, frozen=True):
    """A published key, for people.

    Attributes:
        status: `announced` signs later, `signing` signs now, `retiring` verifies the tokens it has signed.
        signs_from: when it signs, or began to.
        expires_at: when it leaves the JWKS, None while it is not to be replaced.
        jwk: its public part (RFC 7517).
    """

    kid: str
    algorithm: Algorithm
    status: Literal["announced", "signing", "retiring"]
    signs_from: datetime
    expires_at: datetime | None
    jwk: dict[str, Any]


class Keyring:
    """All our keys, kept in memory and read again every minute.

    Args:
        database: where they are.
        sealer: opens their private parts.
        algorithm: of new keys.
        epoch: rises when somebody changed the keys; then they are read again before the next use.
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
        self._signers: list[SigningKey] = []  # those that may sign in their time, the one to be preferred first
        self._sealed = False  # whether there are keys that no live root secret opens
        self._loaded = 0.0
        self._failed = float("-inf")
        self._lock = asyncio.Lock()

    async def signing_key(self) -> SigningKey:
        """Return the key that signs now; make the first one if there is none.

        Raises:
            SigningKeysSealed: there are keys, and no live root secret opens any of them: nothing is made silently.
            DatabaseUnavailable: it had to be read or made and PostgreSQL is away.
        """
        if self._age() >= _RELOAD_SECONDS:
            await self._refresh(_RELOAD_SECONDS)
        key = self._current()
        if key is None:
            if self._sealed and not self._keys:
                raise SigningKeysSealed
            await self._add(signs_from=clock.now(), only_if_none=True)
            await self._refresh(0)
            key = self._current()
            assert key is not None
        return key

    async def probe(self) -> str | None:
        """Return why tokens cannot be signed although the database answers, None where they can."""
        try:
            await self.signing_key()
        except SigningKeysSealed as error:
            return f"{error.text} {error.remedy}"
        except DatabaseUnavailable:
            pass  # another probe says so
        return None

    async def verification_key(self, kid: str) -> SigningKey | None:
        """Return the key of this id, None where there is none.

        Looks into the database once a minute, so that a key that was ended elsewhere ends here too; for unknown ids at
        most once a cool-down.

        Raises:
            DatabaseUnavailable: it had to look and PostgreSQL is away.
        """
        good_for = _RELOAD_SECONDS if kid in self._keys else _COOL_DOWN_SECONDS
        if self._age() >= good_for:
            await self._refresh(good_for)
        key = self._keys.get(kid)
        return None if key is None or (key.expires_at and key.expires_at <= clock.now()) else key

    async def jwks(self) -> dict[str, Any]:
        """Return the public keys (RFC 7517 section 5), those that will sign soon included."""
        return {"keys": [public_jwk(key.key, key.algorithm) for key in (await self._published())[1]]}

    async def list_keys(self) -> list[KeyStatus]:
        """Return the published keys with their dates, the newest first."""
        signing, published = await self._published()
        now = clock.now()
        return [
            KeyStatus(
                key.kid,
                key.algorithm,
                "signing" if key is signing else "announced" if key.signs_from > now else "retiring",
                key.signs_from,
                key.expires_at,
                public_jwk(key.key, key.algorithm),
            )
            for key in sorted(published, key=lambda key: key.signs_from, reverse=True)
        ]

    async def _published(self) -> tuple[SigningKey, list[SigningKey]]:
        """Return the key that signs now, and all that the JWKS shows."""
        signing = await self.signing_key()
        now = clock.now()
        return signing, [key for key in self._keys.values() if key.expires_at is None or key.expires_at > now]

    async def rotate(self, *, at_once: bool = False) -> str:
        """Publish a new key, which signs after `PUBLISH_BEFORE_USE`, and let the present one expire.

        Args:
            at_once: sign with it immediately and end every earlier key, for a key that has leaked: whoever holds it
                could go on making tokens. Access tokens have to be refreshed; other processes follow as soon as they
                hear of it, within a minute at the latest, and verifiers that cached the JWKS when they fetch it again.

        Returns:
            The new key's id.
        """
        kid = await self._add(signs_from=clock.now() + (timedelta(0) if at_once else PUBLISH_BEFORE_USE), end=at_once)
        await self._refresh(0)
        assert kid is not None
        return kid

    def _current(self) -> SigningKey | None:
        now = clock.now()
        for key in self._signers:
            if key.signs_from <= now and (key.expires_at is None or key.expires_at > now):
                return key
        return None

    async def _refresh(self, older_than: float) -> None:
        async with self._lock:  # single flight: whoever waited finds the keys fresh
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
        self._keys, self._signers = opened, _preferred(self._algorithm, opened.values())
        self._sealed = len(opened) < len(rows)
        self._loaded, self._loaded_in = _monotonic(), epoch

    def _open(self, row: SigningKeyRow) -> SigningKey | None:
        known = self._keys.get(row.kid)
        if known is not None:
            return msgspec.structs.replace(known, expires_at=row.expires_at)
        private = self._sealer.open(row.sealed_private_jwk, purpose=_PURPOSE)
        if private is None:
            log.error(
                "signing key sealed under another root secret: its tokens are refused; "
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

    async def _add(self, *, signs_from: datetime, only_if_none: bool = False, end: bool = False) -> str | None:
        key = await asyncio.to_thread(generate, self._algorithm)
        kid = key.thumbprint()
        private = msgspec.json.encode(key.as_dict(private=True))
        async with self._database.transaction() as session:
            await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            if only_if_none and await self._exists(session):
                return None
            await session.execute(_ending_all(signs_from) if end else self._ending_the_present(signs_from))
            session.add(
                SigningKeyRow(
                    kid=kid,
                    algorithm=self._algorithm,
                    public_jwk=public_jwk(key, self._algorithm),
                    sealed_private_jwk=self._sealer.seal(private, purpose=_PURPOSE),
                    signs_from=signs_from,
                )
            )
        return kid

    def _ending_the_present(self, successor_signs_from: datetime) -> Update:
        present = SigningKeyRow.expires_at.is_(None), SigningKeyRow.algorithm == self._algorithm
        return update(SigningKeyRow).where(*present).values(expires_at=successor_signs_from + KEEP_AFTER_USE)

    async def _exists(self, session: Any) -> bool:
        """Whether another process made a key that we can open, since we last looked."""
        rows = await session.scalars(select(SigningKeyRow).where(SigningKeyRow.algorithm == self._algorithm))
        now = clock.now()
        return any(
            self._sealer.open(row.sealed_private_jwk, purpose=_PURPOSE) is not None
            and row.signs_from <= now
            and (row.expires_at is None or row.expires_at > now)
            for row in rows
        )


async def all_sealed(database: Database, sealer: Sealer) -> bool:
    """Whether there are live signing keys and none of them can be opened.

    Raises:
        DatabaseUnavailable: PostgreSQL is away.
    """
    alive = or_(SigningKeyRow.expires_at.is_(None), SigningKeyRow.expires_at > clock.now())
    async with database.transaction() as session:
        sealed = list(await session.scalars(select(SigningKeyRow.sealed_private_jwk).where(alive)))
    return bool(sealed) and all(sealer.open(each, purpose=_PURPOSE) is None for each in sealed)


def _ending_all(now: datetime) -> Update:
    alive = or_(SigningKeyRow.expires_at.is_(None), SigningKeyRow.expires_at > now)
    return update(SigningKeyRow).where(alive).values(expires_at=now)


def _preferred(algorithm: Algorithm, keys: Iterable[SigningKey]) -> list[SigningKey]:
    """Return the keys of an algorithm: the newest first, and last what is to expire.

    Such a key signs only while nothing else can: its tokens must not outlive it.
    """
    fitting = (key for key in keys if key.algorithm == algorithm)
    return sorted(fitting, key=lambda key: (key.expires_at is None, key.signs_from), reverse=True)


def _monotonic() -> float:
    return asyncio.get_running_loop().time()


def generate(algorithm: Algorithm) -> PrivateKey:
    """Return a fresh key: P-256 for ES256, 3072 bits for RS256."""
    if algorithm == "ES256":
        return ECKey.generate_key("P-256", private=True)
    return RSAKey.generate_key(3072, private=True)


def public_jwk(key: PrivateKey, algorithm: Algorithm) -> dict[str, Any]:
    """Return the public part, as the JWKS shows it."""
    return {**key.as_dict(private=False), "kid": key.thumbprint(), "use": "sig", "alg": algorithm}
