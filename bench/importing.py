"""`python -m bench.importing`: how long `idp import` takes for 100,000 users with bcrypt passwords."""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench import exclusive, server, service, stores

_TARGET_SECONDS = 60.0
_TIMEOUT_SECONDS = 400
_HASH = "$2b$12$abcdefghijklmnopqrstuOYPcIVO0p4eNjqXr1LxKlEFmGAG5v1PS"  # of no known password
_TIME = "2024-05-01T12:00:00Z"


def main() -> None:
    """Write the file, import it, and print the time."""
    parser = argparse.ArgumentParser(prog="python -m bench.importing", description=__doc__)
    parser.add_argument("--users", type=int, default=100_000)
    users = parser.parse_args().users
    with (
        exclusive.exclusive_run(_TIMEOUT_SECONDS, say=_say),
        TemporaryDirectory(prefix="idp-bench-") as folder,
        stores.running() as running,
    ):
        deployment = service.deploy(running)
        file = Path(folder, "users.ndjson")
        with file.open("w", encoding="utf-8") as out:
            out.writelines(json.dumps(record) + "\n" for record in _records(users))
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "idp.cli.main", "import", str(file)],
            env=server.inherited() | deployment.env,
            capture_output=True,
            text=True,
            check=False,
        )
        took = time.monotonic() - began
    if done.returncode:
        sys.exit(f"idp import failed: {done.stderr.strip()[-1000:]}")
    word = "met" if took <= _TARGET_SECONDS * users / 100_000 else "missed"
    print(f"{users:,} users in {took:.1f} s; target for 100,000: {_TARGET_SECONDS:.0f} s ({word})")


def _records(users: int) -> Iterator[dict[str, Any]]:
    yield {"kind": "header", "format": "idp-import/1", "source": "bench", "exported_at": _TIME}
    for number in range(users):
        yield {
            "kind": "user", "id": f"bench-{number}", "email": f"person-{number}@example.com", "name": "Pat Person",
            "password_hash": _HASH, "email_verified": True, "created_at": _TIME, "updated_at": _TIME,
        }  # fmt: skip


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
