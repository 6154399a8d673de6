"""Keys that an old service stored as bcrypt: verified once, then stored like ours (C-03)."""

import time

from idp.db.reads import Reads
from idp.settings import Secret
from idp.users.passwords import Passwords

_LOOK_AGAIN_SECONDS = 60.0
_MOST_CANDIDATES = 10  # each costs a quarter of a second of the password process
_ANY = "SELECT EXISTS (SELECT 1 FROM idp.api_keys WHERE scheme = 'bcrypt') AS found"
# S0 kept the first seven characters, or twelve.
_CANDIDATES = f"""
SELECT digest FROM idp.api_keys
 WHERE scheme = 'bcrypt' AND revoked_at IS NULL AND prefix IN ($1, $2) LIMIT {_MOST_CANDIDATES}
"""  # noqa: S608  a constant


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

    async def find_digest(self, secret: Secret) -> str | None:
        """Return what is stored of this key, None where no imported key fits.

        Raises:
            DatabaseUnavailable: PostgreSQL is away.
            Busy: the password process has too much to do.
        """
        if not await self._exist():
            return None
        text = secret.reveal()
        for row in await self._reads.fetch(_CANDIDATES, text[:7], text[:12]):
            if (await self._passwords.check(row["digest"], text)).fits:
                return str(row["digest"])
        return None

    async def _exist(self) -> bool:
        """Whether there are any at all: usually not, and then an unknown key costs nothing more."""
        if time.monotonic() - self._looked > _LOOK_AGAIN_SECONDS:
            self._any = bool((await self._reads.fetchrow(_ANY))["found"])
            self._looked = time.monotonic()
        return self._any
