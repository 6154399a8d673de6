"""Finds the users that records refer to, also by former ids."""

from collections.abc import Iterable
from typing import Any

from idp.importing.batch import Batch
from idp.importing.import_file import Numbered

_OWNERS = """
SELECT given, u.id, u.is_active, u.deleted_at IS NOT NULL AS is_deleted, u.email
  FROM unnest($1::text[]) given
  LEFT JOIN idp.user_aliases a ON a.alias = given
  JOIN idp.users u ON u.id = coalesce(a.user_id, given)
"""


async def owners(batch: Batch, user_ids: Iterable[str]) -> dict[str, Any]:
    """Return the users with these ids, also by former ids: `id`, `is_active`, `is_deleted`, `email`."""
    return {row["given"]: row for row in await batch.fetch(_OWNERS, list(dict.fromkeys(user_ids)))}


def is_member(batch: Batch, record: Numbered, kind: str, user: Any) -> bool:
    """Whether a record's user exists; else it is reported. Records of deleted users are skipped."""
    if user is not None and not user["is_deleted"]:
        return True
    if user is not None:
        batch.report.count(kind, "skipped")
        batch.report.note(f"{kind} of a deleted user left out")
        return False
    batch.conflict(
        record,
        kind,
        "user_unknown",
        seen=f"user_id {record.record.user_id}",  # type: ignore[attr-defined]
        exists="no such user",
        action="import the user first, or remove this line",
    )
    return False
