"""`idp signing-keys`: list, rotate and retire the signing keys."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

from idp.cli.groups import SuggestingGroup
from idp.cli.service_options import with_output

if TYPE_CHECKING:
    from idp.signing.keyring import Keyring

T = TypeVar("T")


@click.group("signing-keys", cls=SuggestingGroup)
def signing_keys() -> None:
    """List, rotate and retire the signing keys."""


@signing_keys.command("list")
@with_output
def list_keys(output: str) -> None:
    """List the published keys, newest first, with status and expiry."""
    import msgspec

    found = msgspec.to_builtins(_with_keyring(lambda keyring: keyring.list_keys()))
    from idp.cli.relative_time import exactly
    from idp.cli.tables import Cell, Column, print_json, print_table

    if output == "json":
        print_json(found)
        return
    styles = {"signing": "green", "announced": "yellow", "retiring": "dim"}
    rows = [
        [
            Cell(key["kid"], "cyan"),
            Cell(key["algorithm"]),
            Cell(key["status"], styles[key["status"]]),
            exactly(key["signs_from"]),
            exactly(key["expires_at"]),
        ]
        for key in found
    ]
    columns = (Column("Key ID"), Column("Algorithm"), Column("Status"), Column("Signs from"), Column("Expires"))
    print_table(columns, rows)


@signing_keys.command()
@click.option(
    "--now",
    "at_once",
    is_flag=True,
    help="After a leak: revoke all earlier keys at once; every access token must be refreshed.",
)
@with_output
def rotate(at_once: bool, output: str) -> None:
    """Publish new signing keys, one of each algorithm.

    They sign after ten minutes, when all services have fetched them; the old keys expire later.
    """
    kids = _with_keyring(lambda keyring: keyring.rotate(at_once=at_once))
    signs = "now" if at_once else "in ten minutes"
    if output == "json":
        from idp.cli.tables import print_json

        print_json([{"kid": kid, "signs": signs} for kid in kids])
        return
    for kid in kids:
        print(f"The key {kid} is published and signs {signs}.")


@signing_keys.command()
@click.argument("kid")
@click.option(
    "--now", "at_once", is_flag=True, help="After a leak: revoke this key at once, with the tokens that it has signed."
)
@with_output
def retire(kid: str, at_once: bool, output: str) -> None:
    """Replace the signing key KID.

    If it signs, a successor is published and signs after ten minutes; it expires when no living token carries it any
    more. An announced key is withdrawn. A key with a successor expires already.
    """
    successor = _with_keyring(lambda keyring: keyring.retire(kid, at_once=at_once))
    if output == "json":
        from idp.cli.tables import print_json

        print_json({"kid": kid, "successor": successor})
        return
    if successor is None:
        print(f"The key {kid} {'is revoked' if at_once else 'signs no more'}; `idp signing-keys list` shows the rest.")
    else:
        print(f"The key {successor} is published and signs {'now' if at_once else 'in ten minutes'}.")


def _with_keyring(work: "Callable[[Keyring], Coroutine[Any, Any, T]]") -> T:
    from idp.cli.database import run
    from idp.cli.production import load_production_for_database
    from idp.core import build_core

    core = build_core(load_production_for_database())
    assert core.settings.database.url is not None
    return run(core.database, work(core.keyring), url=core.settings.database.url)
