"""Shared options of commands that call a service, and their HTTP clients."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

if TYPE_CHECKING:
    from idp.cli.client import Client

F = TypeVar("F", bound=Callable[..., Any])

_URL = "URL of the service; default: IDP_URL, or http://localhost:${PORT:-8000}."
_ADMIN_HINT = "ADMIN_TOKEN must be the service's ADMIN_TOKEN, or a service token with the scope idp:manage."
_PERSON_HINT = "IDP_TOKEN must be a valid access token; POST /auth/login returns one."
_AS_HINT = "--as works only with `idp dev`."

with_url = click.option("--url", metavar="URL", help=_URL)
with_person = click.option(
    "--as", "email", metavar="EMAIL", help="Act as this user (only with `idp dev` on this machine)."
)
_NEW_USER = "idp.new_user"  # in click's context


def _remember_new_user(ctx: click.Context, _option: click.Parameter, value: bool) -> None:
    ctx.meta[_NEW_USER] = value


with_new_user = click.option(
    "--new-user",
    is_flag=True,
    expose_value=False,
    callback=_remember_new_user,
    help="Create the user of --as if it does not exist.",
)
with_literal = click.option("--literal", is_flag=True, help="Accept a comma in a scope.")
with_output = click.option(
    "-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True, help="JSON for scripts."
)


def options(*each: Callable[[F], F]) -> Callable[[F], F]:
    """Add options to a command, in this order."""

    def decorate(command: F) -> F:
        for option in reversed(each):
            command = option(command)
        return command

    return decorate


managing = options(with_output, with_url)
acting = options(with_person, with_new_user, with_output, with_url)


def management(url: str | None) -> "Client":
    """Return a client for management."""
    from idp.cli.client import Client
    from idp.cli.target import for_management

    return Client(for_management(url), hints={401: _ADMIN_HINT, 403: _ADMIN_HINT})


def person(url: str | None, email: str | None) -> "Client":
    """Return a client that acts as a user."""
    from idp.cli.client import Client
    from idp.cli.target import for_person

    target = for_person(url, email)
    context = click.get_current_context()
    if email is not None and not (context and context.meta.get(_NEW_USER)):
        _check_user_exists(url, email)
    return Client(target, hints={401: _PERSON_HINT if "Authorization" in target.headers else _AS_HINT})


def _check_user_exists(url: str | None, email: str) -> None:
    """Ask before `--as` creates a user, because the address may be misspelt.

    Raises:
        BadInput: the user does not exist, and stdin is no terminal.
        click.Abort: the user declined.
    """
    import difflib
    import sys

    from idp.cli.client import Client
    from idp.cli.failure import BadInput
    from idp.cli.target import for_management

    target = for_management(url)
    if not target.headers:
        return  # an `idp dev` with another data folder: no token to list its users
    found = Client(target, hints={}).get("/api/auth/admin/users", limit=1000)["users"]
    known = {user["email"].lower(): user["email"] for user in found if user["email"]}
    if email.strip().lower() in known:
        return
    alike = difflib.get_close_matches(email.lower(), known, n=1)
    hint = f" Did you mean {known[alike[0]]}?" if alike else ""
    if not sys.stdin.isatty():
        raise BadInput(f"No user has the address {email}.{hint} Use --new-user to create it.")
    click.confirm(f"No user has the address {email}.{hint} Create it", abort=True, err=True)


days = partial(click.option, "--days", type=click.IntRange(1, 3650), metavar="N")
