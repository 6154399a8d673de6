"""`idp export-legacy` and `idp convert`: write files that `idp import` reads."""

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import rich_click as click

_LEGACY = ("amplify", "promptstack", "anomalyze", "fastapi-auth")
_PRODUCTS = ("keycloak", "auth0", "clerk", "supabase")
with_file = click.option(
    "--output", "-o", type=click.Path(dir_okay=False, writable=True), help="Write to this file; default: stdout."
)


@click.command("export-legacy")
@click.argument("source", type=click.Choice(_LEGACY))
@click.option("--dsn", required=True, envvar="LEGACY_DATABASE_URL", help="URL of the old database.", show_envvar=True)
@with_file
def export_legacy(source: str, dsn: str, output: str | None) -> None:
    """Export an old service's database as NDJSON for `idp import`. Only reads, in one snapshot."""
    import asyncio
    from importlib import import_module

    import asyncpg

    from idp.cli.failure import BadInput, Failure
    from idp.importing.legacy.database import TableMissing, opened

    async def export(stream: TextIO) -> int:
        async with opened(dsn) as database:
            module = import_module(f"idp.importing.legacy.{source.replace('-', '_')}")
            return await _write(stream, source, module.records(database))

    with _stream(output) as stream:
        try:
            number = asyncio.run(export(stream))
        except TableMissing as error:
            raise BadInput(f"The database has no table {error}: is it that of {source}?") from None
        except KeyError as error:
            raise BadInput(f"A table has no column {error}: is the database that of {source}?") from None
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
            raise Failure(f"The database of {source} cannot be read: {str(error).splitlines()[0]}.") from None
    click.echo(f"{number} records exported.", err=True)


@click.command()
@click.argument("product", type=click.Choice(_PRODUCTS))
@click.argument("files", type=click.Path(exists=True, dir_okay=False, path_type=Path), nargs=-1, metavar="FILE…")
@click.option("--dsn", help="Read `auth.users` of Supabase from this database instead of a file.")
@with_file
def convert(product: str, files: tuple[Path, ...], dsn: str | None, output: str | None) -> None:
    """Convert an export of another product to NDJSON for `idp import`."""
    from importlib import import_module

    from idp.cli.failure import BadInput
    from idp.importing.readers import BadExport

    if bool(files) == bool(dsn) or (dsn and product != "supabase"):
        raise BadInput("Give the exported file; --dsn is for supabase only.")
    with _stream(output) as stream:
        if dsn:
            number = _convert_supabase(stream, dsn)
        else:
            reader = import_module(f"idp.importing.readers.{product}")
            try:
                stream.write(_header(product))
                number = _write_all(stream, reader.records(files, _warn))
            except BadExport as error:
                raise BadInput(str(error)) from None
            except (KeyError, TypeError, AttributeError, ValueError) as error:
                raise BadInput(f"This is no export of {product} ({type(error).__name__}: {error}).") from None
    click.echo(f"{number} records converted.", err=True)


def _convert_supabase(stream: TextIO, dsn: str) -> int:
    import asyncio

    import asyncpg

    from idp.cli.failure import BadInput, Failure
    from idp.importing.legacy.database import TableMissing, opened
    from idp.importing.readers.supabase import user_of

    async def users() -> AsyncIterator[dict[str, Any]]:
        async with opened(dsn, schema="auth") as database:
            async for row in database.rows("users"):
                if (user := user_of(row, _warn)) is not None:
                    yield user

    try:
        return asyncio.run(_write(stream, "supabase", users()))
    except TableMissing:
        raise BadInput("The database has no table auth.users.") from None
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise Failure(f"The database cannot be read: {str(error).splitlines()[0]}.") from None


@contextmanager
def _stream(output: str | None) -> Iterator[TextIO]:
    """Open the output. A file holds password hashes, so only its owner may read it."""
    import os
    import stat

    from idp.cli.failure import BadInput

    if output is None or output == "-":
        yield sys.stdout
        return
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode):
            if found.st_uid != os.geteuid():
                raise BadInput(f"{output} belongs to another user, who could read it: remove it, or use another name.")
            os.fchmod(descriptor, 0o600)  # it may have been there before
            os.ftruncate(descriptor, 0)
        yield stream


async def _write(stream: TextIO, source: str, records: AsyncIterator[dict[str, Any]]) -> int:
    number = 0
    stream.write(_header(source))
    async for each in records:
        stream.write(_line(each))
        number += 1
    return number


def _write_all(stream: TextIO, records: Iterator[dict[str, Any]]) -> int:
    number = 0
    for each in records:
        stream.write(_line(each))
        number += 1
    return number


def _header(source: str) -> str:
    from idp import clock
    from idp.importing.records import FORMAT

    return _line({"kind": "header", "format": FORMAT, "source": source, "exported_at": clock.now().isoformat()})


def _line(record: dict[str, Any]) -> str:
    import json

    return json.dumps(record, ensure_ascii=True) + "\n"


def _warn(text: str) -> None:
    from idp.cli.tables import printable

    click.echo(f"Warning: {printable(text)}.", err=True)
