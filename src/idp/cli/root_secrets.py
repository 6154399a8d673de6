"""`idp keys secrets`: count the keys that depend on each root secret, before one is removed (C-06c)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import rich_click as click

if TYPE_CHECKING:
    from idp.cli.tables import Cell
    from idp.db.engine import Database
    from idp.settings import Secret, Settings


_BY_PEPPER = """
SELECT pepper, count(*) AS number FROM idp.api_keys
 WHERE pepper IS NOT NULL AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) GROUP BY pepper
"""
_SEALED = "SELECT sealed_private_jwk FROM idp.signing_keys WHERE expires_at IS NULL OR expires_at > now()"
_APPS = "SELECT secret FROM idp.totp_secrets"


class Dependents(NamedTuple):
    """Counts of live keys digested, and of signing keys and secrets of authenticator apps encrypted, under one root
    secret; None: an unknown secret.
    """

    secret: str | None
    api_keys: int
    signing_keys: int
    authenticator_apps: int


@click.command()
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def secrets(output: str) -> None:
    """Count the keys that depend on each root secret. Reads the database directly, with the service's settings.

    API keys, service tokens and authenticator apps move to the current secret when used, signing keys when rotated.
    """
    from idp.cli.database import with_database
    from idp.cli.production import load_production_for_database

    settings = load_production_for_database().settings
    roots = named_roots(settings)
    counted = with_database(settings, lambda database: _count(database, roots))
    from idp.cli.tables import Cell, Column, print_json, print_table, say

    if output == "json":
        print_json([{"secret": each.secret, **_numbers(each)} for each in counted])
        return
    rows = [
        [_name(each.secret), *(Cell(str(number), "" if number else "dim") for number in _numbers(each).values())]
        for each in counted
    ]
    print_table((Column("Root secret"), Column("API keys and tokens"), Column("Signing keys"), Column("Apps")), rows)
    for sentence in advice(counted):
        say(sentence)


def named_roots(settings: "Settings") -> "list[tuple[str, Secret]]":
    """Return the live root secrets with their setting names, the current one first.

    The same ones, in the same order, that `build_core` passes to the sealer and the peppers.
    """
    from idp.deployment import root_secrets

    earlier = settings.secrets.previous_secret_keys
    given = [
        ("IDP_SECRET_KEY", settings.secrets.secret_key),
        *((f"IDP_PREVIOUS_SECRET_KEYS, number {place}", secret) for place, secret in enumerate(earlier, start=1)),
        ("AUTH_JWT_SECRET_KEY", settings.tokens.auth_jwt_secret),
        ("JWT_SECRET_KEY", settings.tokens.jwt_secret),
        *(
            (f"AUTH_JWT_PREVIOUS_SECRET_KEYS, number {place}", secret)
            for place, secret in enumerate(settings.tokens.previous_jwt_secrets, start=1)
        ),
    ]
    names: dict[Secret, str] = {}
    for name, secret in given:
        if secret is not None:
            names.setdefault(secret, name)
    return [(names[secret], secret) for secret in root_secrets(settings)]


async def _count(database: "Database", roots: "Sequence[tuple[str, Secret]]") -> list[Dependents]:
    from sqlalchemy import text

    from idp.apikeys.secret import Peppers
    from idp.signing.sealing import Sealer

    async with database.transaction() as session:
        by_pepper = {row.pepper: int(row.number) for row in await session.execute(text(_BY_PEPPER))}
        sealed = list(await session.scalars(text(_SEALED)))
        apps = list(await session.scalars(text(_APPS)))
    found = []
    for name, secret in roots:
        opens = Sealer([secret]).open
        opened = [each for each in sealed if opens(each, purpose="signing-key") is not None]
        sealed = [each for each in sealed if each not in opened]
        own = [each for each in apps if Sealer([secret]).is_current(each)]
        apps = [each for each in apps if each not in own]
        found.append(Dependents(name, by_pepper.pop(Peppers([secret]).current, 0), len(opened), len(own)))
    lost = Dependents(None, sum(by_pepper.values()), len(sealed), len(apps))
    return [*found, lost] if any(_numbers(lost).values()) else found


def advice(counted: Sequence[Dependents]) -> list[str]:
    """Return a sentence for each recommended action."""
    sentences = [
        f"No key depends on {each.secret}: remove it when the sessions started under it have ended."
        for each in counted[1:]
        if each.secret and each.secret.startswith("IDP_PREVIOUS") and not any(_numbers(each).values())
    ]
    if counted[-1].secret is None:
        sentences.append(
            "Keys of an unknown secret are refused: put the earlier root secret into IDP_PREVIOUS_SECRET_KEYS."
        )
    return sentences


def _numbers(each: Dependents) -> dict[str, int]:
    return {
        "api_keys": each.api_keys,
        "signing_keys": each.signing_keys,
        "authenticator_apps": each.authenticator_apps,
    }


def _name(secret: str | None) -> "Cell":
    from idp.cli.tables import Cell

    return Cell("none of these", "red") if secret is None else Cell(secret, "bold")
