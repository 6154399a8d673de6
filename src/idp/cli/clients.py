"""`idp clients`: OAuth clients."""

from typing import TYPE_CHECKING, Any

import rich_click as click

from idp.cli.client_metadata import changed_metadata, described, facts_of, metadata_of, new_metadata
from idp.cli.find_by_name import check_separated
from idp.cli.groups import SuggestingGroup
from idp.cli.service_options import management, managing, with_literal

if TYPE_CHECKING:
    from idp.provider.declared_clients import Difference

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
@described
@with_literal
@managing
def create(name: str, scopes: tuple[str, ...], literal: bool, output: str, url: str | None, **given: Any) -> None:
    """Create a client NAME that gets tokens with SCOPES. Its secret is printed once.

    With --redirect-uri it signs users in; SCOPES are then openid, profile, email and offline_access by default.
    """
    check_separated(scopes, literal=literal)
    _print(management(url).post(_PATH, new_metadata(name, scopes, given)), output)


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
        [
            Cell(each["client_name"], "bold"),
            Cell(each["client_id"], "cyan"),
            Cell(" ".join(each["grant_types"])),
            Cell(each["scope"] or "(none)"),
        ]
        for each in found["clients"]
    ]
    columns = (
        Column("Name", wraps=True),
        Column("ID"),
        Column("Grants", wraps=True),
        Column("Scopes", wraps=True, spare=1),
    )
    print_table(columns, rows)


@clients.command()
@managing
def diff(output: str, url: str | None) -> None:
    """Show how the clients differ from those that config/clients.toml declares. Exit code 1 if any does.

    A start of the service applies the file: it creates and changes, and never deletes. Secrets are not compared.
    """
    from idp.provider import declared_clients
    from idp.settings import config_dir

    path = config_dir() / declared_clients.NAME
    declared = declared_clients.read(path, fetch_problem=lambda _url: None, with_secrets=False)
    found = declared_clients.differences(declared, management(url).get(_PATH)["clients"])
    from idp.cli.tables import print_json, say

    if output == "json":
        import msgspec

        print_json(msgspec.to_builtins(found))
    elif found:
        _print_differences(found)
    elif declared:
        say(f"The service has the {len(declared)} clients of {path} as declared.")
    else:
        say(f"{path} declares no clients.")
    if found:
        raise SystemExit(1)


def _print_differences(found: "list[Difference]") -> None:
    from idp.cli.tables import Cell, Column, print_table

    rows = [
        [
            Cell(each.client_id, "cyan"),
            Cell(each.member or "(client)"),
            Cell(_value(each.declared)),
            Cell(_value(each.actual)),
        ]
        for each in found
    ]
    columns = (Column("ID"), Column("Member"), Column("Declared", wraps=True), Column("Service", wraps=True, spare=1))
    print_table(columns, rows)


def _value(value: Any) -> str:
    if value is None:
        return "(missing)"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


@clients.command()
@_WHICH
@managing
def show(client_id: str, output: str, url: str | None) -> None:
    """Show a client, without its secret."""
    _print(management(url).get(f"{_PATH}/{client_id}"), output)


@clients.command()
@_WHICH
@click.option("--name", help="The new name; default: the present one.")
@click.option("--scope", "scopes", multiple=True, help="A scope, any number of times: all that the client has then.")
@described
@managing
def update(
    client_id: str, name: str | None, scopes: tuple[str, ...], output: str, url: str | None, **given: Any
) -> None:
    """Change a client. What is not given stays; an option that can be repeated replaces all its values.

    Its tokens lose the scopes that it loses; if it loses a grant, the sessions that it has of users end.
    """
    changes = metadata_of(given)
    if name:
        changes["client_name"] = name
    if scopes:
        changes["scope"] = " ".join(scopes)
    client = management(url)
    present = client.get(f"{_PATH}/{client_id}")
    _print(client.put(f"{_PATH}/{client_id}", changed_metadata(present, changes)), output)


@clients.command("rotate-secret")
@_WHICH
@click.option("--overlap", type=click.IntRange(0, 604_800), default=0, help="Seconds that the old secret stays valid.")
@managing
def rotate_secret(client_id: str, overlap: int, output: str, url: str | None) -> None:
    """Give a client another secret, and print it once."""
    made = management(url).post(f"{_PATH}/{client_id}/secret", {"overlap_seconds": overlap})
    _print(made, output)


@clients.command()
@_WHICH
@managing
def delete(client_id: str, output: str, url: str | None) -> None:
    """Delete a client. Its tokens are refused at once."""
    done = management(url).delete(f"{_PATH}/{client_id}")
    from idp.cli.tables import print_done

    print_done(done, output, f"The client {client_id} is deleted.")


def _print(found: dict[str, Any], output: str) -> None:
    """Print a client, with its secret if the answer has one."""
    from idp.cli.tables import print_facts, print_json

    if output == "json":
        print_json(found)
        return
    secret = found.get("client_secret")
    print_facts(facts_of(found, secret=secret))
    if secret:
        print("Store the secret now: it is not shown again.")
