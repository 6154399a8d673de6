"""`idp clients`: OAuth clients."""

from typing import Any

import rich_click as click

from idp.cli.find_by_name import check_separated
from idp.cli.groups import SuggestingGroup
from idp.cli.service_options import management, managing, with_literal

_PATH = "/api/auth/admin/clients"
_WHICH = click.argument("client_id")


@click.group(cls=SuggestingGroup)
def clients() -> None:
    """Create, list, change and delete OAuth clients.

    Requires ADMIN_TOKEN in the environment, or an `idp dev` on this machine.
    """


@clients.command()
@click.argument("name")
@click.argument("scopes", nargs=-1)
@with_literal
@managing
def create(name: str, scopes: tuple[str, ...], literal: bool, output: str, url: str | None) -> None:
    """Create a client NAME that gets tokens with SCOPES. Its secret is printed once."""
    check_separated(scopes, literal=literal)
    _print_secret(management(url).post(_PATH, {"client_name": name, "scope": " ".join(scopes)}), output)


@clients.command("list")
@managing
def list_clients(output: str, url: str | None) -> None:
    """List the clients, the newest first."""
    found = management(url).get(_PATH)
    from idp.cli.tables import Cell, Column, print_json, print_table

    if output == "json":
        print_json(found)
        return
    rows = [
        [Cell(each["client_name"], "bold"), Cell(each["client_id"], "cyan"), Cell(each["scope"] or "(none)")]
        for each in found["clients"]
    ]
    print_table((Column("Name"), Column("ID"), Column("Scopes", wraps=True, spare=1)), rows)


@clients.command()
@_WHICH
@managing
def show(client_id: str, output: str, url: str | None) -> None:
    """Show a client, without its secret."""
    _print_facts(management(url).get(f"{_PATH}/{client_id}"), output)


@clients.command()
@_WHICH
@click.option("--name", help="The new name; default: the present one.")
@click.option("--scope", "scopes", multiple=True, help="A scope, any number of times: all that the client has then.")
@managing
def update(client_id: str, name: str | None, scopes: tuple[str, ...], output: str, url: str | None) -> None:
    """Change a client's name or scopes. Its tokens lose the scopes that it loses."""
    client = management(url)
    present = client.get(f"{_PATH}/{client_id}")
    body = {"client_name": name or present["client_name"], "scope": " ".join(scopes) or present["scope"]}
    _print_facts(client.put(f"{_PATH}/{client_id}", body), output)


@clients.command("rotate-secret")
@_WHICH
@click.option("--overlap", type=click.IntRange(0, 604_800), default=0, help="Seconds that the old secret stays valid.")
@managing
def rotate_secret(client_id: str, overlap: int, output: str, url: str | None) -> None:
    """Give a client another secret, and print it once."""
    made = management(url).post(f"{_PATH}/{client_id}/secret", {"overlap_seconds": overlap})
    _print_secret(made, output)


@clients.command()
@_WHICH
@managing
def delete(client_id: str, output: str, url: str | None) -> None:
    """Delete a client. Its tokens are refused at once."""
    done = management(url).delete(f"{_PATH}/{client_id}")
    from idp.cli.tables import print_done

    print_done(done, output, f"The client {client_id} is deleted.")


def _print_secret(made: dict[str, Any], output: str) -> None:
    _print_facts(made, output, secret=made["client_secret"])


def _print_facts(found: dict[str, Any], output: str, *, secret: str | None = None) -> None:
    from datetime import UTC, datetime

    from idp.cli.relative_time import exactly
    from idp.cli.tables import Cell, print_facts, print_json

    if output == "json":
        print_json(found)
        return
    created = datetime.fromtimestamp(found["client_id_issued_at"], UTC).isoformat()
    print_facts(
        [
            ("Name", Cell(found["client_name"], "bold")),
            ("ID", Cell(found["client_id"], "cyan")),
            *([("Secret", Cell(secret, "green"))] if secret else []),
            ("Scopes", Cell(found["scope"] or "(none)")),
            ("Created", exactly(created)),
        ]
    )
    if secret:
        print("Store the secret now: it is not shown again.")
