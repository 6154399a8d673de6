"""`idp routes`: each route with its policy and the credentials it accepts."""

import re

import rich_click as click


@click.command()
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def routes(output: str) -> None:
    """Print each route with its policy and accepted credentials.

    "interactive" stands for the credentials of a signed-in user, such as an access token or a session cookie; `-o json`
    lists them.
    """
    from idp.app import create_app
    from idp.principal.guards import INTERACTIVE, policies
    from idp.settings import Secret, load

    # Nothing connects or signs here: any URL and secret work.
    stand_ins = {
        "database.url": Secret("postgresql://localhost/idp"),
        "secrets.secret_key": Secret("only to list routes"),
        "valkey.url": None,
    }
    lines = policies(create_app(load("production", overrides=stand_ins)))
    if output == "json":
        import msgspec

        listed = [
            {"method": line.method, "path": line.path, "policy": line.policy or "", "accepts": sorted(line.accepts)}
            for line in lines
        ]
        print(msgspec.json.format(msgspec.json.encode(listed), indent=2).decode())
        return
    from idp.cli.tables import Cell, Column, print_table

    rows = []
    for line in lines:
        further = sorted(line.accepts - INTERACTIVE)
        accepted = "not required" if line.policy == "public" else ", ".join(["interactive", *further])
        path = re.sub(r":\w+}", "}", line.path)
        rows.append([Cell(line.method), Cell(path, "bold"), Cell(line.policy or ""), Cell(accepted)])
    columns = (
        Column("Method"),
        Column("Path"),
        Column("Policy", wraps=True),
        Column("Credentials", wraps=True, spare=1),
    )
    print_table(columns, rows)
