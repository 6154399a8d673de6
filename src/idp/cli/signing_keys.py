"""`idp signing-keys`: the keys that tokens are signed with."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

if TYPE_CHECKING:
    from idp.signing.keyring import Keyring

T = TypeVar("T")


@click.group("signing-keys")
def signing_keys() -> None:
    """List and rotate the keys that tokens are signed with."""


@signing_keys.command("list")
def list_keys() -> None:
    """Print the public keys, as the JWKS shows them."""
    import msgspec

    found = _with_keyring(lambda keyring: keyring.jwks())
    print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())


@signing_keys.command()
@click.option(
    "--now",
    "at_once",
    is_flag=True,
    help="For a key that has leaked: end every earlier one at once; every access token has to be refreshed.",
)
def rotate(at_once: bool) -> None:
    """Publish a new signing key.

    It signs after ten minutes, when every service has fetched it; the old one expires later.
    """
    kid = _with_keyring(lambda keyring: keyring.rotate(at_once=at_once))
    print(f"The key {kid} is published and signs {'now' if at_once else 'in ten minutes'}.")


def _with_keyring(work: "Callable[[Keyring], Coroutine[Any, Any, T]]") -> T:
    from idp.cli.database import run
    from idp.cli.production import load_production
    from idp.parts import build_parts

    parts = build_parts(load_production())
    assert parts.settings.database.url is not None
    return run(parts.database, work(parts.keyring), url=parts.settings.database.url)
