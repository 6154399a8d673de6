"""Shared code of `idp keys` and `idp tokens`: finds and lists credentials, and prints a new secret."""

from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from idp.cli.find_by_name import counted, find_by_name, scopes_of, status

if TYPE_CHECKING:
    from idp.cli.client import Client
    from idp.cli.tables import Cell, Column


class CredentialKind(NamedTuple):
    """Describes API keys or service tokens.

    Attributes:
        noun: singular name; with an `s` it is the command's name.
        path: of its routes.
        secret: the JSON member with a new secret.
        id: the JSON member with the id.
        id_prefix: prefix of ids; the UUID after a prefix has no dashes.
        revoked: the JSON member that is true for revoked ones.
        shows_prefix: whether lists show the prefixes of secrets.
    """

    noun: str
    path: str
    secret: str
    id: str
    id_prefix: str
    revoked: str
    shows_prefix: bool

    def find_id(self, client: "Client", name_or_id: str) -> str:
        """Return the id of a credential, given its id or its name.

        Raises:
            NotFound, BadInput: as `find_by_name`.
        """
        try:
            uuid = UUID(name_or_id.removeprefix(self.id_prefix))
        except ValueError:
            found = self.items(client.get(self.path, include_revoked=True))
            named = [each for each in found if each["name"] == name_or_id]
            listing = f"idp {self.noun}s list"
            return str(find_by_name(named, name_or_id, noun=self.noun, revoked=self.revoked, listing=listing)[self.id])
        return f"{self.id_prefix}{uuid.hex}" if self.id_prefix else str(uuid)

    def items(self, listed: Any) -> list[dict[str, Any]]:
        """Return the credentials of a list response."""
        items: list[dict[str, Any]] = listed if isinstance(listed, list) else listed[f"{self.noun}s"]
        return items

    def print_list(self, listed: Any, output: str, *, everything: bool) -> None:
        """Print a list response, without secrets.

        Args:
            listed: the response.
            output: `table` or `json`.
            everything: whether it includes revoked ones.
        """
        from idp.cli.tables import print_json

        if output == "json":
            print_json(listed)
            return
        self.print_table(self.items(listed), note="" if everything else " `--all` includes revoked ones.")

    def print_table(self, found: list[dict[str, Any]], *, note: str = "", follows: bool = False) -> None:
        """Print credentials as a table; `note` is added to the sentence below it."""
        from idp.cli.tables import print_table

        rows = [self._row(each) for each in found]
        print_table(self._columns(), rows, note=f"{counted(len(rows), self.noun)}.{note}", follows=follows)

    def print_secret(self, created: dict[str, Any], output: str, *, old: "Cell | None" = None) -> None:
        """Print a new secret, once.

        Args:
            created: the response with the secret.
            output: `table` or `json`.
            old: until when the previous secret is accepted.
        """
        from idp.cli.relative_time import exactly
        from idp.cli.tables import Cell, print_facts, print_json, say

        if output == "json":
            print_json(created)
            return
        print_facts(
            [
                (self.noun.capitalize(), Cell(created[self.secret], "bold green")),
                ("ID", Cell(created[self.id], "cyan")),
                ("Name", Cell(created["name"])),
                ("Scopes", scopes_of(created)),
                ("Expires", exactly(created["expires_at"])),
                *([("Old secret", old)] if old else []),
            ]
        )
        say(f"Save the {self.noun} now: it cannot be shown again.", style="yellow")

    def _columns(self) -> "list[Column]":
        from idp.cli.tables import Column

        return [
            Column("Name", wraps=True),
            Column("Scopes", wraps=True),
            Column("Status"),
            Column("Expires"),
            Column("Last used", spare=1),
            Column("Created", spare=3),
            *([Column("Begins with", spare=4)] if self.shows_prefix else []),
            Column("ID", spare=2),
        ]

    def _row(self, credential: dict[str, Any]) -> "list[Cell]":
        from idp.cli.relative_time import ago, until
        from idp.cli.tables import Cell

        revoked = credential[self.revoked]
        return [
            Cell(credential["name"], "bold"),
            scopes_of(credential),
            status(revoked, credential["expires_at"]),
            until(credential["expires_at"], matters=not revoked),
            ago(credential["last_used_at"]),
            ago(credential["created_at"]),
            *([Cell(credential["prefix"])] if self.shows_prefix else []),
            Cell(credential[self.id], "cyan"),
        ]


KEY = CredentialKind("key", "/v1/api-keys", "secret", "key_id", "key_", "is_revoked", shows_prefix=True)
TOKEN = CredentialKind("token", "/auth/tokens", "token", "token_id", "", "revoked", shows_prefix=False)
