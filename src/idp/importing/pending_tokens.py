"""Imports links that were mailed and not used: resets of a password, and verifications of an address."""

from collections.abc import Sequence
from datetime import timedelta

from uuid_utils.compat import uuid7

from idp.importing.batch import Batch
from idp.importing.import_file import Numbered
from idp.importing.owners import is_member, owners
from idp.importing.records import PendingToken
from idp.users.one_time_tokens import Purpose

KIND = "pending_token"
# The old service mails the verification as a part of registering, so the password is of who registered.
_PURPOSES = {
    "password_reset": ("idp.password_reset_tokens", Purpose.RESET),
    "email_verification": ("idp.email_verification_tokens", Purpose.REGISTER),
}
# A link that lasts longer there ends here after this time (SEC-10).
_LONGEST = {"password_reset": timedelta(hours=1), "email_verification": timedelta(days=7)}
_INSERT = """
INSERT INTO {table} (id, user_id, purpose, email, digest, created_at, expires_at)
SELECT id, user_id, $6, email, digest, $7, expires_at
  FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::timestamptz[])
       AS n(id, user_id, email, digest, expires_at)
    ON CONFLICT DO NOTHING RETURNING id
"""


async def apply_pending_tokens(batch: Batch, records: Sequence[Numbered]) -> None:
    """Import pending links in a transaction; expired ones, and those of users without an address, are left out."""
    given = [(each, each.record) for each in records if isinstance(each.record, PendingToken)]
    users = await owners(batch, [token.user_id for _, token in given])
    usable = []
    for record, token in given:
        user = users.get(token.user_id)
        if not is_member(batch, record, KIND, user) or user is None:
            continue
        if token.expires_at <= batch.now or user["email"] is None:
            batch.report.count(KIND, "skipped")
        else:
            usable.append((token, user))
    for type_, (table, purpose) in _PURPOSES.items():
        chosen = [(token, user) for token, user in usable if token.type == type_]
        stored = await batch.fetch(
            _INSERT.format(table=table),
            [uuid7() for _ in chosen],
            [user["id"] for _, user in chosen],
            [user["email"] for _, user in chosen],
            [token.token_hash for token, _ in chosen],
            [min(token.expires_at, batch.now + _LONGEST[type_]) for token, _ in chosen],
            purpose.value,
            batch.now,
        )
        batch.report.count(KIND, "created", len(stored))
        batch.report.count(KIND, "skipped", len(chosen) - len(stored))
