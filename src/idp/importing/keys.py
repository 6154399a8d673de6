"""Imports API keys (bcrypt) and service tokens (SHA-256). A stored key is never changed, so a revocation here stays."""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from idp.apikeys.service import LOCK, SERVICE_TOKEN, USER_KEY
from idp.apikeys.shapes import key_id
from idp.errors import IdpError
from idp.events.catalogue import EventType
from idp.events.shapes import ApiKeyChanged, KeyState, ServiceTokenChanged
from idp.importing.batch import Batch
from idp.importing.import_file import Numbered
from idp.importing.owners import is_member, owners
from idp.importing.records import ApiKey, Token
from idp.importing.user_events import add
from idp.ops.client_json import check_client_json
from idp.plain_text import without_unseen
from idp.principal.permissions import RESERVED_PREFIX
from idp.users.password_worker import Cost, unverifiable_reason

_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,256}\Z")
_PREFIX_LENGTHS = {7, 12}  # by which `authn/imported_keys.py` finds keys
_MAX_METADATA = {"max_bytes": 8192, "levels": 32}  # as in the API
_NO_COST = Cost(1, 8, 1)
_KNOWN = "SELECT id, digest FROM idp.api_keys WHERE id = ANY($1::uuid[]) OR digest = ANY($2::text[])"
_NAMES = """
SELECT name, id FROM idp.api_keys
 WHERE kind = 'service_token' AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2) AND name = ANY($1)
"""


class KeyValues(Struct):
    """What is stored of a key or token."""

    id: UUID
    kind: str
    user_id: str | None
    name: str
    prefix: str
    digest: str
    scheme: str
    scopes: str  # JSON
    metadata: str  # JSON
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    revoked_reason: str | None


class _Taken(Struct, frozen=True):
    """Ids of keys by digest, and of live service tokens by name; new ones are added."""

    digests: dict[str, UUID]
    names: dict[str, UUID]


_COLUMNS = KeyValues.__struct_fields__
_TYPES = {"id": "uuid", "metadata": "text"} | dict.fromkeys(
    ("created_at", "expires_at", "last_used_at", "revoked_at"), "timestamptz"
)
_ARRAYS = ", ".join(f"${place}::{_TYPES.get(name, 'text')}[]" for place, name in enumerate(_COLUMNS, start=1))
_CONVERTED = {
    "scopes": "ARRAY(SELECT jsonb_array_elements_text(n.scopes::jsonb))",
    "metadata": "n.metadata::jsonb",
}
_INSERT = f"""
INSERT INTO idp.api_keys ({", ".join(_COLUMNS)}, created_by, version)
SELECT {", ".join(_CONVERTED.get(name, f"n.{name}") for name in _COLUMNS)}, ${len(_COLUMNS) + 1}::text, 1
  FROM unnest({_ARRAYS}) AS n({", ".join(_COLUMNS)})
"""  # noqa: S608  names of columns


async def apply_api_keys(batch: Batch, records: Sequence[Numbered]) -> None:
    """Import API keys of users in a transaction."""
    given = [(each, each.record) for each in records if isinstance(each.record, ApiKey)]
    users = await owners(batch, [key.user_id for _, key in given])
    checked = [
        (record, _values_of_key(batch, key, users[key.user_id]["id"]))
        for record, key in given
        if is_member(batch, record, "api_key", users.get(key.user_id)) and _is_usable(batch, record, key)
    ]
    await _store(batch, "api_key", checked)


async def apply_tokens(batch: Batch, records: Sequence[Numbered]) -> None:
    """Import service tokens in a transaction."""
    given = [(each, each.record) for each in records if isinstance(each.record, Token)]
    checked = [
        (record, _values_of_token(batch, token))
        for record, token in given
        if _are_scopes(batch, record, "token", token.scopes) and _is_metadata(batch, record, token)
    ]
    await _store(batch, "token", checked)


def _is_usable(batch: Batch, record: Numbered, key: ApiKey) -> bool:
    reason = unverifiable_reason(key.key_hash, _NO_COST) if key.key_hash.startswith("$2") else "it is not bcrypt"
    if reason is not None:
        batch.conflict(
            record,
            "api_key",
            "key_hash_refused",
            seen=f"key_hash {key.key_hash[:7]}…",
            exists=reason,
            action="remove the line; the user creates a new key",
        )
        return False
    if len(key.key_prefix) not in _PREFIX_LENGTHS:
        batch.conflict(
            record,
            "api_key",
            "key_prefix_invalid",
            seen=f"key_prefix {key.key_prefix!r}",
            exists="the first 7 or 12 characters of the key",
            action="correct key_prefix",
        )
        return False
    return _are_scopes(batch, record, "api_key", key.scopes)


def _are_scopes(batch: Batch, record: Numbered, kind: str, scopes: Iterable[str]) -> bool:
    """Whether the scopes may be imported. Those of idp itself are granted here only."""
    refused = [scope for scope in scopes if scope.startswith(RESERVED_PREFIX) or not _SCOPE.match(scope)]
    if refused:
        batch.conflict(
            record,
            kind,
            "scope_refused",
            seen=f"scope {refused[0][:100]!r}",
            exists=f"printable ASCII without spaces, quotes and backslashes, not beginning with {RESERVED_PREFIX}",
            action="rename or remove the scope",
        )
    return not refused


