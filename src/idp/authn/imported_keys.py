"""Keys that an old service stored as bcrypt: verified once, then stored like ours (C-03).

S0 kept the first seven characters of a key, which all its keys share: `sk_live`. So each of them may be the one that is
presented, and comparing costs a quarter of a second each. All are compared, those that were used last first, until the
time for one request is over; the next request with the same key goes on where this one stopped. A key that fits is
stored as a digest and never searched for again, and one that fits none is remembered.
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

_LOOK_AGAIN_SECONDS = 60.0
_SEARCH_SECONDS = 3.0  # of one request
_MOST_AT_ONCE = 4  # of all addresses together: each keeps a password process busy, and sign-ins wait behind them
_MISS_SECONDS = 600.0
_MOST_SEARCHES = 1000  # that are remembered, finished or not
_ANY = "SELECT EXISTS (SELECT 1 FROM idp.api_keys WHERE scheme = 'bcrypt') AS found"
# S0 kept the first seven characters, or twelve.
_CANDIDATES = """
SELECT digest FROM idp.api_keys
 WHERE scheme = 'bcrypt' AND revoked_at IS NULL AND prefix IN ($1, $2) AND (expires_at IS NULL OR expires_at > now())
 ORDER BY last_used_at DESC NULLS LAST, created_at DESC
"""

asking_client: ContextVar[str | None] = ContextVar("asking_client", default=None)  # the address that asks


class _Search(Struct):
    """What is known of a presented key: which stored ones it is not, and when the last of them was compared."""

    compared: set[str]
    missed_at: float | None = None


class ImportedKeys:
    """Finds the imported key that a secret fits.

    Args:
        reads: where the candidates are.
        passwords: the process that checks them.
    """

    def __init__(self, reads: Reads, passwords: Passwords) -> None:
        self._reads = reads
        self._passwords = passwords
        self._any = False
        self._looked = float("-inf")
        self._name_key = secrets.token_bytes(32)
        self._searches: OrderedDict[bytes, _Search] = OrderedDict()
        self._searching: set[str] = set()

    async def find_digest(self, secret: Secret) -> str | None:
        """Return what is stored of this key, None where no imported key fits.

        Raises:
            DatabaseUnavailable: PostgreSQL is away.
            Busy: the time for one request is over, the same address or several others search already, or the password
                process has too much to do. The next request goes on.
        """
        if not await self._exist():
            return None
        text = secret.reveal()
        search = self._search_of(text)
        if search.missed_at is not None and time.monotonic() - search.missed_at < _MISS_SECONDS:
            return None
        candidates = [str(row["digest"]) for row in await self._reads.fetch(_CANDIDATES, text[:7], text[:12])]
        left = [each for each in candidates if each not in search.compared]
        found = await self._compare(text, left, search) if left else None
        if found is None:
            search.missed_at = time.monotonic()
        return found

    async def _compare(self, text: str, left: list[str], search: _Search) -> str | None:
        client = asking_client.get()
        address = network(client) if client else ""
        if address in self._searching or len(self._searching) >= _MOST_AT_ONCE:
            raise Busy
        self._searching.add(address)
        until = time.monotonic() + _SEARCH_SECONDS
        try:
            for digest in left:
                if time.monotonic() > until:
                    raise Busy
                if (await self._passwords.check(digest, text, asker=client)).fits:
                    return digest
                search.compared.add(digest)
        finally:
            self._searching.discard(address)
        return None

    def _search_of(self, text: str) -> _Search:
        name = hashlib.blake2b(text.encode(), key=self._name_key, digest_size=16).digest()
        search = self._searches.pop(name, None) or _Search(set())
        if search.missed_at is not None and time.monotonic() - search.missed_at >= _MISS_SECONDS:
            search = _Search(set())  # other keys may have been imported meanwhile
        self._searches[name] = search
        if len(self._searches) > _MOST_SEARCHES:
            self._searches.popitem(last=False)
        return search

    async def _exist(self) -> bool:
        """Whether there are any at all: usually not, and then an unknown key costs nothing more."""
        if time.monotonic() - self._looked > _LOOK_AGAIN_SECONDS:
            self._any = bool((await self._reads.fetchrow(_ANY))["found"])
            self._looked = time.monotonic()
        return self._any
