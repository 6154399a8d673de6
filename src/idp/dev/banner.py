"""The output of `idp dev` when it is ready: addresses, demo users, and commands to paste."""

import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from idp.dev.personas import Persona

_NARROWEST, _PIPED = 40, 100
_GAP = "   "
_ANY_ADDRESS = "you@example.com"  # dev headers create the user they name


def show(
    *,
    base_urls: Sequence[str],
    personas: Sequence[Persona],
    tokens: Mapping[str, Path],
    folder: Path,
    seconds: float,
    manage: str,
    others: Mapping[str, str],
    notes: Sequence[str] = (),
) -> None:
    """Print the banner.

    Args:
        base_urls: one for each process.
        personas: the demo users.
        tokens: the file of each persona's token, by e-mail address.
        folder: the data folder.
        seconds: duration of the start.
        manage: an example management command.
        others: commands that act as other services, by what they do.
        notes: a sentence for each unusual condition.
    """
    width = max(shutil.get_terminal_size((_PIPED, 24)).columns, _NARROWEST)
    console = Console(width=width, highlight=False)

    def line(*parts: str | tuple[str, str]) -> None:
        # Long lines are wrapped by the terminal, so that they can be pasted as one line.
        console.print(Text.assemble("  ", *parts) if parts else Text(), soft_wrap=True)

    line()
    line(("idp", "bold"), " is ", ("ready", "bold green"), (f" after {seconds:.1f} s", "dim"))
    line()
    for name, url in addresses(base_urls):
        line((name.ljust(12), "dim"), url)
    if personas:
        line()
        for row in demo_users(personas, width):
            line(*row)
        line()
        line(("Access tokens, valid for 12 hours:", "dim"))
        for row in aligned([[(name, ""), (f"$(cat {file})", "cyan")] for name, file in _named(tokens)]):
            line(*row)
    line()
    line(("Act as a demo user. ", "bold"), ("Paste one of these:", "dim"))
    for command in curl_lines(base_urls[0], personas[0] if personas else None, tokens):
        line()
        line(command)
    line()
    for note in notes:
        line((note, "yellow"))
    line(("Manage from another terminal: ", "dim"), manage)
    for does, command in others.items():
        line((f"{does}: ", "dim"), command)
    line(("All of this as JSON: ", "dim"), str(folder / "dev.json"))
    line(("Ctrl-C stops everything; the data is kept.", "dim"))
    line()


def addresses(base_urls: Sequence[str]) -> list[tuple[str, str]]:
    """Return the name and URL of each page."""
    base = base_urls[0]
    listed = [
        ("Home", base),
        ("Docs", f"{base}/docs"),
        ("Mailbox", f"{base}/dev/mailbox"),
        ("Health", f"{base}/health"),
        ("JWKS", f"{base}/.well-known/jwks.json"),
        ("Metrics", f"{base}/metrics"),
    ]
    return listed + [(f"Process {number}", url) for number, url in enumerate(base_urls[1:], start=2)]


Cell = tuple[str, str]  # text and style


def demo_users(personas: Sequence[Persona], width: int) -> list[list[Cell]]:
    """Return the lines of the demo users: a table if it fits, else two lines for each."""
    headings = [(heading, "dim") for heading in ("Persona", "Password", "Roles", "Teams", "Domains")]
    rows = [[(p.email, ""), (p.password, "cyan"), _roles(p), _teams(p), _domains(p)] for p in personas]
    table = aligned([headings, *rows])
    if 2 + max(sum(cell_len(text) for text, _ in row) for row in table) <= width:
        return table
    first = aligned([row[:3] for row in (headings, *rows)])
    second = [[("  ", ""), row[3], (" · ", "dim"), row[4]] for row in (headings, *rows)]
    return [line for pair in zip(first, second, strict=True) for line in pair]


def aligned(rows: Sequence[Sequence[Cell]]) -> list[list[Cell]]:
    """Return the rows with all cells except the last padded to their column's width."""
    widths = [max(cell_len(row[column][0]) for row in rows) for column in range(len(rows[0]) - 1)]
    return [
        [*((_padded(text, size), style) for (text, style), size in zip(row[:-1], widths, strict=True)), row[-1]]
        for row in rows
    ]


def _padded(text: str, size: int) -> str:
    return text + " " * (size - cell_len(text)) + _GAP


def _roles(persona: Persona) -> Cell:
    return (", ".join(persona.roles), "") if persona.roles else ("no role", "dim")


def _teams(persona: Persona) -> Cell:
    names = [f"{team} (admin)" if team in persona.leads else team for team in persona.teams]
    return (", ".join(names), "") if names else ("no team", "dim")


def _domains(persona: Persona) -> Cell:
    return (", ".join(persona.domains), "") if persona.domains else ("no domain", "dim")


def _named(tokens: Mapping[str, Path]) -> list[tuple[str, str]]:
    return [(file.name, shlex.quote(str(file))) for file in tokens.values()]


def curl_lines(base: str, persona: Persona | None, tokens: Mapping[str, Path]) -> list[str]:
    """Return commands to paste: dev header, password, token (without a persona only the first)."""
    email = persona.email if persona else _ANY_ADDRESS
    by_header = f"curl -s -H {shlex.quote(f'X-User-Email: {email}')} {base}/auth/me"
    if persona is None:
        return [by_header]
    login = f'{{"email": "{persona.email}", "password": "{persona.password}"}}'
    token_file = shlex.quote(str(tokens[persona.email]))
    return [
        by_header,
        f"curl -s -H 'Content-Type: application/json' -d {shlex.quote(login)} {base}/auth/login",
        f'curl -s -H "Authorization: Bearer $(cat {token_file})" {base}/auth/me',
    ]
