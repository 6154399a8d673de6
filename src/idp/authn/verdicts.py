"""Verdicts in memory and in Valkey, and the one comparison that makes them safe to use (rule 5, decision 0011).

A verdict read from the database carries the stamp of the statement that read it. It may be used only while this process
hears changes (`Ear.hears`), and only if its stamp saw every change heard about its credential and its user. What was
checked once stays checked until something else is heard, so that the usual check is one comparison of integers.
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
from idp.db.notify import ChangeListener, boottime
from idp.db.snapshot import Stamp
from idp.errors import IdpError
from idp.principal.model import Principal

NEGATIVE_SECONDS = 2.0
_MAC = 16  # bytes in front of a shared verdict


class Verdict:
    """Either a principal, or the error that says why not: exactly one of them is set.

    Attributes:
        principal: who is calling.
        error: why nobody is.
        key: the row of the API key or service token, for `last_used_at`.
        session: the row of the session, for `last_seen_at`.
        encodings: the response bodies that this verdict was encoded into before, by name.
        kind, method, outcome: what metrics call it.
        hint: whether any of it came from Valkey, so that nothing is managed by it before the database confirms it.
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
        """Whether nothing could be decided: the answer is 503, never "invalid"."""
        return self.error is not None and self.error.status >= 500

    def encoded(self, name: str, encode: Callable[["Verdict"], bytes]) -> bytes:
        """Return an encoded answer, made once."""
        body = self.encodings.get(name)
        if body is None:
            body = self.encodings[name] = encode(self)
        return body


class Entry:
    """A verdict in memory.

    Attributes:
        stamp: what the statement saw that read it; None for "no such credential", which depends on nothing.
        about: what it depends on.
        good_until: seconds since 1970 when it ends, or the credential does.
        version: of what had been heard when it was checked last.
        signing: which of our signing keys it was verified with, in the count of `Changes.signing`; None for none.
        began: what had been heard when that statement was sent; -1 where another process sent it.
    """

    __slots__ = ("about", "began", "good_until", "signing", "stamp", "verdict", "version")

    def __init__(
        self,
        verdict: Verdict,
        stamp: Stamp | None,
        about: tuple[str, ...],
        good_until: float,
        signing: int | None = None,
        *,
        began: int = -1,
    ) -> None:
        self.signing = signing
        self.began = began
        self.verdict = verdict
        self.stamp = stamp
        self.about = about
        self.good_until = good_until
        self.version = -1


class _Generations:
    """A dictionary of bounded size that forgets what was not used lately, without bookkeeping at each use."""

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
    """A verdict as Valkey keeps it."""

    instance: str
    snapshot: str
    about: tuple[str, ...]
    good_until: float
    key: UUID | None
    principal: Principal | None
    error: tuple[str, str] | None  # code and detail


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(_Shared)


