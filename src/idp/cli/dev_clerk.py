"""`idp dev clerk`: changes users in the stand-in for Clerk of the running `idp dev`, and delivers its webhooks."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from idp.cli.groups import SuggestingGroup
from idp.cli.service_options import options

if TYPE_CHECKING:
    from idp.cli.dev_discovery import RunningDev
    from idp.dev.clerk_delivery import Trouble
    from idp.dev.clerk_instance import ClerkInstance
    from idp.settings import Secret

_SHARE = click.FloatRange(0, 1)
_WHO = click.argument("user_id", metavar="USER_ID")
_DELIVERY = options(
    click.option("--drop", type=_SHARE, default=0.0, help="Share of the deliveries that get lost."),
    click.option("--double", type=_SHARE, default=0.0, help="Share of the deliveries that arrive twice."),
    click.option("--shuffle", is_flag=True, help="Deliver in any order."),
    click.option("--seed", type=int, help="Repeat the same losses and order."),
)
_PROFILE = options(
    click.option("--email", help="The primary address, verified at Clerk."),
    click.option("--first-name", help="First name."),
    click.option("--last-name", help="Last name."),
    click.option("--plan", help="public_metadata.plan."),
)


@click.group(cls=SuggestingGroup)
def clerk() -> None:
    """Act as Clerk for a running `idp dev`: create and change users, send signed webhooks, print session tokens."""


@clerk.command()
@_PROFILE
@click.option("--count", type=click.IntRange(1, 1000), default=1, show_default=True, help="How many users.")
@_DELIVERY
def create(count: int, email: str | None, **given: Any) -> None:
    """Sign up at Clerk, and print the user's id."""
    if email is not None and "@" not in email:
        raise click.BadParameter(f"{email!r} is not an e-mail address.", param_hint="--email")
    members, trouble = _members(given), _trouble(given)

    def sign_up(instance: "ClerkInstance") -> list[dict[str, Any]]:
        return [instance.create(email=_numbered(email, number), **members) for number in range(count)]

    for event in _play(sign_up, trouble):
        print(event["data"]["id"])


@clerk.command()
@_WHO
@_PROFILE
@click.option("--banned/--not-banned", default=None, help="Ban the user, or no longer.")
@_DELIVERY
def update(user_id: str, email: str | None, banned: bool | None, **given: Any) -> None:
    """Change a user at Clerk."""
    members, trouble = _members(given), _trouble(given)
    members |= {} if banned is None else {"banned": banned}
    _play(lambda instance: [instance.update(_known(instance, user_id), email=email, **members)], trouble)
    print(f"{user_id} is changed.")


@clerk.command()
@_WHO
@_DELIVERY
def delete(user_id: str, **given: Any) -> None:
    """Delete a user at Clerk."""
    _play(lambda instance: [instance.delete(_known(instance, user_id))], _trouble(given))
    print(f"{user_id} is deleted.")


@clerk.command()
@_WHO
@click.option("--pending", is_flag=True, help="A session with an open task.")
@click.option("--minutes", type=click.IntRange(0), default=0, help="Age of the sign-in (claim fva).")
def session(user_id: str, pending: bool, minutes: int) -> None:
    """Print a session token of a user, valid for a minute."""
    from idp.dev.clerk_instance import ClerkInstance
    from idp.dev.clerk_store import read_state

    base, file = _running()
    instance = ClerkInstance(_issuer(base), read_state(file))
    claims: dict[str, Any] = {"sts": "pending" if pending else "active", "fva": [minutes, -1]}
    print(instance.session_token(_known(instance, user_id), **claims))


# --- shared ----------------------------------------------------------------------------------------------------------


def _play(act: Any, trouble: "Trouble") -> list[dict[str, Any]]:
    """Change the stand-in, deliver its events to the running `idp dev`, and return them.

    Raises:
        Failure: the service refused a delivery.
    """
    from idp.cli.http import is_loopback
    from idp.dev.clerk_delivery import Outgoing, on_the_way
    from idp.dev.clerk_instance import ClerkInstance
    from idp.dev.clerk_store import changing

    base, file = _running()
    assert is_loopback(base)
    with changing(file) as state:
        events: list[dict[str, Any]] = act(ClerkInstance(_issuer(base), state))
        secret = state.webhook_secret
    _deliver(base, on_the_way([Outgoing.of(event) for event in events], trouble), secret)
    return events


def _deliver(base: str, messages: Sequence[Any], secret: str) -> None:
    import httpx2

    from idp.cli.failure import Away, Failure
    from idp.dev.clerk_delivery import PATH

    try:
        with httpx2.Client(base_url=base, trust_env=False, timeout=30) as client:
            for message in messages:
                answer = client.post(PATH, content=message.body, headers=message.headers(secret))
                if answer.status_code != 200:
                    raise Failure(f"{base}{PATH} answered {answer.status_code}: {answer.text}")
    except httpx2.HTTPError as error:
        raise Away(f"{base} cannot be reached ({type(error).__name__}).") from None


def _running() -> tuple[str, Path]:
    """Return the address of the running `idp dev`, and the file of its stand-in.

    Raises:
        Away: none runs, or it uses the Clerk instance of its environment.
    """
    from idp.cli.dev_discovery import default_folder, find_running_dev
    from idp.cli.failure import Away

    context = click.get_current_context()
    folder: Path = (context and context.obj) or default_folder()
    dev = find_running_dev(folder)
    if dev is None:
        raise Away("`idp dev` does not run: start it with script/dev.")
    if not dev.clerk_stand_in:
        raise Away("`idp dev` uses the Clerk instance of its environment (CLERK_…), not the stand-in.")
    return dev.base_urls[0], folder / "clerk.json"


def stand_in_of(dev: "RunningDev") -> "tuple[str, Secret]":
    """Return the API address and the secret key of the stand-in."""
    from idp.cli.dev_discovery import default_folder
    from idp.dev.clerk_store import read_state
    from idp.settings import Secret

    state = read_state(default_folder() / "clerk.json")
    return _issuer(dev.base_urls[0]), Secret(state.secret_key)


def _issuer(base: str) -> str:
    from urllib.parse import urlsplit

    from idp.dev.clerk_routes import PATH

    return f"http://127.0.0.1:{urlsplit(base).port}{PATH}"


def _known(instance: "ClerkInstance", user_id: str) -> str:
    from idp.cli.failure import NotFound

    if user_id not in instance.state.users:
        raise NotFound(f"The stand-in has no user {user_id}: create one with `idp dev clerk create`.")
    return user_id


def _members(given: dict[str, Any]) -> dict[str, Any]:
    """Return the members of a user that options name."""
    members = {name: given[name] for name in ("first_name", "last_name") if given[name] is not None}
    return members | ({"public_metadata": {"plan": given["plan"]}} if given["plan"] is not None else {})


def _trouble(given: dict[str, Any]) -> "Trouble":
    from idp.dev.clerk_delivery import Trouble

    return Trouble(drop=given["drop"], double=given["double"], shuffle=given["shuffle"], seed=given["seed"])


def _numbered(email: str | None, number: int) -> str | None:
    """Return the address of one of several users: `ada@…`, `ada-2@…`."""
    if email is None or number == 0:
        return email
    local, _, domain = email.rpartition("@")
    return f"{local}-{number + 1}@{domain}"
