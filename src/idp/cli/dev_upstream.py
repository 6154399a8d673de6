"""`idp dev upstream token`: tokens of Example Corp, an OpenID provider of another company."""

from pathlib import Path
from typing import Any

import rich_click as click

from idp.cli.groups import SuggestingGroup


@click.group(cls=SuggestingGroup)
def upstream() -> None:
    """Print tokens of Example Corp, an OpenID provider that `idp dev` trusts."""


@upstream.command()
@click.argument("person", required=False)
@click.option("--group", "groups", multiple=True, metavar="GROUP", help="A group, any number of times.")
@click.option("--claim", "claims", multiple=True, metavar="NAME=VALUE", help="Another claim; VALUE is JSON or text.")
@click.option("--expired", is_flag=True, help="Print a token that expired an hour ago.")
@click.pass_obj
def token(
    data_dir: Path | None, person: str | None, groups: tuple[str, ...], claims: tuple[str, ...], expired: bool
) -> None:
    """Print an ID token of PERSON, by default grace. It is valid for five minutes.

    PERSON is a demo user (grace, hugo or iris), or any other name, which becomes the subject of a new user. Without
    --group, a demo user's token has the groups of that user.
    """
    from idp.cli.dev_discovery import default_folder, find_running_dev
    from idp.cli.failure import Failure
    from idp.dev import upstream_issuer

    folder = (data_dir or default_folder()).absolute()
    running = find_running_dev(folder)
    if running is None:
        raise Failure(f"No `idp dev` runs with the data in {folder}: start script/dev, or name its --data-dir.")
    issuer = upstream_issuer.load(running.upstream_issuer, folder / upstream_issuer.NAME)
    changes = _claims(claims, groups) | (_expired() if expired else {})
    print(issuer.token(upstream_issuer.find_person(person or "grace"), changes))


def _claims(given: tuple[str, ...], groups: tuple[str, ...]) -> dict[str, Any]:
    import msgspec

    claims: dict[str, Any] = {"groups": list(groups)} if groups else {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{each!r} is not NAME=VALUE.", param_hint="--claim")
        try:
            claims[name] = msgspec.json.decode(value)
        except msgspec.DecodeError:
            claims[name] = value
    return claims


def _expired() -> dict[str, Any]:
    import time

    return {"iat": int(time.time()) - 7200, "exp": int(time.time()) - 3600}
