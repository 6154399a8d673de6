"""`idp tokens`: service tokens."""

import rich_click as click

from idp.cli.credentials import TOKEN
from idp.cli.find_by_name import check_separated, scopes_of, status
from idp.cli.groups import SuggestingGroup
from idp.cli.service_options import days, management, managing, with_literal

_WHICH = click.argument("token", metavar="NAME_OR_ID")


@click.group(cls=SuggestingGroup)
def tokens() -> None:
    """Create, list, extend and revoke service tokens.

    Requires ADMIN_TOKEN in the environment, or an `idp dev` on this machine.
    """


@tokens.command()
@click.argument("name")
@click.argument("scopes", nargs=-1)
@days(help="Days until it expires; default: never.")
@with_literal
@managing
def create(name: str, scopes: tuple[str, ...], days: int | None, literal: bool, output: str, url: str | None) -> None:
    """Create a token for the service NAME with SCOPES. It is printed once."""
    check_separated(scopes, literal=literal)
    created = management(url).post(TOKEN.path, {"name": name, "scopes": scopes, "ttl_days": days})
    TOKEN.print_secret(created, output)


@tokens.command("list")
@click.option("--all", "everything", is_flag=True, help="Include revoked tokens.")
@managing
def list_tokens(everything: bool, output: str, url: str | None) -> None:
    """List the tokens, the newest first."""
    found = management(url).get(TOKEN.path, include_revoked=everything)
    TOKEN.print_list(found, output, everything=everything)


@tokens.command()
@_WHICH
@managing
def show(token: str, output: str, url: str | None) -> None:
    """Show a token, without its secret."""
    client = management(url)
    found = client.get(f"{TOKEN.path}/{TOKEN.find_id(client, token)}")
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
@click.option("--reason", help="Reason for the audit log.")
@managing
def revoke(token: str, reason: str | None, output: str, url: str | None) -> None:
    """Revoke a token immediately. This cannot be undone."""
    client = management(url)
    done = client.post(f"{TOKEN.path}/{TOKEN.find_id(client, token)}/revoke", {"reason": reason})
    from idp.cli.tables import print_done

    print_done(done, output, f"The token {token} is revoked.")


@tokens.command()
@_WHICH
@days(required=True, help="Days to add to its expiry, or to now if it has none.")
@managing
def extend(token: str, days: int, output: str, url: str | None) -> None:
    """Extend a token."""
    client = management(url)
    done = client.post(f"{TOKEN.path}/{TOKEN.find_id(client, token)}/extend", {"extend_days": days})
    from idp.cli.relative_time import exactly
    from idp.cli.tables import print_done

    print_done(done, output, f"The token {token} expires on {exactly(done['expires_at']).text}.")
