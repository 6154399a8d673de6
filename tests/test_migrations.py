"""The migrated schema equals the models."""

import os
import subprocess
import sys
from pathlib import Path

from factories import Service
from idp import tables
from idp.db.engine import Database
from idp.db.migrate import differences
from idp.dev.embedded import EmbeddedPostgres

ROOT = Path(__file__).parents[1]


async def test_migrations_match_the_models(service: Service) -> None:
    """C-25: what the models have and what a migrated database has are the same, both ways."""
    database = Database(service.loaded.settings.database, search_path="public")
    async with database.engine.connect() as connection:
        found = await connection.run_sync(differences, tables.METADATA)
        assert found == []
        # The check can fail: a column that the models do not know is seen.
        await connection.exec_driver_sql("ALTER TABLE idp.teams ADD COLUMN surplus text")
        found = await connection.run_sync(differences, tables.METADATA)
        assert len(found) == 1
        await connection.rollback()
    await database.close()


async def test_the_tables_of_the_old_services_are_there(service: Service) -> None:
    """S3-09 S3-10 S3-11 S3-12 S3-13: each with the columns that were promised."""
    promised = {
        "users": {"id", "email", "name", "password_hash", "avatar_url", "created_at"},
        "teams": {"id", "name", "external_ref", "is_active"},
        "team_memberships": {"id", "user_id", "team_id", "role"},
        "domains": {"id", "key", "name", "parent_domain_id", "is_active"},
        "user_domains": {"id", "user_id", "domain_id"},
    }
    rows = await service.sql(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'idp'"
    )
    columns: dict[str, set[str]] = {}
    for row in rows:
        columns.setdefault(row["table_name"], set()).add(row["column_name"])
    for table, names in promised.items():
        assert names <= columns[table], table
    times = await service.sql(
        "SELECT table_name, column_name FROM information_schema.columns "
        "WHERE table_schema = 'idp' AND data_type = 'timestamp without time zone'"
    )
    assert times == []


def test_the_old_services_commands_to_install_and_migrate_still_work(postgres: EmbeddedPostgres) -> None:
    """S4-38: `pip install -r requirements.txt` finds the runtime's lock, and `alembic upgrade head` migrates.

    `uvicorn app.main:app` is not kept, see docs/decisions/0008.
    """
    assert (ROOT / "requirements.txt").read_text() == (ROOT / "requirements.lock").read_text()
    environ = {**os.environ, "DATABASE_URL": postgres.create_database("by_alembic")}
    command = [str(Path(sys.executable).with_name("alembic")), "upgrade", "head"]
    for _ in range(2):
        done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
    assert "Running upgrade" not in done.stderr, "the second time there is nothing to do"
