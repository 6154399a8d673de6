"""`idp webhooks`: endpoints that get events."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import rich_click as click

from idp.cli.find_by_name import time_option
from idp.cli.groups import SuggestingGroup
from idp.cli.service_options import management, managing

if TYPE_CHECKING:
    from idp.cli.client import Client
    from idp.cli.tables import Cell

_PATH = "/v1/webhooks"
_WHICH = click.argument("webhook", metavar="URL_OR_ID")


@click.group(cls=SuggestingGroup)
def webhooks() -> None:
    """Manage webhooks: endpoints to which events are posted.

    Requires ADMIN_TOKEN in the environment, or an `idp dev` on this machine.
    """


@webhooks.command()
@click.argument("endpoint", metavar="URL")
@click.argument("types", nargs=-1)
@click.option("--description", default="", help="What it is for.")
@managing
def create(endpoint: str, types: tuple[str, ...], description: str, output: str, url: str | None) -> None:
    """Register an endpoint for events of these TYPES, or all. Its secret is printed once."""
    _check_types(types)
    body = {"url": endpoint, "types": types, "description": description}
    _print_secret(management(url).post(_PATH, body), output)


@webhooks.command("list")
@managing
def list_webhooks(output: str, url: str | None) -> None:
    """List the webhooks, the oldest first."""
    found = management(url).get(_PATH)
    from idp.cli.find_by_name import counted
    from idp.cli.relative_time import ago
    from idp.cli.tables import Cell, Column, print_json, print_table

    if output == "json":
        print_json(found)
        return
    columns = (
        Column("URL", wraps=True),
        Column("Status", wraps=True),
        Column("Types", wraps=True, spare=2),
        Column("Delivered", spare=1),
        Column("ID", spare=3),
    )
    rows = [
        [
            Cell(each["url"], "bold"),
            _status(each),
            _types(each),
            ago(each["last_delivered_at"]),
            Cell(each["id"], "cyan"),
        ]
        for each in found
    ]
    print_table(columns, rows, note=f"{counted(len(rows), 'webhook')}.")


@webhooks.command()
@_WHICH
@managing
def show(webhook: str, output: str, url: str | None) -> None:
    """Show a webhook and how far its deliveries are."""
    client = management(url)
    _print(client.get(_path(client, webhook)), output)


@webhooks.command()
@_WHICH
@managing
def test(webhook: str, output: str, url: str | None) -> None:
    """Post a signed test event now. Exit code 1 if it is not delivered."""
    client = management(url)
    done = client.post(f"{_path(client, webhook)}/test", {})
    from idp.cli.failure import Failure
    from idp.cli.tables import print_done

    if not done["delivered"]:
        raise Failure(f"The test event was not delivered: {done['error']}.")
    print_done(done, output, f"The test event was delivered in {done['seconds']:.2f} s.")


@webhooks.command()
@_WHICH
@managing
def disable(webhook: str, output: str, url: str | None) -> None:
    """Stop deliveries; events wait as long as they are kept."""
    _change(webhook, output, url, is_active=False)


@webhooks.command()
@_WHICH
@managing
def enable(webhook: str, output: str, url: str | None) -> None:
    """Continue deliveries where they stopped; a failing webhook is tried again at once."""
    _change(webhook, output, url, is_active=True)


@webhooks.command("rotate-secret")
@_WHICH
@click.option(
    "--overlap",
    type=click.IntRange(0, 604_800),
    default=86_400,
    show_default=True,
    metavar="SECONDS",
    help="How long deliveries are signed with the old secret, too.",
)
@managing
def rotate_secret(webhook: str, overlap: int, output: str, url: str | None) -> None:
    """Replace the secret. The new one is printed once."""
    client = management(url)
    _print_secret(client.post(f"{_path(client, webhook)}/rotate-secret", {"overlap_seconds": overlap}), output)


@webhooks.command()
@_WHICH
@click.option("--after", metavar="CURSOR", help="Deliver again what follows this cursor of GET /v1/events.")
@click.option("--since", metavar="TIME", help="Deliver again from this time on, such as 2026-01-31T00:00:00Z.")
@managing
def replay(webhook: str, after: str | None, since: str | None, output: str, url: str | None) -> None:
    """Deliver events again, as far as they are kept; also rejected ones."""
    from idp.cli.failure import BadInput

    if (after is None) == (since is None):
        raise BadInput("Give either --after CURSOR or --since TIME.")
    begin = time_option(since, "--since")
    client = management(url)
    body = {"after": after, "since": begin.isoformat() if begin else None}
    done = client.post(f"{_path(client, webhook)}/replay", body)
    from idp.cli.tables import print_done

    print_done(done, output, f"Events after {done['position']} are delivered again to {done['url']}.")


@webhooks.command()
@_WHICH
@managing
def rejections(webhook: str, output: str, url: str | None) -> None:
    """List the events that the endpoint rejected, the newest first."""
    client = management(url)
    found = client.get(f"{_path(client, webhook)}/rejections", limit=1000)
    from idp.cli.find_by_name import counted
    from idp.cli.relative_time import ago
    from idp.cli.tables import Cell, Column, print_json, print_table

    if output == "json":
        print_json(found)
        return
    columns = (Column("Time"), Column("Type", wraps=True), Column("Error", wraps=True), Column("Event", spare=1))
    rows = [
        [ago(each["rejected_at"]), Cell(each["event_type"], "bold"), Cell(each["error"]), Cell(each["event_id"])]
        for each in found
    ]
    print_table(columns, rows, note=f"{counted(len(rows), 'event')}.")


@webhooks.command()
@_WHICH
@managing
def delete(webhook: str, output: str, url: str | None) -> None:
    """Delete a webhook."""
    client = management(url)
    done = client.delete(_path(client, webhook))
    from idp.cli.tables import print_done

    print_done(done, output, f"The webhook {webhook} is deleted.")


def _check_types(types: Sequence[str]) -> None:
    """Raise BadInput for a type that does not exist, with a similar one."""
    import difflib

    from idp.cli.failure import BadInput
    from idp.events.catalogue import EventType

    for name in types:
        if name not in set(EventType):
            close = difflib.get_close_matches(name, list(EventType), n=1)
            similar = f"did you mean {close[0]}?" if close else "docs/events.md lists the types."
            raise BadInput(f"There is no event type {name}: {similar}")


def _path(client: "Client", webhook: str) -> str:
    """Return the path of the webhook with this id or URL; raises NotFound, or BadInput for several with one URL."""
    from idp.cli.failure import BadInput, NotFound

    found = [each for each in client.get(_PATH) if webhook in (each["id"], each["url"])]
    if not found:
        raise NotFound(f"No webhook has the URL or id {webhook}.")
    if len(found) > 1:
        raise BadInput(
            f"Several webhooks have this URL: name one by its id, {', '.join(each['id'] for each in found)}."
        )
    return f"{_PATH}/{found[0]['id']}"


def _change(webhook: str, output: str, url: str | None, **changes: Any) -> None:
    client = management(url)
    _print(client.patch(_path(client, webhook), changes), output)


def _print_secret(found: dict[str, Any], output: str) -> None:
    from idp.cli.tables import say

    _print(found, output)
    if output != "json":
        say("Save the secret now: it cannot be shown again.", style="yellow")


def _print(found: dict[str, Any], output: str) -> None:
    from idp.cli.relative_time import exactly
    from idp.cli.tables import Cell, print_facts, print_json

    if output == "json":
        print_json(found)
        return
    secret = [("Secret", Cell(found["secret"], "bold green"))] if "secret" in found else []
    failing = [
        ("Failing since", exactly(found["failing_since"])),
        ("Next attempt", exactly(found["next_attempt_at"])),
    ]
    print_facts(
        [
            *secret,
            ("URL", Cell(found["url"], "bold")),
            ("ID", Cell(found["id"], "cyan")),
            ("Status", _status(found)),
            ("Types", _types(found)),
            *([("Description", Cell(found["description"]))] if found["description"] else []),
            ("Position", Cell(found["position"])),
            ("Last delivered", exactly(found["last_delivered_at"])),
            *(failing if found["failing_since"] else []),
            ("Created", exactly(found["created_at"])),
        ]
    )


def _status(found: dict[str, Any]) -> "Cell":
    from idp.cli.tables import Cell

    error = f": {found['last_error']}" if found["last_error"] else ""
    if not found["is_active"]:
        return Cell(f"disabled ({found['disabled_reason']}){error}", "red")
    return Cell(f"failing{error}", "yellow") if found["failing_since"] else Cell("live", "green")


def _types(found: dict[str, Any]) -> "Cell":
    from idp.cli.tables import Cell

    return Cell(" ".join(found["types"]) or "all")
