"""`idp clerk`: compare the users here with Clerk's list, and repair what differs."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import rich_click as click

from idp.cli.groups import SuggestingGroup
from idp.cli.service_options import with_output

if TYPE_CHECKING:
    from idp.clerk.comparison import Findings
    from idp.clerk.drift import Drift
    from idp.db.engine import Database
    from idp.settings import Settings

_MAX_DELETIONS = 100
_DONE = "Nothing differs: {compared} compared."


@click.group(cls=SuggestingGroup)
def clerk() -> None:
    """Compare the users here with Clerk's list, and repair what differs.

    For webhooks that never arrived. Uses the database and CLERK_SECRET_KEY, or those of an `idp dev` on this machine.
    """


@clerk.command()
@with_output
def diff(output: str) -> None:
    """List users who differ from Clerk's list. Changes no user.

    Exit code 1 if any does. The numbers are also in the metric `idp_sync_drift`.
    """
    from idp.cli.failure import Failure
    from idp.cli.find_by_name import counted

    found = _run(lambda drift: drift.find())
    _print(found, output)
    if found.differing:
        raise Failure(
            f"{counted(found.differing, 'user')} of {found.compared} differ: `idp clerk repair` repairs them."
        )


@clerk.command()
@click.option(
    "--max-deletions",
    type=click.IntRange(0),
    default=_MAX_DELETIONS,
    show_default=True,
    help="Stop before more users are deleted.",
)
@with_output
def repair(max_deletions: int, output: str) -> None:
    """Make the users here equal to Clerk's list: create, change and delete users. Continues after an interruption."""
    from idp.clerk.drift import TooManyDeletions
    from idp.cli.failure import BadInput

    try:
        found = _run(lambda drift: drift.repair(max_deletions=max_deletions))
    except TooManyDeletions:
        raise BadInput(
            f"More than {max_deletions} users are not at Clerk, so none was deleted: check that CLERK_SECRET_KEY "
            "belongs to this instance, then use --max-deletions."
        ) from None
    _print(found, output)


def _run(work: "Callable[[Drift], Any]") -> "Findings":
    from idp.clerk.api import ClerkApiError, open_api
    from idp.clerk.drift import Drift
    from idp.clerk.sync import ClerkUsers
    from idp.cli.database import with_database
    from idp.cli.failure import Away, BadInput
    from idp.cli.production import load_for_database

    settings = _with_stand_in(load_for_database().settings)
    key = settings.clerk.secret_key
    if key is None:
        raise BadInput("CLERK_SECRET_KEY is not set: copy it from Clerk's dashboard (sk_…).")

    async def compare(database: "Database") -> "Findings":
        users = ClerkUsers(database, settings.accounts, settings.clerk.metadata_roles)
        with _progress() as progress:
            async with open_api(settings.clerk.api_url, key) as api:
                found: Findings = await work(Drift(api, users, settings.clerk.metadata_roles, progress))
        return found

    try:
        return with_database(settings, compare)
    except ClerkApiError as error:
        raise Away(str(error)) from None


def _with_stand_in(settings: "Settings") -> "Settings":
    """Return the settings with the stand-in of the running `idp dev`, if they name no Clerk instance."""
    from idp.cli.dev_discovery import find_running_dev

    dev = find_running_dev()
    if settings.clerk.secret_key is not None or dev is None:
        return settings
    import msgspec

    from idp.cli.dev_clerk import stand_in_of

    url, state = stand_in_of(dev)
    clerk = msgspec.structs.replace(settings.clerk, api_url=url, secret_key=state)
    return msgspec.structs.replace(settings, clerk=clerk)


@contextmanager
def _progress() -> Iterator[Callable[[int], None]]:
    """Show the number of compared users, on a terminal."""
    if not sys.stderr.isatty():
        yield lambda _number: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("  Comparing users"), BarColumn(), TextColumn("{task.completed}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda number: bar.update(task, completed=number)


def _print(found: "Findings", output: str) -> None:
    from idp.cli.find_by_name import counted
    from idp.cli.tables import Cell, Column, print_json, print_table, say

    if output == "json":
        import msgspec

        print_json(msgspec.to_builtins(found))
        return
    if not found.differing:
        say(_DONE.format(compared=counted(found.compared, "user")))
        return
    rows = [
        [Cell(each.clerk_id, "cyan"), Cell(each.kind, "yellow"), Cell(", ".join(each.members))]
        for each in found.examples
    ]
    numbers = (("missing", found.missing), ("changed", found.changed), ("deleted", found.deleted))
    parts = [f"{number} {kind}" for kind, number in (*numbers, ("conflicting", found.conflicting)) if number]
    shown = "" if found.differing <= len(rows) else f" The first {len(rows)} are shown."
    columns = (Column("Clerk id"), Column("Difference"), Column("Members", wraps=True))
    print_table(columns, rows, note=f"{found.compared} compared: {', '.join(parts)}.{shown}")
