"""Checks of Valkey, which more than one process needs (C-12)."""

import re
from urllib.parse import urlsplit

from idp import cache
from idp.db.engine import Database
from idp.db.snapshot import STAMP
from idp.doctor.findings import Finding, ok, problem, warning
from idp.settings import Settings

# Each process has one connection that listens; its last statement read a stamp.
_LISTENING = "SELECT count(*) AS processes FROM pg_stat_activity WHERE datname = current_database() AND query = $1"


async def check_shared_cache(settings: Settings, database: Database) -> Finding:
    """Return whether Valkey answers, or is needed.

    Raises:
        DatabaseUnavailable: PostgreSQL is unavailable.
    """
    if settings.valkey.url is None:
        return await _is_needed(database)
    url = settings.valkey.url.reveal()
    host = urlsplit(url).hostname or url
    client = cache.connect(url)
    assert client is not None
    try:
        await client.ping()
        policy = (await client.config_get("maxmemory-policy")).get("maxmemory-policy", "")
    except Exception as error:  # noqa: BLE001  every failure of a client library
        return problem(
            "Valkey",
            f"{host} does not answer ({type(error).__name__})",
            why="each process counts rate limits alone, so attackers get as many attempts as there are processes",
            change="VALKEY_URL, and whether the server runs",
        )
    finally:
        await client.aclose()
    if not re.match(r"allkeys-|volatile-", str(policy)):
        return warning(
            "Valkey",
            f"{host}, maxmemory-policy {policy}",
            why="a full server refuses writes, and rate limits are then counted by each process",
            change="maxmemory-policy allkeys-lru in valkey.conf",
        )
    return ok("Valkey", f"{host} answers, maxmemory-policy {policy}")


async def _is_needed(database: Database) -> Finding:
    row = await database.reads.fetchrow(_LISTENING, f"SELECT {STAMP}")
    if row["processes"] > 1:
        return problem(
            "Valkey",
            f"VALKEY_URL is not set, and {row['processes']} processes run",
            why="each counts rate limits alone, so attackers get as many attempts as there are processes",
            change="VALKEY_URL=valkey://valkey.internal:6379/0",
        )
    return ok("Valkey", "not set; needed by more than one process")
