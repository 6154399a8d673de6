"""`idp keys`: the signing keys."""

import rich_click as click

from idp.cli.database import run_with_database


@click.group()
def keys() -> None:
    """List and rotate the signing keys."""


@keys.command("list")
def list_keys() -> None:
    """Print the public keys, as the JWKS shows them."""
    import msgspec

    from idp.app import build_parts
    from idp.settings import load, refuse_unsafe

    loaded = load("production")
    refuse_unsafe(loaded.settings)
    found = run_with_database(build_parts(loaded).keyring.jwks())
    print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())


@keys.command()
@click.option("--now", "at_once", is_flag=True, help="Sign with it at once, for a key that has leaked.")
def rotate(at_once: bool) -> None:
    """Publish a new signing key, which signs after ten minutes, when every service has fetched it."""
    from idp.app import build_parts
    from idp.settings import load, refuse_unsafe

    loaded = load("production")
    refuse_unsafe(loaded.settings)
    kid = run_with_database(build_parts(loaded).keyring.rotate(at_once=at_once))
    print(f"The key {kid} is published and signs {'now' if at_once else 'in ten minutes'}.")
