"""Runs the service as in production: `idp migrate`, then `idp serve` with one worker on the server's core."""

import secrets
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from bench import server as servers
from bench.server import DidNotStart, Server
from bench.stores import Stores
from idp.settings_schema import RateLimits

ADMIN_TOKEN = secrets.token_urlsafe(32)
METRICS_TOKEN = secrets.token_urlsafe(32)
METRICS_BEARER = {"Authorization": f"Bearer {METRICS_TOKEN}"}
_IDP = [sys.executable, "-m", "idp.cli.main"]
_HIGH_LIMIT = "10000000"


class Deployment(msgspec.Struct, frozen=True):
    """The shared environment and database of the processes.

    Attributes:
        env: environment variables.
        database_url: the migrated database.
    """

    env: dict[str, str]
    database_url: str


def deploy(stores: Stores, *, name: str = "idp-bench") -> Deployment:
    """Create and migrate a database of this name. Raises DidNotStart."""
    url = stores.database(name)
    env = {
        "DATABASE_URL": url,
        "VALKEY_URL": stores.valkey_url(),
        "IDP_SECRET_KEY": secrets.token_urlsafe(48),
        "IDP_PUBLIC_URL": "https://id.example.com",
        "ADMIN_TOKEN": ADMIN_TOKEN,
        "METRICS_TOKEN": METRICS_TOKEN,
    }
    done = subprocess.run(
        [*_IDP, "migrate"], env=servers.inherited() | env, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise DidNotStart(f"idp migrate: {done.stderr.strip()[-1000:]}")
    return Deployment(env, url)


def start(deployment: Deployment, folder: Path, *, core: int, name: str, settings: Mapping[str, str]) -> Server:
    """Start a process with additional environment variables. Raises DidNotStart."""
    port = servers.free_port()
    argv = [*_IDP, "serve", "--host", "127.0.0.1", "--port", str(port)]
    env = deployment.env | dict(settings)
    return servers.launch(name, argv, port=port, core=core, env=env, folder=folder).wait(servers.listens)


def no_limits() -> dict[str, str]:
    """Return settings with very high rate limits; attempts are still counted."""
    bounded = "consecutive_failures_per_account"  # at most 100, and not needed without wrong passwords
    counts = [field for field in RateLimits.__struct_fields__ if not field.endswith("_seconds") and field != bounded]
    share = {"IDP_PASSWORDS__QUEUE_LIMIT_PER_ADDRESS": "10000"}  # the load comes from one address
    return share | {f"IDP_RATE_LIMITS__{count.upper()}": _HIGH_LIMIT for count in counts}
