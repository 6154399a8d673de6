"""The verdict cache in memory and in Valkey, and the check that makes it safe to use (rule 5, decision 0011).

A verdict carries the stamp of the statement that read it. It may be used only while this process receives change
notifications (a valid lease), and only if its stamp includes every notified change of its credential and its user. A
successful check holds until the next notification, so the usual check is one comparison of integers.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from idp import clock, errors
from idp.authn.shapes import kind_of
from idp.cache import SharedCache
from idp.db.change_source import ChangeSource, boottime
from idp.db.snapshot import Stamp
from idp.errors import IdpError
from idp.principal.model import Principal

NEGATIVE_SECONDS = 2.0
_MAC = 16  # bytes before a shared verdict


class Verdict:
    """Either a principal or an error; exactly one of them is set.

    Attributes:
        principal: the caller.
        error: the reason of the rejection.
        key: the row id of the API key or service token, for `last_used_at`.
        session: the row id of the session, for `last_seen_at`.
        encodings: cached response bodies by name.
        kind, method, outcome: labels for metrics.
        hint: whether any of it came from Valkey; changes and management then need confirmation by the database.
    """

    __slots__ = ("encodings", "error", "hint", "key", "kind", "method", "outcome", "principal", "session")

    def __init__(
        self,
        principal: Principal | None = None,
        error: IdpError | None = None,
        key: UUID | None = None,
        *,
        hint: bool = False,
    ) -> None:
        self.hint = hint
        self.principal = principal
        self.error = error
        self.key = key
        self.encodings: dict[str, bytes] = {}
        self.kind = kind_of(principal) if principal else "none"
        session_id = principal.credential.session_id if principal else None
        self.session = UUID(session_id) if session_id else None
        self.method: str = principal.credential.method if principal else "unknown"
        self.outcome = error.code if error else "authenticated"

    @property
    def unknown(self) -> bool:
        """Whether the credential could not be checked: 503, never "invalid"."""
        return self.error is not None and self.error.status >= 500

    def encoded(self, name: str, encode: Callable[["Verdict"], bytes]) -> bytes:
        """Return a response body, encoded once."""
        body = self.encodings.get(name)
        if body is None:
            body = self.encodings[name] = encode(self)
        return body


class Entry:
    """A cache entry in memory.

    Attributes:
        stamp: of the statement that read it; None for an unknown credential, which depends on no row.
        depends_on: its dependencies.
        good_until: expiry of the entry or the credential (seconds since 1970).
        version: `Changes.version` at the last check.
        signing: `Changes.signing` when its signature was verified; None without a signature.
        read_version: `Changes.version` when the statement was sent; -1 if another process sent it.
        read_at: when it was decided (seconds since 1970).
    """

    __slots__ = ("depends_on", "good_until", "read_at", "read_version", "signing", "stamp", "verdict", "version")

    def __init__(
        self,
        verdict: Verdict,
        stamp: Stamp | None,
        depends_on: tuple[str, ...],
        good_until: float,
        signing: int | None = None,
        *,
        read_version: int = -1,
        read_at: float = 0.0,
    ) -> None:
        self.signing = signing
        self.read_at = read_at
        self.read_version = read_version
        self.verdict = verdict
        self.stamp = stamp
        self.depends_on = depends_on
        self.good_until = good_until
        self.version = -1


class _Generations:
    """A bounded dictionary that drops entries not used recently, without work at each access."""

    def __init__(self, size: int) -> None:
        self._half = max(1, size // 2)
        self._young: dict[bytes, Entry] = {}
        self._old: dict[bytes, Entry] = {}

    def get(self, name: bytes) -> Entry | None:
        entry = self._young.get(name)
        if entry is None:
            entry = self._old.pop(name, None)
            if entry is not None:
                self.put(name, entry)
        return entry

    def put(self, name: bytes, entry: Entry) -> None:
        if len(self._young) >= self._half:
            self._old, self._young = self._young, {}
        self._young[name] = entry

    def drop(self, name: bytes) -> None:
        self._young.pop(name, None)
        self._old.pop(name, None)

    def __len__(self) -> int:
        return len(self._young) + len(self._old)


class _Shared(Struct, frozen=True, array_like=True):
    """A verdict in Valkey."""

    instance: str
    snapshot: str
    depends_on: tuple[str, ...]
    good_until: float
    key: UUID | None
    principal: Principal | None
    error: tuple[str, str] | None  # code and detail
    read_at: float


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(_Shared)


class Verdicts:
    """The verdict cache of this process.

    Args:
        change_listener: receives changes and holds the lease.
        shared: Valkey, shared by all processes and untrusted.
        key: 32 bytes that name and sign shared entries, different per deployment and configuration. None: share nothing
        until `enable_sharing` is called.
        ttl: lifetime of an entry (seconds); 0 disables the cache.
        entries: size of the memory cache; rejections have a separate cache of the same size, so that they evict no
        valid entry.
    """

    def __init__(
        self, change_listener: ChangeSource, shared: SharedCache, *, key: bytes | None, ttl: float, entries: int
    ) -> None:
        self.change_listener = change_listener
        self._changes = change_listener.changes
        self._shared = shared
        self._key = key or secrets.token_bytes(32)
        self._shares = key is not None
        self._ttl = ttl
        self._good = _Generations(entries)
        self._bad = _Generations(entries)

    def enable_sharing(self, key: bytes) -> None:
        """Start sharing verdicts under this key; entries under the old key become unreachable."""
        self._key, self._shares = key, True

    def name(self, token: str) -> bytes:
        """Return a credential's name in both caches: a keyed digest, which reveals nothing."""
        return hashlib.blake2b(token.encode(), digest_size=24, key=self._key, person=b"credential").digest()

    def name_of_user(self, user_id: str) -> bytes:
        """Return a user's name in both caches, distinct from the name of any credential."""
        return hashlib.blake2b(user_id.encode(), digest_size=24, key=self._key, person=b"person").digest()

    def name_of_session(self, session_id: str) -> bytes:
        """Return a session's name in both caches, distinct from the name of any credential."""
        return hashlib.blake2b(session_id.encode(), digest_size=24, key=self._key, person=b"session").digest()

    def name_of_client(self, client_id: str, secret: str | None) -> bytes:
        """Return the name of an OAuth client with this secret in both caches, distinct from all others.

        Args:
            client_id: contains no null character.
            secret: None for the client as such, which proves nothing.
        """
        pair = (client_id if secret is None else f"{client_id}\x00{secret}").encode()
        return hashlib.blake2b(pair, digest_size=24, key=self._key, person=b"client").digest()

    def get_cached(self, name: bytes) -> Verdict | None:
        """Return a valid verdict from memory."""
        entry = self.entry(name)
        return None if entry is None else entry.verdict

    def entry(self, name: bytes) -> Entry | None:
        """Return a valid entry from memory."""
        entry = self._good.get(name) or self._bad.get(name)
        if entry is None:
            return None
        if entry.good_until <= clock.seconds():
            self._drop(name)
            return None
        if entry.stamp is None:
            return entry
        if boottime() >= self.change_listener.lease_until:
            return None
        if entry.version != self._changes.version and not self._is_current(entry):
            self._drop(name)
            return None
        return entry

    async def shared(self, name: bytes) -> Verdict | None:
        """Return a valid verdict from Valkey, and store it in memory."""
        entry = await self.shared_entry(name)
        return None if entry is None else entry.verdict

    async def shared_entry(self, name: bytes) -> Entry | None:
        """Return a valid entry from Valkey, and store it in memory."""
        if not self._ttl or not self._shares or boottime() >= self.change_listener.lease_until:
            return None
        raw = await self._shared.get(b"idp:verdict:" + name)
        entry = None if raw is None else self._open(name, raw)
        if entry is None or entry.good_until <= clock.seconds():
            return None
        if boottime() >= self.change_listener.lease_until or not self._is_current(entry):
            return None
        self._store_in_memory(name, entry)
        return entry

    @property
    def signing(self) -> int:
        """The known state of our signing keys."""
        return self._changes.signing

    @property
    def known_changes(self) -> int:
        """The current `Changes.version`, to be read before a statement is sent."""
        return self._changes.version

    def outdated(self, stamp: Stamp | None, depends_on: tuple[str, ...], read_version: int) -> bool:
        """Whether a change arrived since this read began that the statement does not include."""
        if stamp is None:
            return False
        self._changes.check_instance(stamp)
        return self._changes.has_floor and self._changes.contradicts(stamp, depends_on, read_version)

    def keep(
        self,
        name: bytes,
        verdict: Verdict,
        stamp: Stamp | None,
        depends_on: tuple[str, ...],
        *,
        read_version: int,
        signing: int | None = None,
    ) -> None:
        """Store a verdict in memory and in Valkey.

        Args:
            name: of the credential, user or session.
            verdict: the verdict.
            stamp: of the statement that read it.
            depends_on: its dependencies.
            read_version: `known_changes` from before that statement was sent.
            signing: for a signed token, `Changes.signing` from before the verification; it is then not shared.
        """
        if not self._ttl:
            return
        life = self._ttl if verdict.principal is not None else NEGATIVE_SECONDS
        read_at = clock.seconds()
        good_until = read_at + life
        if verdict.principal is not None and verdict.principal.credential.expires_at is not None:
            good_until = min(good_until, verdict.principal.credential.expires_at.timestamp())
        entry = Entry(verdict, stamp, depends_on, good_until, signing, read_version=read_version, read_at=read_at)
        self._store_in_memory(name, entry)
        if stamp is not None and signing is None and self._shares:
            milliseconds = max(1, int((good_until - clock.seconds()) * 1000))
            self._shared.put(b"idp:verdict:" + name, self._seal(name, entry, stamp), milliseconds=milliseconds)

    def _store_in_memory(self, name: bytes, entry: Entry) -> None:
        self._drop(name)
        if entry.verdict.principal is not None:
            self._good.put(name, entry)
            return
        self._bad.put(name, entry)
        if entry.stamp is not None and self._changes.has_floor:
            self._changes.record_rejection(entry.depends_on, entry.stamp)

    def _drop(self, name: bytes) -> None:
        self._good.drop(name)
        self._bad.drop(name)

    def _is_current(self, entry: Entry) -> bool:
        version = self._changes.version
        if entry.stamp is None or not self._changes.still_holds(entry.stamp, entry.depends_on, entry.read_version):
            return False
        if entry.signing is not None and entry.signing != self._changes.signing:
            return False
        entry.version = version
        return True

    # --- in Valkey ---------------------------------------------------------------------------------------------------

    def _seal(self, name: bytes, entry: Entry, stamp: Stamp) -> bytes:
        verdict = entry.verdict
        payload = _ENCODER.encode(
            _Shared(
                stamp.instance,
                str(stamp.snapshot),
                entry.depends_on,
                entry.good_until,
                verdict.key,
                verdict.principal,
                (verdict.error.code, verdict.error.detail) if verdict.error else None,
                entry.read_at,
            )
        )
        return self._sign(name, payload) + payload

    def _open(self, name: bytes, raw: bytes) -> Entry | None:
        """Decode a shared verdict; None if its signature or format is invalid."""
        signature, payload = raw[:_MAC], raw[_MAC:]
        if not hmac.compare_digest(signature, self._sign(name, payload)):
            return None
        try:
            shared = _DECODER.decode(payload)
            stamp = Stamp.parse(shared.instance, shared.snapshot)
        except ValueError:
            return None
        error = _error(*shared.error) if shared.error else None
        if (shared.principal is None) == (error is None):
            return None
        verdict = Verdict(shared.principal, error, shared.key, hint=True)
        return Entry(verdict, stamp, shared.depends_on, shared.good_until, read_at=shared.read_at)

    def _sign(self, name: bytes, payload: bytes) -> bytes:
        return hashlib.blake2b(name + payload, digest_size=_MAC, key=self._key, person=b"signature").digest()


def _error(code: str, detail: str) -> IdpError | None:
    known: Any = errors.catalogue().get(code)
    return None if known is None else known(detail)
