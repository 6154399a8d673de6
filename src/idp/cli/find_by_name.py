"""Find credentials by name if it is unique, else by id."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from idp.cli.tables import Cell


def find_by_name(
    named: Sequence[dict[str, Any]], name: str, *, noun: str, revoked: str, listing: str
) -> dict[str, Any]:
    """Return the credential with this name: the live one, or the only revoked one.

    Args:
        named: all credentials with this name.
        name: for error messages.
        noun: their kind, such as `token`.
        revoked: the JSON member that is true for revoked ones.
        listing: the command that lists those that are not revoked; `--all` lists all.

    Raises:
        NotFound: there is none.
        BadInput: there are several.
    """
    from idp.cli.failure import BadInput, NotFound
    from idp.cli.relative_time import is_past

    live = [each for each in named if not each[revoked] and not is_past(each["expires_at"])]
    if not named:
        raise NotFound(f"There is no {noun} named {name}: `{listing} --all` lists all.")
    if len(live) > 1:
        raise BadInput(f"{len(live)} live {noun}s are named {name}: use an ID (`{listing} -o json`).")
    if not live and len(named) > 1:
        raise BadInput(f"{len(named)} revoked {noun}s are named {name}: use an ID (`{listing} --all -o json`).")
    return (live or named)[0]


def check_separated(scopes: Sequence[str], *, literal: bool) -> None:
    """Refuse `read,write`, which is one scope with a comma in its name, unless `literal`.

    Raises:
        BadInput: a scope contains a comma.
    """
    from idp.cli.failure import BadInput

    if not literal and (joined := [scope for scope in scopes if "," in scope]):
        raise BadInput(f"Separate scopes with spaces: {joined[0]} is one scope; use --literal to accept it.")


def time_option(text: str | None, option: str) -> datetime | None:
    """Read a time (RFC 3339, UTC by default).

    Raises:
        BadInput: it is not a time; the text names the option.
    """
    from idp.cli.failure import BadInput

    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(f"{option} takes a time such as 2026-01-31T00:00:00Z, not {text!r}.") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, such as `3 tokens`."""
    return f"{number or 'No'} {noun}{'' if number == 1 else 's'}"


def status(revoked: bool, expires_at: str | None) -> "Cell":
    """Return the coloured status of a credential: live, expired or revoked."""
    from idp.cli.relative_time import is_past
    from idp.cli.tables import Cell

    if revoked:
        return Cell("revoked", "red")
    return Cell("expired", "yellow") if is_past(expires_at) else Cell("live", "green")


def scopes_of(credential: dict[str, Any]) -> "Cell":
    """Return the scopes of a credential, separated by spaces."""
    from idp.cli.tables import Cell

    return Cell(" ".join(credential["scopes"])) if credential["scopes"] else Cell("none", "dim")
