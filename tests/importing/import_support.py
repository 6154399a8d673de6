"""Shared code of the tests of imports: files in the format, and commands on a service's database."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg

from cli.support import idp
from factories import Service
from idp.dev.embedded import EmbeddedPostgres

FOLDER = Path(__file__).parent
OLD_SCHEMAS = FOLDER / "old_schemas"
EXPORTS = FOLDER / "exports"


def header(source: str = "tests", **more: Any) -> dict[str, Any]:
    return {"kind": "header", "format": "idp-import/1", "source": source, **more}


def user(user_id: str, **more: Any) -> dict[str, Any]:
    return {"kind": "user", "id": user_id, "updated_at": "2026-01-02T03:04:05Z"} | more


def write(path: Path, *records: dict[str, Any], source: str = "tests", **more: Any) -> Path:
    """Write a file with a header; return its path."""
    path.write_text("".join(json.dumps(each) + "\n" for each in (header(source, **more), *records)))
    return path


def do_import(service: Service, file: Path, *options: str, code: int = 0) -> dict[str, Any]:
    """Import a file into a service's database with the command; return its report."""
    done = idp("import", str(file), "-o", "json", *options, DATABASE_URL=service.database_url)
    assert done.returncode == code, done
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout)


def refused(service: Service, file: Path, *options: str, code: int = 2) -> str:
    """Import a file that is refused as a whole; return what the command says."""
    done = idp("import", str(file), *options, DATABASE_URL=service.database_url)
    assert (done.returncode, done.stdout) == (code, ""), done
    assert "Traceback" not in done.stderr
    return done.stderr


def codes(report: dict[str, Any]) -> list[tuple[int, str]]:
    """Return line and code of each conflict."""
    return [(each["line"], each["code"]) for each in report["conflicts"]]


def numbers(report: dict[str, Any]) -> tuple[int, int, int, int]:
    return report["created"], report["updated"], report["skipped"], report["conflicting"]


async def old_database(postgres: EmbeddedPostgres, schema: str) -> tuple[str, asyncpg.Connection]:
    """Return a database with the tables of an old service, and a connection to it."""
    url = postgres.create_database(f"old_{schema}")
    connection = await asyncpg.connect(url)
    await connection.execute("SET search_path = public")
    await connection.execute((OLD_SCHEMAS / f"{schema}.sql").read_text())
    return url, connection


def export(source: str, url: str, path: Path) -> Path:
    """Export an old service's database with the command."""
    done = idp("export-legacy", source, "--dsn", url, "--output", str(path))
    assert done.returncode == 0, done
    return path


def in_days(number: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=number)
