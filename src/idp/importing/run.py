"""Runs an import: stage by stage, in transactions of 1,000 records, each with the position to continue at.

One import runs at a time, under an advisory lock of its own direct connection. A dry run is one transaction that is
rolled back, so it reports exactly what an import would.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Struct
from uuid_utils.compat import uuid7

from idp import clock
from idp.db.engine import Database
from idp.importing.audit_records import apply_audit
from idp.importing.batch import Batch, Connection, Options, Seal
from idp.importing.directory import apply_domains, apply_parents, apply_teams
from idp.importing.identities import apply_identities
from idp.importing.import_file import Facts, ImportFile, Numbered, batches
from idp.importing.keys import apply_api_keys, apply_tokens
from idp.importing.memberships import apply_team_memberships, apply_user_domains
from idp.importing.pending_tokens import apply_pending_tokens
from idp.importing.report import Counts, Report
from idp.importing.users import ID_TAKEN, apply_users

BATCH = 1000  # records in a transaction
LOCK = 0x1D9_1477  # arbitrary lock id
_ATTEMPTS = 3
_RETRYABLE = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError, asyncpg.UniqueViolationError)


class Stage(Struct, frozen=True):
    """A step of an import: its name, the kind of records, and what imports them."""

    name: str
    kind: str
    apply: Callable[[Batch, Sequence[Numbered]], Awaitable[None]]


STAGES = (
    Stage("user", "user", apply_users),
    Stage("identity", "identity", apply_identities),
    Stage("team", "team", apply_teams),
    Stage("domain", "domain", apply_domains),
    Stage("domain_parent", "domain", apply_parents),
    Stage("team_membership", "team_membership", apply_team_memberships),
    Stage("user_domain", "user_domain", apply_user_domains),
    Stage("api_key", "api_key", apply_api_keys),
    Stage("token", "token", apply_tokens),
    Stage("audit", "audit", apply_audit),
    Stage("pending_token", "pending_token", apply_pending_tokens),
)


class ImportRunning(Exception):
    """Another import is running on this database."""


class ConnectionPooled(Exception):
    """A statement pooler is in between: the lock of an import needs a connection of its own."""


class ConflictsFound(Exception):
    """Stopped at conflicts; their transaction was rolled back.

    Attributes:
        report: with the conflicts, and without the numbers of that transaction.
        imported: what the transactions before have imported.
        new: the conflicts of that transaction.
    """

    def __init__(self, report: Report, *, imported: Report) -> None:
        super().__init__()
        self.imported = imported
        self.new = report.conflicts[len(imported.conflicts) :]
        self.report = _without_new_numbers(report, imported)


def _without_new_numbers(report: Report, imported: Report) -> Report:
    """Return the report with what a rolled back transaction did not do after all."""
    for kind, counts in report.by_kind.items():
        before = imported.by_kind.get(kind, Counts())
        counts.created, counts.updated, counts.skipped = before.created, before.updated, before.skipped
    report.administrators = list(imported.administrators)
    return report


class Result(Struct):
    """The result of an import.

    Attributes:
        report: what was done, including an interrupted run of the same file that was continued.
        resumed_at: the line where this run continued, None if it began at the start.
        file_changed: whether an interrupted import of this source had another file.
    """

    report: Report
    resumed_at: int | None = None
    file_changed: bool = False


class _Run(Struct):
    """The stored state of an import."""

    id: UUID
    stage: str
    position: int
    line: int
    report: Report


_LIMITS = (
    "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = '60s'; SET application_name = 'idp import'"
)
_UNFINISHED = """
SELECT id, digest, options::text AS options, stage, position, line, report::text AS report FROM idp.import_runs
 WHERE source = $1 AND finished_at IS NULL ORDER BY started_at DESC LIMIT 1
