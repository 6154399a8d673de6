"""`idp keys`: the API keys of a user."""

from datetime import timedelta
from typing import TYPE_CHECKING

import rich_click as click

from idp.cli.credentials import KEY
from idp.cli.find_by_name import check_separated
from idp.cli.groups import SuggestingGroup
from idp.cli.root_secrets import secrets
from idp.cli.service_options import acting, days, person, with_literal

if TYPE_CHECKING:
    from idp.cli.tables import Cell

_WEEK = 7 * 24 * 3600
_WHICH = click.argument("key", metavar="NAME_OR_ID")


@click.group(cls=SuggestingGroup)
def keys() -> None:
    """Create, list, rotate and revoke your API keys.

    Your user is that of the access token in IDP_TOKEN, or of --as EMAIL with an `idp dev` on this machine.
    """


keys.add_command(secrets)


@keys.command()
@click.argument("name")
@click.argument("scopes", nargs=-1)
@days(help="Days until it expires; default: never.")
@with_literal
@acting
def create(
    name: str, scopes: tuple[str, ...], days: int | None, literal: bool, email: str | None, output: str, url: str | None
) -> None:
    """Create a key with this NAME and SCOPES. Its secret is printed once."""
    check_separated(scopes, literal=literal)
    created = person(url, email).post(KEY.path, {"name": name, "scopes": scopes, "expires_in_days": days})
    KEY.print_secret(created, output)


@keys.command("list")
@click.option("--all", "everything", is_flag=True, help="Include revoked keys.")
@acting
def list_keys(everything: bool, email: str | None, output: str, url: str | None) -> None:
    """List your keys, the newest first."""
    found = person(url, email).get(KEY.path, include_revoked=everything)
    KEY.print_list(found, output, everything=everything)


@keys.command()
@_WHICH
@click.option(
    "--overlap",
    type=click.IntRange(0, _WEEK),
    default=0,
    metavar="SECONDS",
    help="Accept the old secret for this time; default: revoke it immediately.",
)
@acting
def rotate(key: str, overlap: int, email: str | None, output: str, url: str | None) -> None:
    """Replace the secret of a key."""
    client = person(url, email)
    created = client.post(f"{KEY.path}/{KEY.find_id(client, key)}/rotate", {"overlap_seconds": overlap})
    KEY.print_secret(created, output, old=_old_secret(overlap))


@keys.command()
@_WHICH
@acting
def revoke(key: str, email: str | None, output: str, url: str | None) -> None:
    """Revoke a key immediately. This cannot be undone."""
    client = person(url, email)
    done = client.delete(f"{KEY.path}/{KEY.find_id(client, key)}")
    from idp.cli.tables import print_done

    print_done(done, output, f"The key {done['name']} is revoked.")


def _old_secret(overlap: int) -> "Cell":
    """Return until when the old secret is accepted, by the local clock."""
    from idp import clock
    from idp.cli.relative_time import exactly
    from idp.cli.tables import Cell

    if not overlap:
        return Cell("revoked")
    return Cell(f"accepted until {exactly((clock.now() + timedelta(seconds=overlap)).isoformat()).text}")
