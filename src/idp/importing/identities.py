"""Imports identities of users at other issuers. An identity that another user has is a conflict, never moved."""

from collections.abc import Sequence

from uuid_utils.compat import uuid7

from idp.events.catalogue import EventType
from idp.events.shapes import IdentityChanged
from idp.importing.batch import Batch
from idp.importing.import_file import Numbered
from idp.importing.owners import is_member, owners
from idp.importing.records import Identity
from idp.importing.user_events import add
from idp.users.identities import CLERK

KIND = "identity"
_KNOWN = """
SELECT i.provider, i.subject, i.user_id
  FROM idp.identities i JOIN unnest($1::text[], $2::text[]) AS n(provider, subject) USING (provider, subject)
"""
_INSERT = """
INSERT INTO idp.identities (id, user_id, provider, subject, created_at)
SELECT *, $5::timestamptz FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[])
"""


async def apply_identities(batch: Batch, records: Sequence[Numbered]) -> None:
    """Import identities in a transaction."""
    given = [(each, each.record) for each in records if isinstance(each.record, Identity)]
    users = await owners(batch, [identity.user_id for _, identity in given])
    pairs = [identity.provider for _, identity in given], [identity.subject for _, identity in given]
    known = {(row["provider"], row["subject"]): row["user_id"] for row in await batch.fetch(_KNOWN, *pairs)}
    new: list[tuple[str, Identity]] = []
    for record, identity in given:
        if not _is_provider(batch, record, identity) or not is_member(batch, record, KIND, users.get(identity.user_id)):
            continue
        user_id = users[identity.user_id]["id"]
        holder = known.get((identity.provider, identity.subject))
        if holder is None:
            new.append((user_id, identity))
        elif holder == user_id:
            batch.report.count(KIND, "skipped")
        else:
            batch.conflict(
                record,
                KIND,
                "identity_taken",
                seen=f"{identity.subject} at {identity.provider} for the user {user_id}",
                exists=f"the user {holder} has this identity",
                action="remove the line, or let the user unlink it there first",
            )
    await _insert(batch, new)


def _is_provider(batch: Batch, record: Numbered, identity: Identity) -> bool:
    if identity.provider == CLERK or identity.provider.startswith(("https://", "http://")):
        return True
    batch.conflict(
        record,
        KIND,
        "provider_invalid",
        seen=f"provider {identity.provider!r}",
        exists="`clerk`, or the URL of an issuer",
        action="write the issuer exactly as its discovery document does",
    )
    return False


async def _insert(batch: Batch, new: Sequence[tuple[str, Identity]]) -> None:
    if not new:
        return
    await batch.connection.execute(
        _INSERT,
        [uuid7() for _ in new],
        [user_id for user_id, _ in new],
        [identity.provider for _, identity in new],
        [identity.subject for _, identity in new],
        batch.now,
    )
    for user_id, identity in new:
        data = IdentityChanged(user_id=user_id, provider=identity.provider, subject=identity.subject)
        add(batch, EventType.IDENTITY_LINKED, data, subject=user_id)
    batch.report.count(KIND, "created", len(new))