"""
_KNOWN_UNTIL = "SELECT max(exported_at) FROM idp.import_runs WHERE source = $1 AND id <> $2"
_START = """
INSERT INTO idp.import_runs (id, source, digest, options, exported_at, stage, position, line, report, started_at)
VALUES ($1, $2, $3, $4::jsonb, $5, 'user', 0, 1, $6::jsonb, $7)
"""
_MOVE_ON = "UPDATE idp.import_runs SET stage = $2, position = $3, line = $4, report = $5::jsonb WHERE id = $1"
# Conflicts, administrators and notes are personal data, and were printed.
_WITHOUT_NAMES = "report = report - '{conflicts,administrators,notes}'::text[]"
_FINISH = f"UPDATE idp.import_runs SET finished_at = $2, {_WITHOUT_NAMES} WHERE id = $1"  # noqa: S608
_ABANDON = f"""
UPDATE idp.import_runs SET finished_at = $2, {_WITHOUT_NAMES} WHERE source = $1 AND finished_at IS NULL
"""  # noqa: S608
_UNKNOWN_KEYS = """
SELECT key FROM unnest($1::text[]) AS key
 WHERE NOT EXISTS (SELECT FROM idp.users WHERE email_key = key AND deleted_at IS NULL)
"""
_EVENTS = """
INSERT INTO idp.outbox (id, type, subject, sequence, data, created_at)
SELECT id, type, subject, sequence, data::jsonb, $6
  FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::text[]) WITH ORDINALITY
       AS n(id, type, subject, sequence, data, place) ORDER BY place
