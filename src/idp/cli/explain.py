"""`idp explain`: why a credential was accepted or refused."""

import re
import sys
from typing import TYPE_CHECKING, Any, TextIO

import rich_click as click

from idp.cli.service_options import options, with_output, with_person, with_url

if TYPE_CHECKING:
    from idp.cli.client import Client

_PATH = "/auth/explain"
_MAX_CHARACTERS = 200_000
_HEADER = re.compile(r"([A-Za-z0-9-]{1,100}):[ \t]*(.*)")
_HINT = (
    "ADMIN_TOKEN explains any credential; IDP_TOKEN those of its user; with neither, the credential must be accepted."
)


@click.command("explain")
@click.option("--route", metavar="ROUTE", help='Also explain whether a route admits the caller, such as "POST /teams".')
@click.option("--file", "source", type=click.File(encoding="utf-8"), help="Read the credential from a file.")
@options(with_person, with_output, with_url)
def explain(route: str | None, source: TextIO | None, email: str | None, output: str, url: str | None) -> None:
    """Explain why a credential is accepted or refused, and where each right comes from.

    Prompts for the credential, or reads it from stdin or --file: a token or key, or the header lines of a request
    (`Cookie: …`). It is never an argument, which other users of this machine could read.
    """
    body: dict[str, Any] = credential_in(_read(source))
    client = _client(url, email, body)
    found = client.post(_PATH, body | ({"route": route} if route else {}))
    if output == "json":
        from idp.cli.tables import print_json

        print_json(found)
        return
    from idp.cli.explain_tree import print_tree

    print_tree(found)


def credential_in(text: str) -> dict[str, Any]:
    """Return the body for a pasted credential: `token`, or `headers`.

    Raises:
        BadInput: it is empty, too long, or neither one token nor header lines.
    """
    from idp.cli.failure import BadInput

    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines or len(text) > _MAX_CHARACTERS:
        raise BadInput("The credential is empty." if not lines else "The credential is too long: send one token.")
    if all(matches := [_HEADER.fullmatch(line) for line in lines]):
        return {"headers": {match[1]: match[2] for match in matches if match}}
    token = re.sub(r"^bearer +", "", lines[0], flags=re.IGNORECASE)
    if len(lines) > 1 or not token.isprintable() or " " in token:
        raise BadInput("Not one credential: send a token or key alone, or header lines such as `Cookie: …`.")
    return {"token": token}


def _read(source: TextIO | None) -> str:
    from idp.cli.failure import BadInput

    try:
        if source is not None:
            return source.read(_MAX_CHARACTERS + 1)
        if sys.stdin.isatty():
            return str(click.prompt("Token or key", hide_input=True, err=True))
        return sys.stdin.read(_MAX_CHARACTERS + 1)
    except UnicodeDecodeError:
        raise BadInput("The credential is not text.") from None


def _client(url: str | None, email: str | None, body: dict[str, Any]) -> "Client":
    """Return a client for an administrator, else the user of IDP_TOKEN, else the credential itself."""
    from idp.cli.client import Client
    from idp.cli.service_options import person
    from idp.cli.target import Target, for_management
    from idp.settings import client_settings

    if email is not None:
        return person(url, email)
    target = for_management(url)
    if not target.headers and client_settings().access_token is not None:
        return person(url, None)
    own = body["headers"] if "headers" in body else {"Authorization": f"Bearer {body['token']}"}
    return Client(Target(target.url, target.headers or own), hints={401: _HINT, 403: _HINT})
