"""`idp backup` and `idp restore`."""

import contextlib
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import rich_click as click

from idp.cli.failure import BadInput, Failure
from idp.cli.service_options import with_output

if TYPE_CHECKING:
    from idp.backup.dump import Summary
    from idp.backup.records import Record
    from idp.db.engine import Database
    from idp.settings import Secret, Settings

_STDIO = "-"


@click.command()
@click.argument("file")
@click.option(
    "--verify-in",
    metavar="URL",
    envvar="BACKUP_VERIFY_URL",
    help="Restore the backup into this empty database, and empty it again. [BACKUP_VERIFY_URL]",
)
@with_output
def backup(file: str, verify_in: str | None, output: str) -> None:
    """Write an encrypted backup of the database to FILE, or to stdout with `-`. IDP_SECRET_KEY decrypts it."""
    from idp.cli.database import with_database

    settings, roots = _settings()
    if verify_in and file == _STDIO:
        raise BadInput("--verify-in needs a file.")

    async def work(database: "Database") -> "Summary":
        from idp.backup.dump import dump, mark_backed_up
        from idp.backup.sealed_file import SealedWriter

        with _written(file) as target:
            writer = SealedWriter(target.write, roots[0])
            summary = await dump(database, writer.write)
            writer.close()
        if not verify_in:
            await mark_backed_up(database, summary.created_at)
        return summary

    summary = with_database(settings, work)
    if verify_in:
        _verify(settings, roots, file, verify_in, summary)
    _print(summary, output, f"Wrote {file}", to_stderr=file == _STDIO)


@click.command()
@click.argument("file")
@click.option("--check", is_flag=True, help="Only decrypt and read the whole file; no database is needed.")
@click.option("--replace", is_flag=True, help="Keep present data as the schema idp_before_restore.")
@click.option("--end-sessions", is_flag=True, help="End all sessions; some of them ended after the backup.")
@with_output
def restore(file: str, check: bool, replace: bool, end_sessions: bool, output: str) -> None:
    """Restore a backup from FILE (or stdin with `-`) into an empty database. Stop the service before."""
    from idp.cli.database import with_database

    settings, roots = _settings()
    with _records(file, roots) as records:
        if check:
            from idp.backup.load import skim

            _print(skim(records), output, f"{file} is complete")
            return

        async def work(database: "Database") -> "Summary":
            from idp.backup.restore import restore as restore_into

            return await restore_into(database, records, replace=replace, end_sessions=end_sessions)

        summary = with_database(settings, work, as_owner=True)
    _print(summary, output, f"Restored {file}")
    if output == "table":
        _remind(summary, end_sessions=end_sessions, replaced=replace)


def _settings() -> "tuple[Settings, list[Secret]]":
    from idp.cli.production import load_for_database
    from idp.deployment import root_secrets

    settings = load_for_database().settings
    return settings, list(root_secrets(settings))


def _verify(settings: "Settings", roots: "list[Secret]", file: str, url: str, written: "Summary") -> None:
    """Restore a backup into another database, compare the number of rows, and drop the schema again."""
    import msgspec

    from idp.cli.database import with_database
    from idp.settings import Secret

    scratch = msgspec.structs.replace(settings.database, url=Secret(url), direct_url=None, migration_url=None)
    elsewhere = msgspec.structs.replace(settings, database=scratch)
    with _records(file, roots) as records:

        async def work(database: "Database") -> "Summary":
            from idp.backup.restore import drop
            from idp.backup.restore import restore as restore_into

            restored = await restore_into(database, records, replace=False, end_sessions=False)
            await drop(database)
            return restored

        restored = with_database(elsewhere, work, as_owner=True)
    if restored.rows != written.rows:
        raise Failure(f"{file} does not restore what was written: {restored.rows} instead of {written.rows}.")

    async def mark(database: "Database") -> None:
        from idp.backup.dump import mark_backed_up

        await mark_backed_up(database, written.created_at)

    with_database(settings, mark)


@contextlib.contextmanager
def _written(file: str) -> Iterator[BinaryIO]:
    """Open a file that appears under its name only when it is complete; only its owner may read it."""
    if file == _STDIO:
        if sys.stdout.isatty():
            raise BadInput("A backup is binary: redirect it, or name a file.")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part = Path(f"{file}.{secrets.token_hex(4)}.part")  # a name that nobody could put a file or a link at before
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise BadInput(f"Cannot write {part}: {error.strerror}.") from None
    try:
        with os.fdopen(descriptor, "wb") as target:
            yield target
            target.flush()
            os.fsync(descriptor)
        part.replace(file)
    except OSError as error:
        raise Failure(f"Cannot write {file}: {error.strerror}.") from None
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def _records(file: str, roots: "list[Secret]") -> "Iterator[Iterator[Record]]":
    from idp.backup.records import read_records
    from idp.backup.restore import NotEmpty, ServiceRunning
    from idp.backup.sealed_file import UnreadableBackup, open_sealed

    try:
        with _opened(file) as source:
            yield read_records(open_sealed(source, roots))
    except (UnreadableBackup, NotEmpty, ServiceRunning) as error:
        raise Failure(str(error)) from None


@contextlib.contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    if file == _STDIO:
        yield sys.stdin.buffer
        return
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except OSError as error:
        raise BadInput(f"Cannot read {file}: {error.strerror}.") from None
    with os.fdopen(descriptor, "rb") as source:
        yield source


def _print(summary: "Summary", output: str, did: str, *, to_stderr: bool = False) -> None:
    from msgspec import structs

    facts: dict[str, Any] = structs.asdict(summary)
    if output == "json" and not to_stderr:
        from idp.cli.tables import print_json

        print_json(facts)
        return
    rows = sum(summary.rows.values())
    print(
        f"{did}: {rows} rows of {len(summary.rows)} tables, schema {summary.revision}, as of {summary.created_at}.",
        file=sys.stderr if to_stderr else sys.stdout,
    )


def _remind(summary: "Summary", *, end_sessions: bool, replaced: bool) -> None:
    print(f"Every change after {summary.created_at} is undone, revocations among them: review the audit log.")
    if not end_sessions:
        print("Sessions that ended since are valid again; `idp restore --end-sessions` ends all.")
    if replaced:
        print("The data before is kept: DROP SCHEMA idp_before_restore CASCADE when you no longer need it.")
    print("Start the service.")