def _is_metadata(batch: Batch, record: Numbered, token: Token) -> bool:
    try:
        check_client_json(token.metadata, "metadata", **_MAX_METADATA)
    except IdpError as error:
        batch.conflict(
            record,
            "token",
            "metadata_refused",
            seen="metadata",
            exists=error.detail,
            action="shorten or remove the metadata",
        )
        return False
    return True


def _values_of_key(batch: Batch, key: ApiKey, user_id: str) -> KeyValues:
    created = key.created_at or batch.exported_at
    return KeyValues(
        id=key.id,
        kind=USER_KEY,
        user_id=user_id,
        name=without_unseen(key.name).strip() or "imported",
        prefix=key.key_prefix,
        digest=key.key_hash,
        scheme="bcrypt",
        scopes=_json(list(dict.fromkeys(key.scopes))),
        metadata="{}",
        created_at=min(created, batch.now),
        expires_at=key.expires_at,
        last_used_at=key.last_used_at,
        revoked_at=batch.now if key.is_revoked else None,
        revoked_reason=f"revoked at {batch.source}" if key.is_revoked else None,
    )


def _values_of_token(batch: Batch, token: Token) -> KeyValues:
    created = token.created_at or batch.exported_at
    is_revoked = token.revoked or token.revoked_at is not None
    return KeyValues(
        id=token.token_id,
        kind=SERVICE_TOKEN,
        user_id=None,
        name=without_unseen(token.name).strip() or "imported",
        prefix="",
        digest=token.token_hash,
        scheme="sha256",
        scopes=_json(list(dict.fromkeys(token.scopes))),
        metadata=_json(token.metadata),
        created_at=min(created, batch.now),
        expires_at=token.expires_at,
        last_used_at=None,
        revoked_at=min(token.revoked_at or batch.now, batch.now) if is_revoked else None,
        revoked_reason=f"revoked at {batch.source}" if is_revoked else None,
    )


async def _store(batch: Batch, kind: str, checked: Sequence[tuple[Numbered, KeyValues]]) -> None:
    if not batch.is_dry_run:  # which would hold it until the end
        await batch.connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
    values = [each for _, each in checked]
    rows = await batch.fetch(_KNOWN, [each.id for each in values], [each.digest for each in values])
    names = await batch.fetch(_NAMES, [each.name for each in values], batch.now)
    ids = {row["id"] for row in rows}
    taken = _Taken({row["digest"]: row["id"] for row in rows}, {row["name"]: row["id"] for row in names})
    new = []
    for record, each in checked:
        if each.id in ids:
            batch.report.count(kind, "skipped")
        elif _is_unique(batch, record, kind, each, taken):
            taken.digests[each.digest] = each.id
            if _is_live(batch, each):
                taken.names[each.name] = each.id
            new.append(each)
    if new:
        columns = [[getattr(each, name) for each in new] for name in _COLUMNS]
        await batch.connection.execute(_INSERT, *columns, f"import:{batch.source}")
    for each in new:
        _publish(batch, each)
    batch.report.count(kind, "created", len(new))


def _is_unique(
    batch: Batch,
    record: Numbered,
    kind: str,
    values: KeyValues,
    taken: "_Taken",
) -> bool:
    if (holder := taken.digests.get(values.digest)) is not None:
        batch.conflict(
            record,
            kind,
            "secret_taken",
            seen=f"the hash of {values.name!r}",
            exists=f"{holder} has the same secret",
            action="remove one of the lines",
        )
        return False
    holder = taken.names.get(values.name)
    if values.user_id is None and _is_live(batch, values) and holder is not None:
        batch.conflict(
            record,
            kind,
            "name_taken",
            seen=f"name {values.name!r}",
            exists=f"the live service token {holder} has this name",
            action="rename the token, or revoke the other one",
        )
        return False
    return True


def _is_live(batch: Batch, values: KeyValues) -> bool:
    is_token = values.user_id is None
    return is_token and values.revoked_at is None and (values.expires_at is None or values.expires_at > batch.now)


def _publish(batch: Batch, values: KeyValues) -> None:
    state = KeyState(
        id=str(values.id) if values.user_id is None else key_id(values.id),
        name=values.name,
        prefix=values.prefix,
        scopes=msgspec.json.decode(values.scopes, type=tuple[str, ...]),
        created_at=values.created_at,
        expires_at=values.expires_at,
        revoked_at=values.revoked_at,
        version=1,
    )
    if values.user_id is None:
        token = ServiceTokenChanged(service_token=state)
        add(batch, EventType.SERVICE_TOKEN_CREATED, token, subject=f"service_token:{values.id}", sequence=1)
    else:
        key = ApiKeyChanged(user_id=values.user_id, api_key=state)
        add(batch, EventType.API_KEY_CREATED, key, subject=values.user_id, sequence=1)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
