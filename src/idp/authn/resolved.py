"""The result of resolving a subject, and rows that are cached like verdicts."""

from collections.abc import Awaitable, Callable
from uuid import UUID

import msgspec
from msgspec import Struct

from idp import checks, clock
from idp.authn.verdicts import Verdict, Verdicts
from idp.db.snapshot import Stamp
from idp.errors import IdpError
from idp.principal.model import Principal


class Resolved(Struct, frozen=True):
    """The result: a principal, or the error.

    Attributes:
        stamp: of the statement that read it, None if nothing was read or found.
        depends_on: its dependencies, as in `db/changes.py`.
        key: the row of the API key or service token.
        read_version: `Verdicts.known_changes` when the statement was sent; None for a read of this call, -1 for one of
            another process.
        hint: whether any of it came from Valkey.
    """

    principal: Principal | None = None
    error: IdpError | None = None
    stamp: Stamp | None = None
    depends_on: tuple[str, ...] = ()
    key: UUID | None = None
    read_version: int | None = None
    hint: bool = False


class CachedReads:
    """Users, sessions and clients, cached separately from the credentials that name them."""

    def __init__(self, verdicts: Verdicts) -> None:
        self._verdicts = verdicts

    async def get(
        self, name: bytes, what: str, read: Callable[[], Awaitable[Resolved]], confirm: bool = False
    ) -> Resolved:
        """Return a row from the cache, or read it and keep it.

        Args:
            name: in both caches.
            what: the kind of row, for explanations.
            read: reads it from the database.
            confirm: ignore verdicts from Valkey.

        Raises:
            DatabaseUnavailable: PostgreSQL is unavailable.
        """
        entry = None if checks.bypasses_caches() else self._verdicts.entry(name)
        source = "memory"
        if entry is None and not confirm:
            entry, source = await self._verdicts.shared_entry(name), "valkey"
        if entry is not None and not (confirm and entry.verdict.hint):
            verdict = entry.verdict
            checks.has_read(what, source, clock.seconds() - entry.read_at)
            return Resolved(
                verdict.principal,
                verdict.error,
                entry.stamp,
                entry.depends_on,
                read_version=entry.read_version,
                hint=verdict.hint,
            )
        read_version = self._verdicts.known_changes
        resolved = msgspec.structs.replace(await read(), read_version=read_version)
        if resolved.stamp is not None and not self._verdicts.outdated(
            resolved.stamp, resolved.depends_on, read_version
        ):
            verdict = Verdict(resolved.principal, resolved.error)
            self._verdicts.keep(name, verdict, resolved.stamp, resolved.depends_on, read_version=read_version)
        return resolved
