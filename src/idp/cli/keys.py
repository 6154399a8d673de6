"""`idp keys`: the API keys of a person."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import rich_click as click

from idp.cli.find_by_name import check_separated, counted, find_by_name, scopes_of, status
from idp.cli.groups import SuggestingGroup
from idp.cli.root_secrets import secrets
from idp.cli.service_options import acting, days, person, with_literal

if TYPE_CHECKING:
    from idp.cli.client import Client
    from idp.cli.tables import Cell

_PATH = "/v1/api-keys"
_WEEK = 7 * 24 * 3600
_WHICH = click.argument("key", metavar="NAME_OR_ID")


@click.group(cls=SuggestingGroup)
def keys() -> None:
    """Create, list, rotate and revoke your API keys.

    Yours are those of the access token in IDP_TOKEN, or of --as EMAIL at an `idp dev` on this machine.
    """


keys.add_command(secrets)


@keys.command()
@click.argument("name")
@click.argument("scopes", nargs=-1)
@days(help="Days until it expires; it does not, by default.")
@with_literal
@acting
def create(
    name: str, scopes: tuple[str, ...], days: int | None, literal: bool, email: str | None, output: str, url: str | None
) -> None:
    """Create a key called NAME, with SCOPES. Its secret is printed once."""
    check_separated(scopes, literal=literal)
    made = person(url, email).post(_PATH, {"name": name, "scopes": scopes, "expires_in_days": days})
    _print_secret(made, output)


@keys.command("list")
@click.option("--all", "everything", is_flag=True, help="Revoked ones too.")
@acting
def list_keys(everything: bool, email: str | None, output: str, url: str | None) -> None:
    """List your keys, the newest first."""
    found = person(url, email).get(_PATH, include_revoked=everything)
    from idp.cli.tables import print_json

    if output == "json":
        print_json(found)
        return
    print_keys(found, note="" if everything else " `--all` lists revoked ones too.")


@keys.command()
@_WHICH
@click.option(
    "--overlap",
    type=click.IntRange(0, _WEEK),
    default=0,
    metavar="SECONDS",
    help="How long the old secret may still be used; it is refused at once, by default.",
)
@acting
def rotate(key: str, overlap: int, email: str | None, output: str, url: str | None) -> None:
    """Give a key a new secret."""
    client = person(url, email)
    made = client.post(f"{_PATH}/{_find(client, key)}/rotate", {"overlap_seconds": overlap})
    _print_secret(made, output, old=_old_secret(overlap))


@keys.command()
@_WHICH
@acting
def revoke(key: str, email: str | None, output: str, url: str | None) -> None:
    """Revoke a key. It is refused everywhere at once, and for good."""
    client = person(url, email)
    done = client.delete(f"{_PATH}/{_find(client, key)}")
    from idp.cli.tables import print_json, say

    if output == "json":
        print_json(done)
        return
    say(f"The key {done['name']} is revoked.")


def print_keys(found: list[dict[str, Any]], *, note: str = "", follows: bool = False) -> None:
    """Print keys as a table, with more to the note below it; never a secret."""
    from idp.cli.relative_time import ago, until
    from idp.cli.tables import Cell, Column, print_table

    columns = (
        Column("Name", wraps=True),
        Column("Scopes", wraps=True),
        Column("Status"),
        Column("Expires"),
        Column("Last used", spare=1),
        Column("Created", spare=3),
        Column("Begins with", spare=4),
        Column("ID", spare=2),
    )
    rows = [
        [
            Cell(key["name"], "bold"),
            scopes_of(key),
            status(key["is_revoked"], key["expires_at"]),
            until(key["expires_at"], matters=not key["is_revoked"]),
            ago(key["last_used_at"]),
            ago(key["created_at"]),
            Cell(key["prefix"]),
            Cell(key["key_id"], "cyan"),
        ]
        for key in found
    ]
    print_table(columns, rows, note=f"{counted(len(rows), 'key')}.{note}", follows=follows)


def _old_secret(overlap: int) -> "Cell":
    """Return until when the secret of before works, by the clock here."""
    from idp import clock
    from idp.cli.relative_time import exactly
    from idp.cli.tables import Cell

    if not overlap:
        return Cell("refused from now on")
    return Cell(f"works until {exactly((clock.now() + timedelta(seconds=overlap)).isoformat()).text}")


def _print_secret(made: dict[str, Any], output: str, *, old: "Cell | None" = None) -> None:
    from idp.cli.relative_time import exactly
    from idp.cli.tables import Cell, print_facts, print_json, say

    if output == "json":
        print_json(made)
        return
    print_facts(
        [
            ("Key", Cell(made["secret"], "bold green")),
            ("ID", Cell(made["key_id"], "cyan")),
            ("Name", Cell(made["name"])),
            ("Scopes", scopes_of(made)),
            ("Expires", exactly(made["expires_at"])),
            *([("Old secret", old)] if old else []),
        ]
    )
    say("Save the key now: it cannot be shown again.", style="yellow")


def _find(client: "Client", wanted: str) -> str:
    """Return the id of a key that is named by its id or its name; raises as `the_one`."""
    try:
        return f"key_{UUID(wanted.removeprefix('key_')).hex}"
    except ValueError:
        found = client.get(_PATH, include_revoked=True)
    named = [key for key in found if key["name"] == wanted]
    return str(find_by_name(named, wanted, noun="key", revoked="is_revoked", listing="idp keys list")["key_id"])
