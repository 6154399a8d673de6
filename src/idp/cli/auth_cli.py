"""`auth-cli`: compatible with the command of an old service (S2-05 to S2-14), and `extend` (S2-24).

Scripts parse its output; new features go into `idp tokens`.
"""

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from idp.cli.http import Answer, ConnectionFailed, send

_ROW = "{:<40} {:<20} {:<30} {:<20} {:<10}"
_RULE = "-" * 130


class _CommandError(Exception):
    """Ends the command with a message on stderr."""


class _Tokens:
    """Client of the service token routes."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self._url = url
        self._headers = headers

    def call(self, method: str, path: str = "", body: dict[str, Any] | None = None, *, token_id: str = "") -> Any:
        """Return the decoded response.

        Raises:
            _CommandError: the token does not exist, or the service refuses.
            ConnectionFailed: the service is unreachable.
        """
        where = f"{self._url}/auth/tokens" + (f"/{quote(token_id, safe='')}" if token_id else "") + path
        answer = send(method, where, headers=self._headers, body=body)
        decoded = answer.json()
        if 200 <= answer.status < 300 and isinstance(decoded, dict):
            return decoded
        if answer.status == 404 and token_id:
            raise _CommandError(f"Token not found: {token_id}")
        raise _CommandError(f"Error: {answer.status} - {_sentence(answer, decoded)}")


def _sentence(answer: Answer, decoded: Any) -> str:
    """Return the response body, which scripts read (S2-14); for a rejected credential, how to fix it."""
    detail = decoded.get("detail") if isinstance(decoded, dict) else None
    if answer.status not in {401, 403} or not isinstance(detail, str):
        return answer.text
    return f"{detail.rstrip('.')}. Set ADMIN_TOKEN in the environment of this command."


def create(tokens: _Tokens, args: argparse.Namespace) -> None:
    """S2-05, S2-11."""
    body = {"name": args.name, "scopes": args.scopes, "ttl_days": args.ttl, "metadata": {}}
    made = tokens.call("POST", body=body)
    print("\nToken created successfully!")
    print(f"Token: {made['token']}")
    print(f"Token ID: {made['token_id']}")
    print(f"Name: {made['name']}")
    print(f"Scopes: {', '.join(made['scopes'])}")
    print(f"Created: {made['created_at']}")
    print(f"Expires: {made['expires_at'] or 'Never'}")
    print("IMPORTANT: Save this token now! It will not be shown again.")


def list_tokens(tokens: _Tokens, args: argparse.Namespace) -> None:
    """S2-06, S2-12."""
    found = tokens.call("GET", f"?include_revoked={str(args.all).lower()}")
    if not found["tokens"]:
        print("No tokens found.")
        return
    print(f"Total tokens: {found['total']}")
    if sys.stdout.isatty():  # S2's table is 130 characters wide; scripts get that one
        _print_table(found["tokens"])
        return
    print(_ROW.format("ID", "Name", "Scopes", "Expires", "Revoked"))
    print(_RULE)
    for token in found["tokens"]:
        name, scopes = token["name"][:18], ", ".join(token["scopes"])[:28]
        expires = (token["expires_at"] or "Never")[:19]
        revoked = "Yes" if token["revoked"] else "No"
        print(_ROW.format(token["token_id"], name, scopes, expires, revoked))


def _print_table(tokens: list[dict[str, Any]]) -> None:
    from idp.cli.tables import Cell, Column, print_table

    columns = (
        Column("ID"),
        Column("Name", wraps=True),
        Column("Scopes", wraps=True),
        Column("Expires", spare=1),
        Column("Revoked", spare=2),
    )
    rows = [
        [
            Cell(token["token_id"], "cyan"),
            Cell(token["name"], "bold"),
            Cell(", ".join(token["scopes"])),
            Cell((token["expires_at"] or "Never")[:19]),
            Cell("Yes" if token["revoked"] else "No"),
        ]
        for token in tokens
    ]
    print_table(columns, rows)


def info(tokens: _Tokens, args: argparse.Namespace) -> None:
    """S2-07, S2-13."""
    token = tokens.call("GET", token_id=args.token_id)
    print("Token Information:")
    print(f"  ID: {token['token_id']}")
    print(f"  Name: {token['name']}")
    print(f"  Scopes: {', '.join(token['scopes'])}")
    print(f"  Created: {token['created_at']}")
    print(f"  Expires: {token['expires_at'] or 'Never'}")
    print(f"  Revoked: {'Yes' if token['revoked'] else 'No'}")
    if token["revoked_at"]:
        print(f"  Revoked At: {token['revoked_at']}")
    if token["metadata"]:
        print(f"  Metadata: {json.dumps(token['metadata'])}")


def revoke(tokens: _Tokens, args: argparse.Namespace) -> None:
    """S2-08, S2-13."""
    revoked = tokens.call("POST", "/revoke", {}, token_id=args.token_id)
    print("Token revoked successfully!")
    print(f"  Token ID: {revoked['token_id']}")
    print(f"  Revoked At: {revoked['revoked_at']}")


def extend(tokens: _Tokens, args: argparse.Namespace) -> None:
    """Extend from the expiry, or from now without one (S2-24)."""
    extended = tokens.call("POST", "/extend", {"extend_days": args.days}, token_id=args.token_id)
    print("Token extended successfully!")
    print(f"  Token ID: {extended['token_id']}")
    print(f"  Expires: {extended['expires_at']}")


def parser() -> argparse.ArgumentParser:
    """Return the argument parser; `--auth-url` precedes the command (S2-09)."""
    whole = argparse.ArgumentParser(
        prog="auth-cli",
        description="Manage service tokens. Requires ADMIN_TOKEN in the environment.",
    )
    whole.add_argument(
        "--auth-url", metavar="URL", help="URL of the service; http://localhost:${PORT:-8000} by default"
    )
    commands = whole.add_subparsers(title="commands", metavar="COMMAND")

    def command(name: str, run: Callable[[_Tokens, argparse.Namespace], None], summary: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=summary, description=summary)
        added.set_defaults(run=run)
        return added

    new = command("create", create, "create a token; it is shown once")
    new.add_argument("name", metavar="NAME", help="the service's name, unique among live tokens")
    new.add_argument("--scopes", nargs="+", required=True, metavar="SCOPE", help="scopes of the token")
    new.add_argument("--ttl", type=int, metavar="DAYS", help="days until it expires; default: never")
    command("list", list_tokens, "list the tokens").add_argument(
        "--all", action="store_true", help="include revoked tokens"
    )
    for name, run, summary in (
        ("info", info, "show a token"),
        ("revoke", revoke, "revoke a token immediately"),
    ):
        command(name, run, summary).add_argument("token_id", metavar="TOKEN_ID")
    longer = command("extend", extend, "extend a token")
    longer.add_argument("token_id", metavar="TOKEN_ID")
    longer.add_argument("--days", type=int, required=True, metavar="N", help="days to add to its expiry")
    return whole


def main() -> None:
    """Run the command; every error is one line on stderr and exit code 1 (S2-14)."""
    from idp.cli.streams import lasting_streams

    with lasting_streams():
        _run()


def _run() -> None:
    args = parser().parse_args()
    if not hasattr(args, "run"):
        parser().print_help()
        sys.exit(1)
    from idp.cli.failure import Failure
    from idp.cli.target import for_management
    from idp.settings import SettingsError

    try:
        target = for_management(args.auth_url)
        try:
            args.run(_Tokens(target.url, target.headers), args)
        except ConnectionFailed as error:
            sys.exit(f"Connection error: {target.url} does not answer ({error})")
    except (_CommandError, Failure, SettingsError) as error:
        sys.exit(str(error) if isinstance(error, _CommandError) else f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
