"""`idp users`: administration of users."""

import sys
from typing import TYPE_CHECKING, Any

import rich_click as click

from idp.cli.create_admin import create_admin
from idp.cli.groups import SuggestingGroup
from idp.cli.service_options import management, managing

if TYPE_CHECKING:
    from idp.cli.client import Client
    from idp.cli.tables import Cell

_PATH = "/api/auth/admin/users"
_MAX_RESULTS = 1000  # users per request
_WHO = click.argument("user", metavar="EMAIL_OR_ID")
_PLAN = click.Choice(["FREE", "BASIC", "PRO"], case_sensitive=False)
_STATUS_CELLS = {True: ("enabled", "green"), False: ("disabled", "red")}


@click.group(cls=SuggestingGroup)
def users() -> None:
    """Invite, list, change, sign out, disable and delete users; reset lost second factors.

    Requires ADMIN_TOKEN in the environment, or an `idp dev` on this machine. `create-admin`, for the first
    administrator, uses the database instead.
    """


users.add_command(create_admin)


@users.command()
@click.argument("email")
@click.option("--name", help="Display name.")
@click.option("--role", "roles", multiple=True, help="A role; default: user. Can be repeated.")
@click.option("--plan", type=_PLAN, help="FREE by default.")
@managing
def invite(
    email: str, name: str | None, roles: tuple[str, ...], plan: str | None, output: str, url: str | None
) -> None:
    """Create an account for EMAIL and mail a link to set its password.

    For a user who has not accepted yet, the mail is sent again and the earlier link is revoked.
    """
    given = {"name": name, "roles": roles or None, "plan": plan}
    body = {"email": email, **{member: value for member, value in given.items() if value is not None}}
    invited = management(url).post(_PATH, body)
    from idp.cli.tables import print_done

    print_done(
        invited,
        output,
        f"{_who(invited)} is invited with the roles {_listed(invited['roles'])}; a mail will be sent.",
    )


@users.command("list")
@click.option("--search", metavar="TEXT", help="A part of the e-mail or name; case is ignored.")
@click.option("--role", help="Only users with this role, such as admin.")
@click.option("--enabled/--disabled", "is_active", default=None, help="Only enabled or disabled users.")
@click.option("--limit", type=click.IntRange(1, _MAX_RESULTS), default=100, show_default=True, help="How many to list.")
@click.option("--offset", type=click.IntRange(0), default=0, help="How many to skip.")
@managing
def list_users(
    search: str | None, role: str | None, is_active: bool | None, limit: int, offset: int, output: str, url: str | None
) -> None:
    """List users, the newest first."""
    found = management(url).get(
        _PATH, search=search, role=role, is_active=is_active, limit=limit, offset=offset or None
    )
    from idp.cli.relative_time import ago
    from idp.cli.tables import Cell, Column, print_json, print_table

    if output == "json":
        print_json(found)
        return
    columns = (
        Column("E-mail", wraps=True),
        Column("Roles", wraps=True),
        Column("Status"),
        Column("Plan", spare=2),
        Column("Created", spare=4),
        Column("Name", wraps=True, spare=1),
        Column("ID", spare=3),
    )
    rows = [
        [
            Cell(user["email"] or "none", "bold" if user["email"] else "dim"),
            _roles(user),
            Cell(*_STATUS_CELLS[user["is_active"]]),
            Cell(user["plan"]),
            ago(user["created_at"]),
            Cell(user["name"] or ""),
            Cell(user["user_id"], "cyan"),
        ]
        for user in found["users"]
    ]
    print_table(columns, rows, note=_page_note(found["pagination"], len(rows)))


def _page_note(page: dict[str, Any], shown: int) -> str:
    if not shown:
        return "No users."
    if not page["has_more"] and not page["offset"]:
        return f"{shown} {'user' if shown == 1 else 'users'}."
    first = page["offset"] + 1
    more = f" `--offset {page['offset'] + shown}` lists more." if page["has_more"] else ""
    return f"{first} to {page['offset'] + shown} of {page['total']} users.{more}"


