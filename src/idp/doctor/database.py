"""Checks of PostgreSQL (S3-51, S3-52, S3-58) and of the keys and backups in it."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

from idp import clock
from idp.db import installation
from idp.db.engine import Database
from idp.doctor.findings import Finding, ok, problem, unknown, warning
from idp.settings import Settings

_FACTS = """
SELECT current_setting('server_version_num')::int / 10000 AS major, current_setting('fsync') AS fsync,
       (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()) AS tls, inet_server_addr() AS address,
       current_user AS role, (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS superuser,
       has_table_privilege('idp.audit_logs', 'UPDATE, DELETE') AS changes_audit,
       current_setting('synchronous_standby_names') AS standbys,
       current_setting('synchronous_commit') AS synchronous_commit,
       (SELECT count(*) FROM pg_stat_replication) AS replicas, pg_is_in_recovery() AS recovering,
       current_setting('max_connections')::int AS max_connections, current_setting('archive_mode') AS archive_mode,
       (SELECT last_archived_time FROM pg_stat_archiver) AS archived_at, clock_timestamp() AS now
"""
_KEYS = """
SELECT algorithm, max(signs_from) AS since FROM idp.signing_keys
 WHERE expires_at IS NULL AND signs_from <= now() GROUP BY algorithm ORDER BY algorithm
"""
_MAX_SKEW = timedelta(seconds=2)
_BACKUP_AGE = timedelta(days=2)
_RESERVED = 5 + 1  # connections of a process beside its pool: credential look-ups, LISTEN


async def check_database(database: Database, settings: Settings) -> AsyncIterator[Finding]:
    """Yield a finding for each check.

    Raises:
        DatabaseUnavailable: PostgreSQL is unavailable.
    """
    sent = clock.now()
    facts = await database.reads.fetchrow(_FACTS)
    yield _version(facts)
    yield _encryption(facts)
    yield _privileges(facts)
    yield _durability(facts)
    yield _replication(facts)
    yield _connections(facts, settings)
    yield _clock(facts["now"], sent, clock.now())
    yield await _backups(database, facts)
    yield await _development(database)
    async for finding in _signing_keys(database, settings):
        yield finding


def _version(facts: Any) -> Finding:
    if facts["major"] < 15:
        return problem(
            "PostgreSQL",
            f"version {facts['major']}",
            why="versions before 15 lack functions that idp needs",
            change="upgrade to PostgreSQL 15 to 18",
        )
    return ok("PostgreSQL", f"version {facts['major']}")


def _encryption(facts: Any) -> Finding:
    """S3-52. A local connection needs no encryption."""
    if facts["tls"]:
        return ok("database encryption", "TLS")
    address = facts["address"]
    if address is None or address.is_loopback:
        return ok("database encryption", "none, on this machine")
    return problem(
        "database encryption",
        f"the connection to {address} is not encrypted",
        why="password digests and tokens' digests cross the network in clear",
        change="append ?sslmode=verify-full&sslrootcert=/etc/ssl/certs/ca-certificates.crt to DATABASE_URL",
    )


def _privileges(facts: Any) -> Finding:
    if facts["superuser"]:
        return problem(
            "database privileges",
            f"the role {facts['role']} is a superuser",
            why="an SQL injection anywhere would own the server",
            change="use a role of its own: docs/operations.md#database, Two roles",
        )
    if facts["changes_audit"]:
        return warning(
            "database privileges",
            f"the role {facts['role']} may change audit records",
            why="who takes over the service could remove its traces",
            change="DATABASE_MIGRATION_URL with an owner role: docs/operations.md#database, Two roles",
        )
    return ok("database privileges", f"the role {facts['role']} only adds audit records")


def _durability(facts: Any) -> Finding:
    if facts["fsync"] != "on":
        return problem(
            "durability",
            "fsync is off",
            why="a power failure can lose or corrupt everything",
            change="fsync = on in postgresql.conf",
        )
    if facts["synchronous_commit"] == "off":
        return problem(
            "durability",
            "synchronous_commit is off",
            why="an answered revocation can be lost in a crash",
            change="synchronous_commit = on in postgresql.conf",
        )
    return ok("durability", "fsync and synchronous_commit are on")


def _replication(facts: Any) -> Finding:
    if facts["recovering"]:
        return problem(
            "replication",
            "DATABASE_URL leads to a replica",
            why="every write fails",
            change="connect to the primary, or list both hosts: the primary is chosen",
        )
    if not facts["replicas"]:
        return warning(
            "replication",
            "no replica is connected",
            why="while the primary is away, nobody can sign in",
            change="use a managed PostgreSQL with a standby",
        )
    if not facts["standbys"]:
        return warning(
            "replication",
            f"{facts['replicas']} replicas, none synchronous",
            why="a failover can lose the last second: a revoked key may be valid again",
            change="synchronous_standby_names = 'ANY 1 (*)' in postgresql.conf",
        )
    return ok("replication", f"{facts['replicas']} replicas, synchronous: {facts['standbys']}")


def _connections(facts: Any, settings: Settings) -> Finding:
    limits = settings.database
    one = limits.pool_size + limits.max_overflow + _RESERVED
    seen = f"up to {one} a process; the server has {facts['max_connections']}"
    if one > facts["max_connections"]:
        return problem(
            "connections",
            seen,
            why="requests fail with 503 under load",
            change=f"DB_POOL_SIZE={max(1, facts['max_connections'] // 4)} and DB_MAX_OVERFLOW=0, or a pooler",
        )
    return ok("connections", f"{seen}, enough for {facts['max_connections'] // one} processes")


def _clock(theirs: datetime, sent: datetime, received: datetime) -> Finding:
    skew = max(sent - theirs, theirs - received, timedelta(0))
    if skew > _MAX_SKEW:
        return problem(
            "clock",
            f"{skew.total_seconds():.0f} s from the database's",
            why="tokens are refused as expired or as not valid yet",
            change="synchronise both machines with NTP",
        )
    return ok("clock", f"within {skew.total_seconds():.1f} s of the database's")


async def _backups(database: Database, facts: Any) -> Finding:
    """S3-58: a backup by `idp backup`, or archived WAL."""
    stored = await installation.find(database, installation.BACKUP)
    archived = facts["archived_at"] if facts["archive_mode"] != "off" else None
    times = [each for each in (datetime.fromisoformat(stored) if stored else None, archived) if each is not None]
    if not times:
        return warning(
            "backups",
            "none seen: no `idp backup`, and no archived WAL",
            why="what is lost cannot be restored",
            change="run `idp backup` every night (deploy/kubernetes/backup.yaml), or use a managed database's backups",
        )
    age = clock.now() - max(times)
    if age > _BACKUP_AGE:
        return problem(
            "backups", f"the last one is {age.days} days old", why="what is lost since cannot be restored",
            change="look at the job that makes them",
        )  # fmt: skip
    return ok("backups", f"the last one is {round(age.total_seconds() / 3600)} h old")


async def _development(database: Database) -> Finding:
    if await installation.find(database, installation.DEVELOPMENT):
        return problem(
            "development data",
            "`idp dev` has used this database",
            why="credentials made in development would be accepted",
            change="use another database, or run `idp clear-development-mark`",
        )
    return ok("development data", "none")


async def _signing_keys(database: Database, settings: Settings) -> AsyncIterator[Finding]:
    rows = await database.reads.fetch(_KEYS)
    if not rows:
        yield unknown("signing keys", "none yet", why="they are created at the first start of `idp serve`")
    limit = settings.tokens.signing_key_days
    for row in rows:
        days = (clock.now() - row["since"]).days
        if limit and days > limit + 1:
            yield problem(
                "signing keys",
                f"{row['algorithm']} is {days} days old; tokens.signing_key_days is {limit}",
                why="automatic rotation has stopped",
                change="look for `signing key` in the log of `idp serve`, or run `idp signing-keys rotate`",
            )
        elif not limit and days > 365:
            yield warning(
                "signing keys",
                f"{row['algorithm']} is {days} days old, and rotation is off",
                why="the longer a key signs, the more a stolen one is worth",
                change="IDP_TOKENS__SIGNING_KEY_DAYS=90, or `idp signing-keys rotate`",
            )
        else:
            yield ok("signing keys", f"{row['algorithm']} is {days} days old")
