"""Credentials named by people: by their name where that is clear, else by their id."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from idp.cli.tables import Cell


def find_by_name(
    named: Sequence[dict[str, Any]], name: str, *, noun: str, revoked: str, listing: str
) -> dict[str, Any]:
    """Return the credential that a name means: the one that lives, or where none does the only one there ever was.

    Args:
        named: all that have this name.
        name: for the sentences.
        noun: what they are, such as `token`.
        revoked: the member that says whether one is revoked.
        listing: the command that shows those that are not revoked; `--all` shows all of them.

    Raises:
        NotFound: there is none.
        BadInput: there are several.
    """
    from idp.cli.failure import BadInput, NotFound
    from idp.cli.relative_time import is_past

    live = [each for each in named if not each[revoked] and not is_past(each["expires_at"])]
    if not named:
        raise NotFound(f"There is no {noun} called {name}: `{listing} --all` shows all of them.")
    if len(live) > 1:
        raise BadInput(f"{len(live)} live {noun}s are called {name}: give the ID of one (`{listing} -o json`).")
    if not live and len(named) > 1:
        raise BadInput(
            f"{len(named)} {noun}s were called {name} and none is live: give the ID of one (`{listing} --all -o json`)."
        )
    return (live or named)[0]


def check_separated(scopes: Sequence[str], *, literal: bool) -> None:
    """Refuse `read,write`, which would be one scope with a comma in its name, unless that is meant.

    Raises:
        BadInput: naming it.
    """
    from idp.cli.failure import BadInput

    if not literal and (joined := [scope for scope in scopes if "," in scope]):
        raise BadInput(f"Separate scopes with spaces: {joined[0]} is one scope; --literal takes it as that.")


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, such as `3 tokens`."""
    return f"{number or 'No'} {noun}{'' if number == 1 else 's'}"


def status(revoked: bool, expires_at: str | None) -> "Cell":
    """Return whether a credential is live, expired or revoked, in its colour."""
    from idp.cli.relative_time import is_past
    from idp.cli.tables import Cell

    if revoked:
        return Cell("revoked", "red")
    return Cell("expired", "yellow") if is_past(expires_at) else Cell("live", "green")


def scopes_of(credential: dict[str, Any]) -> "Cell":
    """Return the scopes of a credential, one beside the other."""
    from idp.cli.tables import Cell

    return Cell(" ".join(credential["scopes"])) if credential["scopes"] else Cell("none", "dim")
