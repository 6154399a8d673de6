"""Finds and repairs what differs from Clerk's list, for deliveries that never arrived.

A repair can be interrupted and continued: it notes its position, and whom it has seen. Nobody is deleted because the
list does not show them: it moves while it is read, so each is asked for once more.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from idp import clock
from idp.apikeys.service import lock
from idp.clerk.api import PAGE, ClerkApi
from idp.clerk.comparison import Difference, Findings, compare, live_ids
from idp.clerk.models import ClerkScanRow
from idp.clerk.payloads import ClerkProfile, profile_of
from idp.clerk.sync import ClerkUsers

_AT_ONCE = 25  # users in a transaction, which holds the lock of the keys
_CONTINUED = timedelta(days=1)  # an older repair starts over
_SEEN = text("UPDATE idp.clerk_users SET seen_at = :seen WHERE clerk_id = ANY(CAST(:ids AS text[]))")
Progress = Callable[[int], None]  # the number of users compared so far


class TooManyDeletions(Exception):
    """More users would be deleted than allowed; none was."""


class Drift:
    """Compares the users of one Clerk instance.

    Args:
        api: its list of users.
        users: the users here.
        roles: those that Clerk may grant.
        progress: called after each page.
    """

    def __init__(
        self, api: ClerkApi, users: ClerkUsers, roles: Sequence[str], progress: Progress = lambda _number: None
    ) -> None:
        self._api = api
        self._users = users
        self._database = users.database
        self._roles = frozenset(roles)
        self._progress = progress

    async def find(self) -> Findings:
        """Return what differs, and keep the numbers for `/metrics`. Changes no user.

        Raises:
            ClerkApiError: Clerk's API refused, or cannot be reached.
            DatabaseUnavailable: PostgreSQL is unavailable.
        """
        findings, seen, started = Findings(), set[str](), clock.now()
        async for profiles, _ in self._pages(0):
            async with self._database.transaction() as session:
                found = await compare(session, profiles, self._roles)
            seen |= {profile.id for profile in profiles}
            self._add(findings, found, len(profiles))
        async with self._database.transaction() as session:
            unseen = [clerk_id for clerk_id in await live_ids(session) if clerk_id not in seen]
        for clerk_id in unseen:
            profile = await self._ask(clerk_id)
            if profile is None:
                findings.add(Difference("deleted", clerk_id))
            else:
                async with self._database.transaction() as session:
                    self._add(findings, await compare(session, [profile], self._roles), 1)
        async with self._database.transaction() as session:
            session.add(_scan("diff", findings, started_at=started, finished_at=clock.now()))
        return findings

    async def repair(self, *, max_deletions: int) -> Findings:
        """Make the users here equal to those at Clerk, and return what differed; conflicts remain.

        Args:
            max_deletions: refuse to delete more users.

        Raises:
            TooManyDeletions: the list may be that of another instance; nobody was deleted.
            ClerkApiError, DatabaseUnavailable: as `find`; the next call continues.
        """
        findings = Findings()
        async with self._continued() as scan:
            async for profiles, position in self._pages(max(0, scan.position - PAGE)):
                self._add(findings, await self._repair(profiles, scan), len(profiles))
                await self._note(scan, position=position)
            async with self._database.transaction() as session:
                unseen = await live_ids(session, unseen_since=scan.started_at)
            gone = [clerk_id for clerk_id in unseen if not await self._still_there(clerk_id, scan, findings)]
            if len(gone) > max_deletions:
                raise TooManyDeletions
            for start in range(0, len(gone), _AT_ONCE):
                await self._delete(gone[start : start + _AT_ONCE], findings)
            await self._note(scan, finished_at=clock.now(), conflicting=findings.conflicting)
        return findings

    # --- steps -------------------------------------------------------------------------------------------------------

    async def _pages(self, offset: int) -> AsyncIterator[tuple[list[ClerkProfile], int]]:
        while True:
            page = await self._api.users(limit=PAGE, offset=offset)
            profiles = [profile for each in page if (profile := profile_of(each, sent_at=1)) is not None]
            offset += len(page)
            if profiles:
                yield list({profile.id: profile for profile in profiles}.values()), offset
            if len(page) < PAGE:
                return

    async def _ask(self, clerk_id: str) -> ClerkProfile | None:
        found = await self._api.user(clerk_id)
        return None if found is None else profile_of(found, sent_at=1)

    async def _repair(self, profiles: list[ClerkProfile], scan: ClerkScanRow) -> list[Difference]:
        async with self._database.transaction() as session:
            found = await compare(session, profiles, self._roles)
        differing = {each.clerk_id for each in found}  # conflicts, too: this page may have freed an address
        wrong = [each for each in profiles if each.id in differing]
        for start in range(0, len(wrong), _AT_ONCE):
            await self._apply(wrong[start : start + _AT_ONCE])
        async with self._database.transaction() as session:
            await session.execute(_SEEN, {"seen": scan.started_at, "ids": [profile.id for profile in profiles]})
        return found

    async def _apply(self, profiles: list[ClerkProfile]) -> None:
        async def apply(session: AsyncSession) -> None:
            await lock(session)
            for profile in profiles:
                await self._users.apply(session, profile, even_same=True)

        await self._database.transact(apply)

    async def _still_there(self, clerk_id: str, scan: ClerkScanRow, findings: Findings) -> bool:
        profile = await self._ask(clerk_id)
        if profile is not None:
            self._add(findings, await self._repair([profile], scan), 1)
        return profile is not None

    async def _delete(self, clerk_ids: list[str], findings: Findings) -> None:
        now = int(clock.timestamp() * 1000)

        async def delete(session: AsyncSession) -> None:
            await lock(session)
            for clerk_id in clerk_ids:
                await self._users.delete(session, clerk_id, deleted_at=now)

        await self._database.transact(delete)
        for clerk_id in clerk_ids:
            findings.add(Difference("deleted", clerk_id))

    def _add(self, findings: Findings, found: list[Difference], compared: int) -> None:
        for each in found:
            findings.add(each)
        findings.compared += compared
        self._progress(findings.compared)

    @asynccontextmanager
    async def _continued(self) -> AsyncIterator[ClerkScanRow]:
        """Return the repair to continue, or a new one."""
        unfinished = (
            select(ClerkScanRow)
            .where(ClerkScanRow.kind == "repair", ClerkScanRow.finished_at.is_(None))
            .where(ClerkScanRow.started_at > clock.now() - _CONTINUED)
            .order_by(ClerkScanRow.started_at.desc())
            .limit(1)
        )
        async with self._database.transaction() as session:
            scan = await session.scalar(unfinished)
            if scan is None:
                scan = _scan("repair", Findings(), started_at=clock.now())
                session.add(scan)
        yield scan

    async def _note(self, scan: ClerkScanRow, **values: Any) -> None:
        async with self._database.transaction() as session:
            await session.execute(update(ClerkScanRow).where(ClerkScanRow.id == scan.id).values(**values))


def _scan(kind: str, findings: Findings, **values: Any) -> ClerkScanRow:
    numbers = {name: getattr(findings, name) for name in ("missing", "changed", "deleted", "conflicting")}
    return ClerkScanRow(kind=kind, **numbers, **values)
