"""Credentials named by people: by their name where that is clear, else by their id."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from idp.cli.tables import Cell


def the_one(named: Sequence[dict[str, Any]], name: str, *, noun: str, revoked: str, listing: str) -> dict[str, Any]:
    """Return the credential that a name means: the live one, or the only one there ever was.

    Args:
        named: all that have this name.
        name: for the sentences.
        noun: what they are, such as `token`.
        revoked: the member that says whether one is revoked.
        listing: the command that shows them all.

    Raises:
        NotFound: there is none.
        BadInput: there are several.
    """
    from idp.cli.failure import BadInput, NotFound

    live = [each for each in named if not each[revoked]]
    if not named:
        raise NotFound(f"There is no {noun} called {name}: `{listing}` shows all of them.")
    if len(named) > 1 and len(live) != 1:
        raise BadInput(f"{len(named)} {noun}s are called {name}: give the ID that `{listing} -o json` shows.")
    return (live or named)[0]


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, such as `3 tokens`."""
    return f"{number or 'No'} {noun}{'' if number == 1 else 's'}"


def status(revoked: bool, expires_at: str | None) -> "Cell":
    """Return whether a credential is live, expired or revoked, in its colour."""
    from idp.cli.tables import Cell
    from idp.cli.times import is_past

    if revoked:
        return Cell("revoked", "red")
    return Cell("expired", "yellow") if is_past(expires_at) else Cell("live", "green")


def scopes_of(credential: dict[str, Any]) -> "Cell":
    """Return the scopes of a credential, one beside the other."""
    from idp.cli.tables import Cell

    return Cell(" ".join(credential["scopes"])) if credential["scopes"] else Cell("none", "dim")
