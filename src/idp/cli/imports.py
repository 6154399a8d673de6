"""`idp import`: import users and credentials of another service."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import rich_click as click

from idp.cli.service_options import with_output

if TYPE_CHECKING:
    from idp.db.engine import Database
    from idp.importing.batch import Options, Seal
    from idp.importing.import_file import Facts
    from idp.importing.report import Report
    from idp.importing.run import ConflictsFound, Result
    from idp.settings import Settings

_SHOWN = 20  # conflicts in text


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True), metavar="FILE.ndjson")
@click.option("--dry-run", is_flag=True, help="Report what would happen, and change nothing.")
@click.option("--source", metavar="NAME", help="Name of the other service; default: the one in the file.")
@click.option(
    "--on-conflict",
    type=click.Choice(["fail", "skip", "link"]),
    default="fail",
    show_default=True,
    help="Stop, leave the record out, or link two accounts with the same verified address.",
)
@click.option("--emit-events", is_flag=True, help="Publish an event for each change, with the origin `import`.")
@click.option(
    "--admin-emails", metavar="EMAIL,…", multiple=True, help="Verified addresses whose users become administrators."
)
@with_output
def import_(
    file: str,
    dry_run: bool,
    source: str | None,
    on_conflict: str,
    emit_events: bool,
    admin_emails: tuple[str, ...],
    output: str,
) -> None:
    """Import users, teams, keys and tokens from FILE.ndjson, or from stdin with `-`.

    `idp export-legacy` and `idp convert` write such files. Works directly on the database. An interrupted import
    continues when the same command runs again; records that are already here are skipped.
    """
    from idp.cli.failure import BadInput, Failure
    from idp.importing.batch import Options
    from idp.importing.import_file import BadFile
    from idp.importing.run import ConflictsFound, ConnectionPooled, ImportRunning
    from idp.users.email import email_key

    emails = [each.strip() for given in admin_emails for each in given.split(",") if each.strip()]
    if without := next((each for each in emails if "@" not in each), None):
        raise BadInput(f"--admin-emails: {without} is not an e-mail address.")
    options = Options(on_conflict, emit_events, tuple(sorted(map(email_key, emails))))  # type: ignore[arg-type]
    try:
        with _opened(file) as stream:
            result = _import(stream, options, source=source, is_dry_run=dry_run)
    except BadFile as error:
        raise BadInput(f"{file} cannot be imported, and nothing was written.\n{error}") from None
    except ImportRunning:
        raise Failure("Another import is running on this database: wait until it ends.") from None
    except ConnectionPooled:
        raise Failure(
            "A statement pooler is between this command and PostgreSQL: set DATABASE_DIRECT_URL to the server itself."
        ) from None
    except ConflictsFound as error:
        _print(error.report, output, is_dry_run=False)
        raise Failure(_stopped(error)) from None
    _remark(result)
    _print(result.report, output, is_dry_run=dry_run)


def _stopped(error: "ConflictsFound") -> str:
    """Say what was imported before the conflicts, and what can be done about them."""
    from idp.importing.users import ID_TAKEN

    taken = [str(each.line) for each in error.new if each.code == ID_TAKEN]
    done = sum(error.imported.total(name) for name in ("created", "updated"))
    before = f"{done} records before them are imported" if done else "nothing is imported"
    remedy = (
        f"Ids of another source (line {', '.join(taken[:_SHOWN])}) always stop it: change these ids in the file."
        if taken
        else "--on-conflict skip leaves such records out."
    )
    return (
        f"Stopped at these conflicts: {before}, and nothing of their group of up to 1,000 records. "
        f"`--dry-run` lists the conflicts of the whole file. {remedy}"
    )


@contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    """Open a file, or copy stdin or a pipe to a temporary one, because it is read more than once."""
    import shutil
    import tempfile

    if file == "-":
        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(sys.stdin.buffer, copy)
            copy.flush()
            yield copy
        return
    with Path(file).open("rb") as stream:
        if stream.seekable():
            yield stream
            return
        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(stream, copy)
            copy.flush()
            yield copy


def _import(stream: BinaryIO, options: "Options", *, source: str | None, is_dry_run: bool) -> "Result":
    from idp.cli.database import check_revision, with_database
    from idp.cli.production import load_for_database
    from idp.importing.import_file import ImportFile

    file = ImportFile(stream)
    with _progress("Checking", None) as checked:
        facts = file.check(lambda done, size: checked(done, size))
    settings = load_for_database().settings

    async def work(database: "Database") -> "Result":
        from idp.db.migrate import current
        from idp.importing.run import Import

        check_revision(await current(database))
        seal = await _sealing(database, settings)
        with _progress("Importing", _steps(facts)) as done:
            task = Import(database, file, facts, options, source=source, progress=done, seal=seal)
            return await (task.dry_run() if is_dry_run else task.run())

    return with_database(settings, work, as_owner=True)


async def _sealing(database: "Database", settings: "Settings") -> "Seal | None":
    """Return what encrypts secrets of authenticator apps, None without a root secret.

    Raises:
        BadInput: the root secret is not that of the service.
    """
    from idp.cli.database_contents import sealed_keys
    from idp.cli.failure import BadInput
    from idp.deployment import root_secrets
    from idp.settings import root_secret
    from idp.signing.sealing import Sealer

    if root_secret(settings) is None:
        return None
    if (problem := await sealed_keys(database, settings)) is not None:
        raise BadInput(problem)
    sealer = Sealer(root_secrets(settings))
    return lambda secret: sealer.seal(secret.encode(), purpose="totp")


def _steps(facts: "Facts") -> int:
    domains = facts.ranges.get("domain")
    return facts.records + (domains.records if domains else 0)


@contextmanager
def _progress(what: str, total: int | None) -> Iterator[Callable[..., None]]:
    """Show a bar on a terminal. It is advanced by a number, or set to a number of all."""
    if not sys.stderr.isatty():
        yield lambda *_numbers: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn(f"  {what}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)

        def advance(number: int, size: int | None = None) -> None:
            if size is None:
                bar.advance(task, number)
            else:
                bar.update(task, completed=number, total=size)

        yield advance


def _remark(result: "Result") -> None:
    if result.resumed_at is not None:
        click.echo(f"Continued an interrupted import at line {result.resumed_at}; its numbers are included.", err=True)
    if result.file_changed:
        click.echo(
            "An earlier import of this source was interrupted with another file: started at the beginning; records "
            "that are already here are skipped.",
            err=True,
        )


def _print(report: "Report", output: str, *, is_dry_run: bool) -> None:
    from idp.cli.tables import print_json

    if output == "json":
        print_json(_json(report, is_dry_run=is_dry_run))
        return
    _print_numbers(report, is_dry_run=is_dry_run)
    _print_conflicts(report)


def _print_numbers(report: "Report", *, is_dry_run: bool) -> None:
    from idp.cli.tables import Cell, Column, print_table, say

    rows = [
        [
            Cell(kind, "bold"),
            *(Cell(str(getattr(counts, name))) for name in ("created", "updated", "skipped")),
            Cell(str(counts.conflicting), "red" if counts.conflicting else ""),
        ]
        for kind, counts in report.by_kind.items()
    ]
    columns = tuple(Column(each) for each in ("Kind", "Created", "Updated", "Skipped", "Conflicts"))
    print_table(columns, rows, note="Nothing was changed (--dry-run)." if is_dry_run else "")
    for email in report.administrators[:_SHOWN]:
        say(f"Administrator: {email}")
    if more := len(report.administrators) - _SHOWN:
        say(f"and {more} more administrators (-o json lists them)") if more > 0 else None
    for text, number in report.notes.items():
        say(f"Note: {text} ({number})")


def _print_conflicts(report: "Report") -> None:
    from idp.cli.tables import say

    for each in sorted(report.conflicts, key=lambda conflict: conflict.line)[:_SHOWN]:
        say(f"line {each.line}: {each.kind} {each.id}: {each.code}: {each.seen}; {each.exists}. To do: {each.action}.")
    if report.conflicting > _SHOWN:
        say(f"and {report.conflicting - _SHOWN} more conflicts (-o json lists the first 1,000)")


def _json(report: "Report", *, is_dry_run: bool) -> dict[str, Any]:
    import msgspec

    totals = {name: report.total(name) for name in ("created", "updated", "skipped", "conflicting")}
    return {"dry_run": is_dry_run, **totals, **msgspec.to_builtins(report)}
