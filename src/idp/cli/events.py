"""`idp events`: list, follow and publish again what is in the outbox, and generate its JSON Schemas."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from idp.cli.find_by_name import time_option
from idp.cli.groups import SuggestingGroup
from idp.cli.service_options import with_output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from idp.db.engine import Database
    from idp.events.reading import Position, StoredEvent

_MAX_RESULTS = 10_000
_TAIL_SECONDS = 0.5
_TAIL_BATCH = 500


@click.group(cls=SuggestingGroup)
def events() -> None:
    """List, follow and publish again the events in the outbox. Reads the database directly."""


@events.command("list")
@click.option("--since", metavar="TIME", help="Only from this time on, such as 2026-01-31T00:00:00Z.")
@click.option("--limit", type=click.IntRange(1, _MAX_RESULTS), default=100, show_default=True, help="How many to list.")
@with_output
def list_events(since: str | None, limit: int, output: str) -> None:
    """List events, the oldest first; -o json prints them as CloudEvents."""
    from idp.cli.find_by_name import counted
    from idp.cli.relative_time import ago
    from idp.cli.tables import Cell, Column, print_json, print_table

    found = _read(limit, time_option(since, "--since"))
    if output == "json":
        print_json([_cloud_event(each) for each in found])
        return
    columns = (Column("Time"), Column("Type"), Column("Subject", wraps=True), Column("Sequence", spare=1))
    rows = [
        [
            ago(each.created_at.isoformat()),
            Cell(each.type, "bold"),
            Cell(each.subject),
            Cell("" if each.sequence is None else str(each.sequence)),
        ]
        for each in found
    ]
    print_table(columns, rows, note=f"{counted(len(rows), 'event')}.")


@events.command()
@click.option("--from", "since", metavar="TIME", help="Begin with the events of this time; default: with new ones.")
def tail(since: str | None) -> None:
    """Print new events as they are committed, a CloudEvent a line, until Ctrl-C."""
    from idp.cli.database import with_database
    from idp.cli.production import load_for_database
    from idp.cli.server import until_stopped

    start = time_option(since, "--from")
    with until_stopped():
        with_database(load_for_database().settings, lambda database: _follow(database, start))


@events.command()
@click.option("--limit", type=click.IntRange(1, _MAX_RESULTS), default=100, show_default=True, help="How many to list.")
@with_output
def parked(limit: int, output: str) -> None:
    """List the events that Kafka refused for good, with the reason; later events of the subject were published."""
    import msgspec

    from idp.cli.database import with_database
    from idp.cli.find_by_name import counted
    from idp.cli.production import load_for_database
    from idp.cli.relative_time import ago
    from idp.cli.tables import Cell, Column, print_json, print_table

    found = with_database(load_for_database().settings, lambda database: _parked(database, limit))
    if output == "json":
        print_json(msgspec.to_builtins(found))
        return
    columns = (Column("Parked"), Column("Type"), Column("Subject", wraps=True), Column("Error", wraps=True))
    rows = [
        [ago(each.parked_at.isoformat()), Cell(each.type, "bold"), Cell(each.subject), Cell(each.error or "", "red")]
        for each in found
    ]
    print_table(columns, rows, note=f"{counted(len(rows), 'parked event')}.")


@events.command()
@click.option("--from", "since", metavar="TIME", help="Publish the events of this time and later again.")
@click.option("--parked", "only_parked", is_flag=True, help="Publish the parked events again.")
@with_output
def replay(since: str | None, only_parked: bool, output: str) -> None:
    """Publish events to Kafka again. Consumers see them with their former ids and sequences."""
    from idp.cli.database import with_database
    from idp.cli.failure import BadInput
    from idp.cli.find_by_name import counted
    from idp.cli.production import load_for_database
    from idp.cli.tables import print_done

    if (since is None) != only_parked:
        raise BadInput("Give either --from TIME or --parked.")
    number = with_database(
        load_for_database().settings, lambda database: _replay(database, time_option(since, "--from"))
    )
    print_done({"replayed": number}, output, f"{counted(number, 'event')} to be published again.")


@events.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def schemas(folder: Path) -> None:
    """Write the JSON Schema of each type of event into FOLDER, as in docs/events."""
    from idp.cli.find_by_name import counted
    from idp.events.schemas import write

    print(f"Wrote {counted(len(write(folder)), 'schema')} to {folder}.")


def _read(limit: int, since: datetime | None) -> "Sequence[StoredEvent]":
    from idp.cli.database import with_database
    from idp.cli.production import load_for_database
    from idp.events.reading import START, read_after

    async def work(database: "Database") -> "Sequence[StoredEvent]":
        async with database.transaction() as session:
            return await read_after(session, START, limit=limit, since=since)

    return with_database(load_for_database().settings, work)


async def _follow(database: "Database", since: datetime | None) -> None:
    import asyncio

    from idp.events.envelope import encode
    from idp.events.reading import START, last_position, read_after

    position: Position = START
    if since is None:
        async with database.transaction() as session:
            position = await last_position(session)
    while True:
        async with database.transaction() as session:
            found = await read_after(session, position, limit=_TAIL_BATCH, since=since)
        for each in found:
            print(encode(each).decode(), flush=True)
            position = each.position
        if len(found) < _TAIL_BATCH:
            await asyncio.sleep(_TAIL_SECONDS)


async def _parked(database: "Database", limit: int) -> Any:
    from idp.events.pending import list_parked

    async with database.transaction() as session:
        return await list_parked(session, limit=limit)


async def _replay(database: "Database", since: datetime | None) -> int:
    from idp.events import pending

    async with database.transaction() as session:
        return await pending.replay(session, since=since)


def _cloud_event(event: "StoredEvent") -> dict[str, Any]:
    from idp.events.envelope import cloud_event

    return cloud_event(event)
