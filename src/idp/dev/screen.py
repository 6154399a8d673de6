"""What the terminal shows when `idp dev` is ready: where, who, and three lines to paste."""

import shlex
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from idp.dev.personas import Persona


def show(
    *,
    base_urls: Sequence[str],
    personas: Sequence[Persona],
    token_file: Callable[[Persona], Path],
    folder: Path,
    seconds: float,
) -> None:
    """Print it.

    Args:
        base_urls: one a process.
        personas: whom one can be.
        token_file: where a persona's token is.
        folder: the data folder.
        seconds: how long the start took.
    """
    width = min(max(shutil.get_terminal_size((100, 24)).columns, 60), 110)
    console = Console(width=width, highlight=False)
    console.print()
    console.print(Text.assemble(("  idp ", "bold"), (f"ready in {seconds:.1f} s", "green")))
    console.print()
    console.print(Padding(_places(base_urls), (0, 0, 1, 2)))
    console.print(Padding(_people(personas), (0, 0, 1, 2)))
    console.print("  [bold]Who am I?[/bold] Paste one of these:\n")
    for line in curl_lines(base_urls[0], personas[0], token_file(personas[0])):
        console.print(Text(f"  {line}"), soft_wrap=True)  # never broken, so that it works when pasted
        console.print()
    console.print(Text.assemble(("  All of this, and every token: ", "dim"), str(folder / "dev.json")), soft_wrap=True)
    console.print("  [dim]Tokens last 12 hours. Ctrl-C stops everything; the data stays.[/dim]\n")


def _places(base_urls: Sequence[str]) -> Table:
    base = base_urls[0]
    table = Table.grid(padding=(0, 3))
    table.add_column(style="dim")
    table.add_column()
    for name, path in (
        ("API", ""),
        ("Docs", "/docs"),
        ("Health", "/health"),
        ("JWKS", "/.well-known/jwks.json"),
        ("Metrics", "/metrics"),
    ):
        table.add_row(name, base + path)
    for number, url in enumerate(base_urls[1:], start=2):
        table.add_row(f"Process {number}", url)
    return table


def _people(personas: Sequence[Persona]) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("Persona", no_wrap=True)
    table.add_column("Password", no_wrap=True, style="cyan")
    table.add_column("Roles")
    table.add_column("Teams")
    table.add_column("Domains")
    table.add_column("Token", no_wrap=True)
    for persona in personas:
        table.add_row(
            persona.email,
            persona.password,
            _listed(persona.roles),
            _listed(persona.teams),
            _listed(persona.domains),
            Text(f"{persona.access_token[:8]}…", style="dim"),
        )
    return table


def _listed(names: Sequence[str]) -> str | Text:
    return ", ".join(names) if names else Text("none", style="dim")


def curl_lines(base: str, persona: Persona, token_file: Path) -> list[str]:
    """Return three commands that work when pasted: as a header, by password, by token."""
    login = f'{{"email": "{persona.email}", "password": "{persona.password}"}}'
    return [
        f"curl -s -H {shlex.quote(f'X-User-Email: {persona.email}')} {base}/auth/me",
        f"curl -s -H 'Content-Type: application/json' -d {shlex.quote(login)} {base}/auth/login",
        f'curl -s -H "Authorization: Bearer $(cat {shlex.quote(str(token_file))})" {base}/auth/me',
    ]
