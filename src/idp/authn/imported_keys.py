"""Verify imported bcrypt keys of an old service, then store them as digests (C-03).

S0 stored the first seven characters of a key, which all its keys share: `sk_live`. So every imported key is a
candidate, and each comparison takes 250 ms. Candidates are compared, most recently used first, until the time limit of
the request; the next request with the same key continues there. A matching key is stored as a digest; a key without a
match is cached.
"""

import hashlib
import secrets
import time
from collections import OrderedDict
from contextvars import ContextVar

from msgspec import Struct

from idp.db.reads import Reads
from idp.errors import Busy
from idp.ops.rate_limit_rules import network
from idp.settings import Secret
from idp.users.passwords import Passwords

_RECHECK_SECONDS = 60.0
_SEARCH_SECONDS = 3.0  # per request
_MAX_CONCURRENT_SEARCHES = 4  # of all clients: each keeps a password process busy, which delays sign-ins
_MISS_SECONDS = 600.0
_MAX_CACHED_SEARCHES = 1000  # cached searches, finished or not
_ANY_IMPORTED = "SELECT EXISTS (SELECT 1 FROM idp.api_keys WHERE scheme = 'bcrypt') AS found"
# S0 stored the first seven or twelve characters.
_CANDIDATES = """
SELECT digest FROM idp.api_keys
 WHERE scheme = 'bcrypt' AND revoked_at IS NULL AND prefix IN ($1, $2) AND (expires_at IS NULL OR expires_at > now())
 ORDER BY last_used_at DESC NULLS LAST, created_at DESC
"""

asking_client: ContextVar[str | None] = ContextVar("asking_client", default=None)  # the client's address


class _Search(Struct):
    """Progress of the search for a presented key: digests that did not match, and when the search failed."""

    compared: set[str]
    missed_at: float | None = None


class ImportedKeys:
    """Finds the imported key that matches a secret.

    Args:
        reads: for the candidates.
        passwords: the process that compares them.
    """

    def __init__(self, reads: Reads, passwords: Passwords) -> None:
        self._reads = reads
        self._passwords = passwords
        self._any_imported = False
        self._checked_at = float("-inf")
        self._name_key = secrets.token_bytes(32)
        self._searches: OrderedDict[bytes, _Search] = OrderedDict()
        self._searching: set[str] = set()

    async def find_digest(self, secret: Secret) -> str | None:
        """Return the stored digest of this key, None if no imported key matches.

        Raises:
            DatabaseUnavailable: PostgreSQL is unavailable.
            Busy: time limit reached, too many searches (one per address), or the password process is busy. The next
                request continues the search.
        """
        if not await self._any_exist():
            return None
        text = secret.reveal()
        search = self._search_of(text)
        if search.missed_at is not None and time.monotonic() - search.missed_at < _MISS_SECONDS:
            return None
        candidates = [str(row["digest"]) for row in await self._reads.fetch(_CANDIDATES, text[:7], text[:12])]
        remaining = [each for each in candidates if each not in search.compared]
        digest = await self._compare(text, remaining, search) if remaining else None
        if digest is None:
            search.missed_at = time.monotonic()
        return digest

    async def _compare(self, text: str, remaining: list[str], search: _Search) -> str | None:
        client = asking_client.get()
        address = network(client) if client else ""
        if address in self._searching or len(self._searching) >= _MAX_CONCURRENT_SEARCHES:
            raise Busy
        self._searching.add(address)
        until = time.monotonic() + _SEARCH_SECONDS
        try:
            for digest in remaining:
                if time.monotonic() > until:
                    raise Busy
                if (await self._passwords.check(digest, text, asker=client)).matches:
                    return digest
                search.compared.add(digest)
        finally:
            self._searching.discard(address)
        return None

    def _search_of(self, text: str) -> _Search:
        name = hashlib.blake2b(text.encode(), key=self._name_key, digest_size=16).digest()
        search = self._searches.pop(name, None) or _Search(set())
        if search.missed_at is not None and time.monotonic() - search.missed_at >= _MISS_SECONDS:
            search = _Search(set())  # new keys may have been imported
        self._searches[name] = search
        if len(self._searches) > _MAX_CACHED_SEARCHES:
            self._searches.popitem(last=False)
        return search

    async def _any_exist(self) -> bool:
        """Whether there are imported keys; usually not, and then an unknown key costs no search."""
        if time.monotonic() - self._checked_at > _RECHECK_SECONDS:
            self._any_imported = bool((await self._reads.fetchrow(_ANY_IMPORTED))["found"])
            self._checked_at = time.monotonic()
        return self._any_imported
