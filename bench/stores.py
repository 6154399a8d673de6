"""Runs PostgreSQL and Valkey on the load's core."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from idp.dev.embedded import EmbeddedPostgres, EmbeddedValkey, remove_data


@dataclass
class Stores:
    """The running stores; every server gets its own PostgreSQL database and Valkey database."""

    postgres: EmbeddedPostgres
    valkey: EmbeddedValkey
    _taken: int = 0

    def database(self, name: str) -> str:
        """Create an empty database and return its URL."""
        return self.postgres.create_database(name)

    def valkey_url(self) -> str:
        """Return the URL of an unused Valkey database."""
        self._taken += 1
        return self.valkey.url.removesuffix("/0") + f"/{self._taken}"


@contextmanager
def running() -> Iterator[Stores]:
    """Run both during the block, with data in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "postgres")
        data.mkdir()
        postgres, valkey = EmbeddedPostgres(data), EmbeddedValkey()
        try:
            postgres.start()
            valkey.start()
            yield Stores(postgres, valkey)
        finally:
            valkey.stop()
            postgres.stop()
            remove_data(data)
