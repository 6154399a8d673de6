"""Imports audit records of another service. They get the time they had there, and say where they are from."""

import json
from collections.abc import Sequence
from uuid import UUID, uuid5

from uuid_utils.compat import uuid7

from idp.importing.batch import Batch
from idp.importing.import_file import Numbered
from idp.importing.records import Audit
from idp.plain_text import without_unseen

KIND = "audit"
_NAMESPACE = UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")  # RFC 9562: names that are URLs
_INSERT = """
INSERT INTO idp.audit_logs (id, timestamp, action, actor, user_id, target, details, ip_address, user_agent, request_id)
SELECT id, timestamp, action, actor, user_id, NULL, details::jsonb, ip_address, user_agent, NULL
  FROM unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[])
       AS n(id, timestamp, action, actor, user_id, details, ip_address, user_agent)
    ON CONFLICT DO NOTHING RETURNING id
"""


async def apply_audit(batch: Batch, records: Sequence[Numbered]) -> None:
    """Import audit records in a transaction."""
    given = [each.record for each in records if isinstance(each.record, Audit)]
    stored = await batch.fetch(
        _INSERT,
        [_id(batch, each) for each in given],
        [min(each.timestamp or batch.exported_at, batch.now) for each in given],
        [without_unseen(each.action) for each in given],
        [f"user:{each.user_id}" if each.user_id else "anonymous" for each in given],
        [each.user_id for each in given],
        [_details(batch, each) for each in given],
        [each.ip_address for each in given],
        [without_unseen(each.user_agent)[:512] if each.user_agent else None for each in given],
    )
    batch.report.count(KIND, "created", len(stored))
    batch.report.count(KIND, "skipped", len(given) - len(stored))


def _id(batch: Batch, record: Audit) -> UUID:
    """Return the id of a record, or one that depends only on the source and its id there."""
    if record.id is None:
        return uuid7()
    try:
        return UUID(str(record.id))
    except ValueError:
        return uuid5(_NAMESPACE, f"idp-import:{batch.source}:{record.id}")


def _details(batch: Batch, record: Audit) -> str:
    details = record.details if isinstance(record.details, dict) else {"text": record.details} if record.details else {}
    return json.dumps({**details, "imported_from": batch.source})