class Verdicts:
    """The verdicts that this process may use.

    Args:
        ear: hears changes, and knows whether it does.
        shared: Valkey, a hint for all processes.
        key: 32 bytes that name and sign what is shared; of another deployment or configuration nothing is found. None
            shares nothing until `share_under` is called.
        ttl: seconds that a verdict may be kept; 0 keeps nothing.
        entries: how many are kept in memory; bad ones have as much room again, so that they push no good one out.
    """

    def __init__(
        self, change_listener: ChangeListener, shared: SharedCache, *, key: bytes | None, ttl: float, entries: int
    ) -> None:
        self.change_listener = change_listener
        self._changes = change_listener.changes
        self._shared = shared
        self._key = key or secrets.token_bytes(32)
        self._shares = key is not None
        self._ttl = ttl
        self._good = _Generations(entries)
        self._bad = _Generations(entries)

    def share_under(self, key: bytes) -> None:
        """Share verdicts from now on; what this process remembers so far is forgotten."""
        self._key, self._shares = key, True

    def name(self, token: str) -> bytes:
        """Return what a credential is called in both caches: a keyed digest, which tells nobody anything."""
        return hashlib.blake2b(token.encode(), digest_size=24, key=self._key, person=b"credential").digest()

    def name_of_person(self, user_id: str) -> bytes:
        """Return what a user is called in both caches. No credential, whatever it says, is ever called so."""
        return hashlib.blake2b(user_id.encode(), digest_size=24, key=self._key, person=b"person").digest()

    def name_of_session(self, session_id: str) -> bytes:
        """Return what a session is called in both caches; like a person, it is called as no credential ever is."""
        return hashlib.blake2b(session_id.encode(), digest_size=24, key=self._key, person=b"session").digest()

    def remembered(self, name: bytes) -> Verdict | None:
        """Return a verdict from memory, if it may be used now."""
        entry = self.entry(name)
        return None if entry is None else entry.verdict

    def entry(self, name: bytes) -> Entry | None:
        """Return a verdict from memory with what it depends on, if it may be used now."""
        entry = self._good.get(name) or self._bad.get(name)
        if entry is None:
            return None
        if entry.good_until <= clock.seconds():
            self._forget(name)
            return None
        if entry.stamp is None:
            return entry
        if boottime() >= self.change_listener.lease_until:
            return None
        if entry.version != self._changes.version and not self._still_holds(entry):
            self._forget(name)
            return None
        return entry

    async def shared(self, name: bytes) -> Verdict | None:
        """Return a verdict from Valkey, if it may be used now, and keep it in memory."""
        entry = await self.shared_entry(name)
        return None if entry is None else entry.verdict

    async def shared_entry(self, name: bytes) -> Entry | None:
        """Return a verdict from Valkey with what it depends on; as `shared`."""
        if not self._ttl or not self._shares or boottime() >= self.change_listener.lease_until:
            return None
        raw = await self._shared.get(b"idp:verdict:" + name)
        entry = None if raw is None else self._open(name, raw)
        if entry is None or entry.good_until <= clock.seconds():
            return None
        if boottime() >= self.change_listener.lease_until or not self._still_holds(entry):
            return None
        self._remember(name, entry)
        return entry

    @property
    def signing(self) -> int:
        """Which state of our signing keys is known now."""
        return self._changes.signing

    @property
    def known_changes(self) -> int:
        """How far this process has heard by now, for a statement that is about to be sent."""
        return self._changes.version

    def outdated(self, stamp: Stamp | None, about: tuple[str, ...], began: int) -> bool:
        """Whether a change was heard, since this read began, that the statement did not see."""
        if stamp is None:
            return False
        self._changes.check_instance(stamp)
        return self._changes.has_floor and self._changes.contradicts(stamp, about, began)

    def keep(
        self,
        name: bytes,
        verdict: Verdict,
        stamp: Stamp | None,
        about: tuple[str, ...],
        *,
        began: int,
        signing: int | None = None,
    ) -> None:
        """Remember a verdict that was just read, here and in Valkey.

        Args:
            name: of the credential or person.
            verdict: what was decided.
            stamp: of the statement that it was read by.
            about: what it depends on.
            began: `heard` from before that statement was sent.
            signing: for a signed token, `Changes.signing` from before it was verified; then it stays in this process.
        """
        if not self._ttl:
            return
        life = self._ttl if verdict.principal is not None else NEGATIVE_SECONDS
        good_until = clock.seconds() + life
        if verdict.principal is not None and verdict.principal.credential.expires_at is not None:
            good_until = min(good_until, verdict.principal.credential.expires_at.timestamp())
        entry = Entry(verdict, stamp, about, good_until, signing, began=began)
        self._remember(name, entry)
        if stamp is not None and signing is None and self._shares:
            milliseconds = max(1, int((good_until - clock.seconds()) * 1000))
            self._shared.put(b"idp:verdict:" + name, self._seal(name, entry, stamp), milliseconds=milliseconds)

    def _remember(self, name: bytes, entry: Entry) -> None:
        self._forget(name)
        if entry.verdict.principal is not None:
            self._good.put(name, entry)
            return
        self._bad.put(name, entry)
        if entry.stamp is not None and self._changes.has_floor:
            self._changes.record_refusal(entry.about, entry.stamp)

    def _forget(self, name: bytes) -> None:
        self._good.drop(name)
        self._bad.drop(name)

    def _still_holds(self, entry: Entry) -> bool:
        version = self._changes.version
        if entry.stamp is None or not self._changes.still_holds(entry.stamp, entry.about, entry.began):
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
                entry.about,
                entry.good_until,
                verdict.key,
                verdict.principal,
                (verdict.error.code, verdict.error.detail) if verdict.error else None,
            )
        )
        return self._sign(name, payload) + payload

    def _open(self, name: bytes, raw: bytes) -> Entry | None:
        """Take a shared verdict apart; one that was not written by us under this name is not there."""
        signature, payload = raw[:_MAC], raw[_MAC:]
        if not hmac.compare_digest(signature, self._sign(name, payload)):
            return None
        try:
            it = _DECODER.decode(payload)
            stamp = Stamp.parse(it.instance, it.snapshot)
        except ValueError:
            return None
        error = _error(*it.error) if it.error else None
        if (it.principal is None) == (error is None):
            return None
        return Entry(Verdict(it.principal, error, it.key, hint=True), stamp, it.about, it.good_until)

    def _sign(self, name: bytes, payload: bytes) -> bytes:
        return hashlib.blake2b(name + payload, digest_size=_MAC, key=self._key, person=b"signature").digest()


def _error(code: str, detail: str) -> IdpError | None:
    known: Any = errors.catalogue().get(code)
    return None if known is None else known(detail)
