"""`idp audit`: list audit records, and verify the hash chain over them."""

import re
from typing import TYPE_CHECKING

import rich_click as click

from idp.cli.groups import SuggestingGroup
from idp.cli.service_options import management, managing, with_output

if TYPE_CHECKING:
    from idp.audit.links import Link
    from idp.audit.verify import Findings

_PATH = "/api/auth/admin/audit"
_MAX_RESULTS = 1000  # records per request


@click.group(cls=SuggestingGroup)
def audit() -> None:
    """List audit records, and verify the hash chain over them."""


@audit.command("list")
@click.option("--user", "user_id", metavar="USER", help="Only records about this user: an id or an e-mail.")
@click.option("--action", help="Only this action, such as user.created.")
@click.option("--actor", metavar="ACTOR", help="Only records by this actor, such as user:ID.")
@click.option("--target", metavar="TARGET", help="Only records about this target, such as team:ID.")
@click.option("--since", metavar="TIME", help="Only from this time on, such as 2026-01-31T00:00:00Z.")
@click.option("--until", metavar="TIME", help="Only before this time.")
@click.option("--limit", type=click.IntRange(1, _MAX_RESULTS), default=100, show_default=True, help="How many to list.")
@managing
def list_records(limit: int, output: str, url: str | None, **filters: str | None) -> None:
    """List audit records, the newest first."""
    client = management(url)
    if filters["user_id"] is not None:
        from idp.cli.users import find_user

        filters["user_id"] = find_user(client, filters["user_id"])
    found = client.get(_PATH, limit=limit, **filters)
    from idp.cli.find_by_name import counted
    from idp.cli.relative_time import ago
    from idp.cli.tables import Cell, Column, print_json, print_table

    if output == "json":
        print_json(found)
        return
    columns = (
        Column("Time"),
        Column("Action"),
        Column("Actor", wraps=True),
        Column("User", wraps=True),
        Column("Target", wraps=True, spare=1),
        Column("Address", spare=2),
    )
    rows = [
        [
            ago(each["timestamp"]),
            Cell(each["action"], "bold"),
            Cell(each["actor"]),
            Cell(each["user_id"] or ""),
            Cell(each["target"] or ""),
            Cell(each["ip_address"] or ""),
        ]
        for each in found
    ]
    print_table(columns, rows, note=f"{counted(len(rows), 'record')}.")


@audit.command()
@click.option("--head", metavar="SEQ:HASH", help="An earlier head, which must still be in the chain.")
@with_output
def verify(head: str | None, output: str) -> None:
    """Verify the hash chain of all records. Reads the database directly, with the service's settings.

    Exit code 1 if a record is missing or was changed. To detect a truncated or rewritten chain, store the head
    elsewhere and pass it to the next check with --head.
    """
    expected = _link(head) if head else None
    from idp.audit.verify import verify as verify_chain
    from idp.cli.database import with_database
    from idp.cli.failure import Failure
    from idp.cli.production import load_for_database

    found = with_database(load_for_database().settings, lambda database: verify_chain(database, expected=expected))
    _print(found, output)
    if found.problem:
        raise Failure(f"The audit log is not intact. {found.problem}")


def _link(text: str) -> "Link":
    """Read `SEQ:HASH`; raises BadInput."""
    from idp.audit.links import Link
    from idp.cli.failure import BadInput

    if not re.fullmatch(r"[1-9][0-9]{0,17}:[0-9a-f]{64}", text):
        raise BadInput("--head takes a head as printed by `idp audit verify`: a number, a colon, and 64 hex digits.")
    seq, _, digest = text.partition(":")
    return Link(int(seq), digest)


def _print(found: "Findings", output: str) -> None:
    from idp.cli.find_by_name import counted
    from idp.cli.tables import print_json, say

    links = found.head.seq if found.head else 0
    if output == "json":
        print_json(
            {
                "intact": found.problem is None,
                "problem": found.problem,
                "links": links,
                "head": str(found.head) if found.head else None,
                "unchained": {"records": found.unlinked, "since": found.unlinked_since},
            }
        )
        return
    if found.problem is None:
        say(f"{counted(links, 'record')}, hash chain intact." if links else "No record is chained yet.")
    elif links:
        say(f"{counted(links, 'record')} before the break, hash chain intact.")
    if found.head:
        say(f"Head: {found.head}")
    if found.unlinked:
        say(f"Not chained yet: {counted(found.unlinked, 'record')}, since {found.unlinked_since}.")