@users.command()
@_WHO
@managing
def show(user: str, output: str, url: str | None) -> None:
    """Show a user, and their API keys."""
    client = management(url)
    found = client.get(f"{_PATH}/{_find(client, user)}")
    from idp.cli.client import segment
    from idp.cli.credentials import KEY
    from idp.cli.relative_time import exactly
    from idp.cli.tables import Cell, print_facts, print_json

    found["api_keys"] = client.get(f"{_PATH}/{segment(found['user_id'])}/api-keys")
    if output == "json":
        print_json(found)
        return
    print_facts(
        [
            ("E-mail", Cell(found["email"] or "none", "bold")),
            ("Verified", Cell("yes") if found["email_verified"] else Cell("no", "yellow")),
            ("Name", Cell(found["name"] or "none")),
            ("ID", Cell(found["user_id"], "cyan")),
            ("Status", Cell(*_STATUS_CELLS[found["is_active"]])),
            ("Roles", _roles(found)),
            ("Plan", Cell(found["plan"])),
            ("Login type", Cell(found["login_type"])),
            ("Created", exactly(found["created_at"])),
            ("Changed", exactly(found["updated_at"])),
        ]
    )
    if found["api_keys"]:
        KEY.print_table(found["api_keys"], follows=True)


@users.command()
@_WHO
@managing
def sessions(user: str, output: str, url: str | None) -> None:
    """List the sessions of a user, the newest first."""
    client = management(url)
    found = client.get(f"{_PATH}/{_find(client, user)}/sessions")
    from idp.cli.relative_time import ago, until
    from idp.cli.tables import Cell, Column, print_json, print_table

    if output == "json":
        print_json(found)
        return
    columns = (
        Column("Device", wraps=True),
        Column("Address"),
        Column("Signed in"),
        Column("Last seen", spare=1),
        Column("Ends", spare=2),
        Column("ID", spare=3),
    )
    rows = [
        [
            Cell(_device(each), "bold"),
            Cell(each["ip_address"] or ""),
            ago(each["created_at"]),
            ago(each["last_activity"]),
            until(each["expires_at"], matters=False),
            Cell(each["session_id"], "cyan"),
        ]
        for each in found["sessions"]
    ]
    from idp.cli.find_by_name import counted

    print_table(columns, rows, note=f"{counted(len(rows), 'session')}.")


@users.command("sign-out")
@_WHO
@managing
def sign_out(user: str, output: str, url: str | None) -> None:
    """End all sessions of a user. They can sign in again, and their API keys stay valid."""
    client = management(url)
    found = client.get(f"{_PATH}/{_find(client, user)}")
    from idp.cli.client import segment
    from idp.cli.find_by_name import counted
    from idp.cli.tables import print_done

    done = client.delete(f"{_PATH}/{segment(found['user_id'])}/sessions")
    print_done(done, output, f"{counted(done['ended_sessions'], 'session')} of {_who(found)} ended.")


@users.command("reset-factors")
@_WHO
@click.option("--reason", required=True, help="How you know that it is them; kept in the audit log.")
@managing
def reset_factors(user: str, reason: str, output: str, url: str | None) -> None:
    """Remove all second factors and recovery codes of a user who has lost them, and end their sessions.

    The user is told by mail. Never do this because of a message alone: it opens the account to its password.
    """
    client = management(url)
    found = client.get(f"{_PATH}/{_find(client, user)}")
    from idp.cli.client import segment
    from idp.cli.find_by_name import counted
    from idp.cli.tables import print_done

    done = client.delete(f"{_PATH}/{segment(found['user_id'])}/factors", {"reason": reason})
    ended = counted(done["ended_sessions"], "session").lower()
    print_done(done, output, f"The second factors of {_who(found)} are removed; {ended} ended.")


@users.command()
@_WHO
@managing
def disable(user: str, output: str, url: str | None) -> None:
    """Disable a user immediately, and revoke their API keys permanently."""
    _change(user, url, output, {"is_active": False}, "{who} is disabled; their API keys are revoked.")


@users.command()
@_WHO
@managing
def enable(user: str, output: str, url: str | None) -> None:
    """Enable a user again. Their API keys stay revoked."""
    _change(user, url, output, {"is_active": True}, "{who} is enabled.")