"""
_RECORD = """
INSERT INTO idp.audit_logs (id, timestamp, action, actor, user_id, target, details, ip_address, user_agent, request_id)
VALUES ($1, $2, 'import.finished', 'system', NULL, $3, $4::jsonb, NULL, NULL, NULL)
"""


class Import:
    """An import of one file.

    Args:
        database: of the service; its direct connection is used.
        file: the file.
        facts: what its check found.
        options: of the command.
        source: replaces the source that the file names.
        progress: called with the number of records done.
        seal: encrypts secrets of authenticator apps; without it, users who have one are refused.
    """

    def __init__(
        self,
        database: Database,
        file: ImportFile,
        facts: Facts,
        options: Options,
        *,
        source: str | None = None,
        progress: Callable[[int], None] = lambda _number: None,
        seal: Seal | None = None,
    ) -> None:
        self._database = database
        self._file = file
        self._facts = facts
        self._options = options
        self._source = source or facts.source
        self._progress = progress
        self._seal = seal

    async def dry_run(self) -> Result:
        """Report what `run` would do from the beginning, and change nothing.

        Raises:
            ImportRunning: another import is running.
        """
        async with self._connected() as connection:
            run = _Run(uuid7(), "user", 0, 1, Report())
            transaction = connection.transaction()
            await transaction.start()
            try:
                known_until = await connection.fetchval(_KNOWN_UNTIL, self._source, run.id)
                for stage, records in self._batches(run):
                    batch = self._batch(connection, run.report, known_until, is_dry_run=True)
                    await stage.apply(batch, records)
                    self._progress(len(records))
                await self._note_unknown_administrators(connection, run.report)
            finally:
                await transaction.rollback()
            return Result(run.report)

    async def run(self) -> Result:
        """Import the file; continue if an earlier import of the same file with the same options was interrupted.

        Raises:
            ImportRunning: another import is running.
            ConflictsFound: with `on_conflict="fail"`; earlier transactions stay.
        """
        async with self._connected() as connection:
            run, result = await self._begin(connection)
            known_until = await connection.fetchval(_KNOWN_UNTIL, self._source, run.id)
            for stage, records in self._batches(run):
                run.report = await self._commit(connection, run, known_until, stage, records)
                self._progress(len(records))
            await self._note_unknown_administrators(connection, run.report)
            async with connection.transaction():
                await connection.execute(_FINISH, run.id, clock.now())
                await connection.execute(_RECORD, uuid7(), clock.now(), f"import:{run.id}", self._details(run))
            result.report = run.report
            return result

    # --- steps -------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _connected(self) -> Any:
        connection = await self._database.connect_directly()
        try:
            if connection.pooling is not None and connection.pooling.pooled:
                raise ConnectionPooled
            await connection.execute(_LIMITS)
            if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
                raise ImportRunning
            yield connection
        finally:
            await connection.close()  # which releases the lock

    async def _begin(self, connection: Connection) -> tuple[_Run, Result]:
        options = msgspec.json.encode(self._options).decode()
        async with connection.transaction():
            row = await connection.fetchrow(_UNFINISHED, self._source)
            is_same = row is not None and row["digest"] == self._facts.digest
            if row is not None and is_same and msgspec.json.decode(row["options"]) == msgspec.json.decode(options):
                report = msgspec.json.decode(row["report"], type=Report)
                return _Run(row["id"], row["stage"], row["position"], row["line"], report), Result(report, row["line"])
            await connection.execute(_ABANDON, self._source, clock.now())
            run = _Run(uuid7(), "user", 0, 1, Report())
            empty = msgspec.json.encode(run.report).decode()
            facts = self._facts
            await connection.execute(
                _START, run.id, self._source, facts.digest, options, facts.exported_at, empty, clock.now()
            )
        return run, Result(run.report, file_changed=row is not None and not is_same)

    def _batches(self, run: _Run) -> Iterator[tuple[Stage, list[Numbered]]]:
        """Yield the batches that are left, and move the run's position behind each before the next."""
        names = [stage.name for stage in STAGES]
        for stage in STAGES[names.index(run.stage) :]:
            found = self._facts.ranges.get(stage.kind)
            if found is None:
                continue
            if run.stage != stage.name or run.position < found.start:
                run.stage, run.position, run.line = stage.name, found.start, found.line
            records = self._file.records(stage.kind, position=run.position, line=run.line, end=found.end)
            for batch in batches(records, BATCH):
                run.position, run.line = batch[-1].end, batch[-1].line + 1
                yield stage, batch

    async def _commit(
        self, connection: Connection, run: _Run, known_until: Any, stage: Stage, records: Sequence[Numbered]
    ) -> Report:
        """Import a batch in a transaction, with the position behind it; again after a conflict of transactions."""
        for attempt in range(1, _ATTEMPTS + 1):
            report = msgspec.convert(msgspec.to_builtins(run.report), Report)
            batch = self._batch(connection, report, known_until)
            try:
                async with connection.transaction():
                    await stage.apply(batch, records)
                    if self._must_stop(report, before=run.report):
                        raise ConflictsFound(report, imported=run.report)
                    await self._publish(batch)
                    state = msgspec.json.encode(report).decode()
                    await connection.execute(_MOVE_ON, run.id, run.stage, run.position, run.line, state)
            except _RETRYABLE:
                if attempt == _ATTEMPTS:
                    raise
                await asyncio.sleep(0.05 * attempt)
            else:
                return report
        raise AssertionError("unreachable")

    def _must_stop(self, report: Report, *, before: Report) -> bool:
        """Whether the new conflicts end the import. Ids of another source always do: later records refer to them."""
        if report.conflicting == before.conflicting:
            return False
        new = report.conflicts[len(before.conflicts) :]
        return self._options.on_conflict == "fail" or any(each.code == ID_TAKEN for each in new)

    def _batch(self, connection: Connection, report: Report, known_until: Any, *, is_dry_run: bool = False) -> Batch:
        return Batch(
            connection,
            self._options,
            self._source,
            self._facts.exported_at,
            known_until,
            clock.now(),
            report,
            is_dry_run,
            self._seal,
        )

    async def _publish(self, batch: Batch) -> None:
        if batch.events:
            types, subjects, sequences, data = zip(*batch.events, strict=True)
            ids = [uuid7() for _ in batch.events]
            await batch.connection.execute(_EVENTS, ids, types, subjects, sequences, data, batch.now)

    async def _note_unknown_administrators(self, connection: Connection, report: Report) -> None:
        for key in await connection.fetch(_UNKNOWN_KEYS, self._options.admin_keys):
            report.note(f"--admin-emails: no user has the address {key['key']}")

    def _details(self, run: _Run) -> str:
        report = run.report
        return msgspec.json.encode(
            {
                "source": self._source,
                "sha256": self._facts.digest,
                "on_conflict": self._options.on_conflict,
                **{name: report.total(name) for name in ("created", "updated", "skipped", "conflicting")},
                "administrators": report.administrators[:100],
            }
        ).decode()
