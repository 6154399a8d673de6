"""`idp tokens`: the tokens of services."""

from typing import TYPE_CHECKING
from uuid import UUID

import rich_click as click

from idp.cli.find_by_name import check_separated, counted, find_by_name, scopes_of, status
from idp.cli.groups import SuggestingGroup
from idp.cli.service_options import days, management, managing, with_literal

if TYPE_CHECKING:
    from idp.cli.client import Client

_PATH = "/auth/tokens"
_WHICH = click.argument("token", metavar="NAME_OR_ID")


@click.group(cls=SuggestingGroup)
def tokens() -> None:
    """Create, list, extend and revoke service tokens.

    Management: ADMIN_TOKEN in the environment, or an `idp dev` on this machine, which needs none.
    """


@tokens.command()
@click.argument("name")
@click.argument("scopes", nargs=-1)
@days(help="Days until it expires; it does not, by default.")
@with_literal
@managing
def create(name: str, scopes: tuple[str, ...], days: int | None, literal: bool, output: str, url: str | None) -> None:
    """Create a token for the service NAME, with SCOPES. It is printed once."""
    check_separated(scopes, literal=literal)
    made = management(url).post(_PATH, {"name": name, "scopes": scopes, "ttl_days": days})
    from idp.cli.relative_time import exactly
    from idp.cli.tables import Cell, print_facts, print_json, say

    if output == "json":
        print_json(made)
        return
    print_facts(
        [
            ("Token", Cell(made["token"], "bold green")),
            ("ID", Cell(made["token_id"], "cyan")),
            ("Name", Cell(made["name"])),
            ("Scopes", scopes_of(made)),
            ("Expires", exactly(made["expires_at"])),
        ]
    )
    say("Save the token now: it cannot be shown again.", style="yellow")


@tokens.command("list")
@click.option("--all", "everything", is_flag=True, help="Revoked ones too.")
@managing
def list_tokens(everything: bool, output: str, url: str | None) -> None:
    """List the tokens, the newest first."""
    found = management(url).get(_PATH, include_revoked=everything)
    from idp.cli.relative_time import ago, until
    from idp.cli.tables import Cell, Column, print_json, print_table

    if output == "json":
        print_json(found)
        return
    columns = (
        Column("Name", wraps=True),
        Column("Scopes", wraps=True),
        Column("Status"),
        Column("Expires"),
        Column("Last used", spare=1),
        Column("Created", spare=3),
        Column("ID", spare=2),
    )
    rows = [
        [
            Cell(token["name"], "bold"),
            scopes_of(token),
            status(token["revoked"], token["expires_at"]),
            until(token["expires_at"], matters=not token["revoked"]),
            ago(token["last_used_at"]),
            ago(token["created_at"]),
            Cell(token["token_id"], "cyan"),
        ]
        for token in found["tokens"]
    ]
    more = "" if everything else " `--all` lists revoked ones too."
    print_table(columns, rows, note=f"{counted(len(rows), 'token')}.{more}")


@tokens.command()
@_WHICH
@managing
def show(token: str, output: str, url: str | None) -> None:
    """Show what is known of a token."""
    client = management(url)
    found = client.get(f"{_PATH}/{_find(client, token)}")
    from idp.cli.relative_time import exactly
    from idp.cli.tables import Cell, print_facts, print_json

    if output == "json":
        print_json(found)
        return
    metadata = [(f"  {name}", Cell(str(value))) for name, value in found["metadata"].items()]
    revoked = [("Revoked", exactly(found["revoked_at"]))] if found["revoked_at"] else []
    print_facts(
        [
            ("Name", Cell(found["name"], "bold")),
            ("ID", Cell(found["token_id"], "cyan")),
            ("Status", status(found["revoked"], found["expires_at"])),
            ("Begins with", Cell(found["prefix"])),
            ("Scopes", scopes_of(found)),
            ("Created", exactly(found["created_at"])),
            ("Expires", exactly(found["expires_at"])),
            ("Last used", exactly(found["last_used_at"])),
            *revoked,
            *([("Metadata", Cell("")), *metadata] if metadata else []),
        ]
    )


@tokens.command()
@_WHICH
@click.option("--reason", help="Why, for the audit log.")
@managing
def revoke(token: str, reason: str | None, output: str, url: str | None) -> None:
    """Revoke a token. It is refused everywhere at once, and for good."""
    client = management(url)
    token_id = _find(client, token)
    done = client.post(f"{_PATH}/{token_id}/revoke", {"reason": reason})
    from idp.cli.tables import print_json, say

    if output == "json":
        print_json(done)
        return
    say(f"The token {token} is revoked.")


@tokens.command()
@_WHICH
@days(required=True, help="Days to add to its end, or to now where it has none.")
@managing
def extend(token: str, days: int, output: str, url: str | None) -> None:
    """Let a token live longer."""
    client = management(url)
    done = client.post(f"{_PATH}/{_find(client, token)}/extend", {"extend_days": days})
    from idp.cli.relative_time import exactly
    from idp.cli.tables import print_json, say

    if output == "json":
        print_json(done)
        return
    say(f"The token {token} expires on {exactly(done['expires_at']).text}.")


def _find(client: "Client", wanted: str) -> str:
    """Return the id of a token that is named by its id or its name; raises as `the_one`."""
    try:
        return str(UUID(wanted))
    except ValueError:
        found = client.get(_PATH, include_revoked=True)["tokens"]
    named = [token for token in found if token["name"] == wanted]
    return str(find_by_name(named, wanted, noun="token", revoked="revoked", listing="idp tokens list")["token_id"])
