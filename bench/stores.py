"""PostgreSQL and Valkey for everything that is measured, on the load's core."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from idp.dev.embedded import EmbeddedPostgres, EmbeddedValkey, remove_data


@dataclass
class Stores:
    """The running stores; every server gets a database of its own, and a numbered Valkey database."""

    postgres: EmbeddedPostgres
    valkey: EmbeddedValkey
    _taken: int = 0

    def database(self, name: str) -> str:
        """Create an empty database and return its address."""
        return self.postgres.create_database(name)

    def valkey_url(self) -> str:
        """Return the address of a Valkey database that nobody has yet."""
        self._taken += 1
        return self.valkey.url.removesuffix("/0") + f"/{self._taken}"


@contextmanager
def running() -> Iterator[Stores]:
    """Run both for the length of the block, with data in a temporary folder that is removed."""
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