@users.command("set-roles")
@_WHO
@click.argument("roles", nargs=-1, required=True)
@managing
def set_roles(user: str, roles: tuple[str, ...], output: str, url: str | None) -> None:
    """Set the ROLES of a user to exactly these, such as `user admin`; roles that are left out are removed."""
    client = management(url)
    path = f"{_PATH}/{_find(client, user)}"
    before = client.get(path)["roles"]
    changed = client.patch(path, {"roles": roles})
    from idp.cli.tables import print_json, say

    if output == "json":
        print_json(changed)
        return
    say(f"{_who(changed)} had the roles {_listed(before)}, and now has {_listed(changed['roles'])}.")
    for role in sorted({*changed["roles"]} - {*before, "user", "admin"}):
        if client.get(_PATH, role=role, limit=1)["pagination"]["total"] == 1:
            say(f"{role} is a new role: no other user has it.")


@users.command("set-plan")
@_WHO
@click.argument("plan", type=_PLAN)
@managing
def set_plan(user: str, plan: str, output: str, url: str | None) -> None:
    """Set the PLAN of a user."""
    _change(user, url, output, {"plan": plan}, "{who} is on the plan {plan}.")


def _change(user: str, url: str | None, output: str, change: dict[str, Any], sentence: str) -> None:
    client = management(url)
    changed = client.patch(f"{_PATH}/{_find(client, user)}", change)
    from idp.cli.tables import print_done

    print_done(changed, output, sentence.format(who=_who(changed), plan=changed["plan"]))


@users.command()
@_WHO
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@managing
def delete(user: str, yes: bool, output: str, url: str | None) -> None:
    """Delete a user and revoke their API keys. Their address is free for a new account."""
    client = management(url)
    found = client.get(f"{_PATH}/{_find(client, user)}")
    from idp.cli.failure import BadInput
    from idp.cli.tables import print_json, printable, say

    if not yes:
        if not sys.stdin.isatty():
            raise BadInput("Deleting a user cannot be undone: use --yes without a terminal.")
        click.confirm(f"  Delete {printable(_who(found))}? It cannot be undone", abort=True, err=True)
    done = client.delete(f"{_PATH}/{found['user_id']}")
    if output == "json":
        print_json(done)
        return
    from idp.cli.find_by_name import counted

    keys, ended = counted(done["revoked_keys"], "API key"), counted(done["ended_sessions"], "session").lower()
    say(f"{_who(found)} is deleted. {keys} and {ended} revoked.")


def _find(client: "Client", user: str) -> str:
    """Return the id of a user, escaped for a path; as `find_user`."""
    from idp.cli.client import segment

    return segment(find_user(client, user))


def find_user(client: "Client", wanted: str) -> str:
    """Return the id of a user, given an id or an e-mail.

    Raises:
        NotFound: no user has this address.
    """
    from idp.cli.failure import NotFound
    from idp.users.email import email_key

    if "@" not in wanted:
        return wanted
    found = client.get(_PATH, search=wanted, limit=_MAX_RESULTS)["users"]
    for user in found:
        if user["email"] and email_key(user["email"]) == email_key(wanted):
            return str(user["user_id"])
    raise NotFound(f"No user has the address {wanted}: `idp users list --search TEXT` searches for a part of it.")


def _who(user: dict[str, Any]) -> str:
    return str(user["email"] or user["user_id"])


def _device(session: dict[str, Any]) -> str:
    """Return the client's description in one line: `device_info` (C-32), else its User-Agent."""
    info = session["device_info"]
    if isinstance(info, dict):
        info = ", ".join(f"{name}: {value}" for name, value in info.items())
    return str(info or session["user_agent"] or "unknown")


def _listed(roles: list[str]) -> str:
    return ", ".join(roles) or "(none)"


def _roles(user: dict[str, Any]) -> "Cell":
    from idp.cli.tables import Cell

    if not user["roles"]:
        return Cell("none", "dim")
    return Cell(", ".join(user["roles"]), "magenta" if "admin" in user["roles"] else "")
