"""`idp routes`: each route with its policy and the credentials it accepts."""

import rich_click as click


@click.command()
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def routes(output: str) -> None:
    """Print each route, who may call it and with which credentials."""
    from idp.app import create_app
    from idp.principal.guards import INTERACTIVE, policies
    from idp.settings import Secret, load

    # Nothing is connected or signed here: any address and any secret do.
    stand_ins = {
        "database.url": Secret("postgresql://localhost/idp"),
        "secrets.secret_key": Secret("only to list routes"),
    }
    lines = policies(create_app(load("production", overrides=stand_ins)).litestar)
    rows = []
    for line in lines:
        further = sorted(line.accepts - INTERACTIVE)
        accepted = "anyone" if line.policy == "public" else ", ".join(["a person's", *further])
        rows.append((line.method, line.path, line.policy or "", accepted))
    if output == "json":
        import msgspec

        keys = ("method", "path", "policy", "accepts")
        listed = [
            dict(zip(keys, (*row[:3], sorted(line.accepts)), strict=True))
            for row, line in zip(rows, lines, strict=True)
        ]
        print(msgspec.json.encode(listed).decode())
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for heading in ("Method", "Path", "Who", "Credentials"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
