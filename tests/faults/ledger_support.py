"""What was acknowledged and what was refused, and the comparison with the database."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from uuid import UUID

from faults.nodes_support import Cluster

BOUND = 1.0  # seconds after which a revocation is in force everywhere


class State(Enum):
    """What a client knows about a key."""

    LIVE = "acknowledged, and no revocation acknowledged"
    REVOKING = "a revocation is on its way"
    REVOKED = "the revocation was acknowledged"
    UNKNOWN = "a revocation may have happened"


@dataclass
class Key:
    """An API key whose creation was acknowledged."""

    id: str
    secret: str
    owner: int  # the person who has it, by the number of the process that they use
    state: State = State.LIVE
    revoked_at: float = 0.0

    @property
    def row_id(self) -> UUID:
        return UUID(self.id.removeprefix("key_"))

    def expected(self) -> bool | None:
        """Return whether a validation that begins now must accept it; None if either is right."""
        if self.state is State.LIVE:
            return True
        if self.state is State.REVOKED and time.monotonic() > self.revoked_at + BOUND:
            return False
        return None


@dataclass
class Ledger:
    """What clients were told during a fault.

    Attributes:
        keys: whose creation was acknowledged.
        refused: names of keys whose creation was refused.
        sessions: ids of sessions that were acknowledged.
    """

    keys: list[Key] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    sessions: list[str] = field(default_factory=list)

    def live(self) -> list[Key]:
        return [key for key in self.keys if key.state is State.LIVE]

    @property
    def acknowledged(self) -> int:
        """How many changes were acknowledged: creations, revocations, sign-ins."""
        return len(self.keys) + len(self.sessions) + sum(key.state is State.REVOKED for key in self.keys)

    def lost(self, cluster: Cluster) -> list[str]:
        """Return what was acknowledged and is not so in the database."""
        statement = "SELECT id, revoked_at IS NULL AS live FROM idp.api_keys WHERE id = ANY($1)"
        is_live = {row["id"]: row["live"] for row in cluster.sql(statement, _ids(self.keys))}
        sessions = [UUID(each) for each in self.sessions]
        found = cluster.sql("SELECT id FROM idp.user_sessions WHERE id = ANY($1) AND ended_at IS NULL", sessions)
        lost = [f"key {key.id}" for key in self.keys if key.row_id not in is_live]
        lost += [
            f"revocation of {key.id}" for key in self.keys if key.state is State.REVOKED and is_live.get(key.row_id)
        ]
        return lost + [f"session {each}" for each in set(sessions) - {row["id"] for row in found}]

    def came_true(self, cluster: Cluster) -> list[str]:
        """Return what was refused and is so in the database all the same."""
        made = cluster.sql("SELECT name FROM idp.api_keys WHERE name = ANY($1)", self.refused)
        live = _ids(self.live())
        ended = cluster.sql("SELECT id FROM idp.api_keys WHERE id = ANY($1) AND revoked_at IS NOT NULL", live)
        return [f"key {row['name']}" for row in made] + [f"revocation of {row['id']}" for row in ended]


def _ids(keys: Iterable[Key]) -> list[UUID]:
    return [key.row_id for key in keys]
