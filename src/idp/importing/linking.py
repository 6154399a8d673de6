"""Links two accounts of one person: the same address, verified in both services (docs/decisions/0054).

The lower id stays, unless the stored account has been used here; the other id becomes an alias, so that old tokens and
references keep resolving.
"""

from typing import Any

from idp.importing import user_events
from idp.importing.batch import Batch
from idp.importing.import_file import Numbered
from idp.importing.user_values import UserValues
from idp.principal.permissions import ADMIN
from idp.principal.sources import IMPORT

_NO_SOURCE = ""  # of the alias of a user who was not imported
ALIASES = "SELECT alias, user_id, source FROM idp.user_aliases WHERE alias = ANY($1)"
_HOLDER = """
SELECT id, email_verified, is_active, imported_from,
       EXISTS (SELECT FROM idp.user_sessions WHERE user_id = u.id) AS is_used,
       EXISTS (SELECT FROM idp.user_roles WHERE user_id = u.id AND role = 'admin') AS is_admin
  FROM idp.users u WHERE email_key = $1 AND deleted_at IS NULL FOR UPDATE
"""
_REFERENCES = """
SELECT conrelid::regclass::text AS table, quote_ident(attname) AS column
  FROM pg_constraint JOIN pg_attribute ON attrelid = conrelid AND attnum = conkey[1]
 WHERE contype = 'f' AND confrelid = 'idp.users'::regclass ORDER BY 1, 2
"""
_FREE_ADDRESS = "UPDATE idp.users SET email_key = NULL WHERE id = $1"
_COPY = """
INSERT INTO idp.users
SELECT (jsonb_populate_record(
           u, jsonb_build_object('id', $2::text, 'email_key', $3::text, 'imported_from', $4::text))).*
  FROM idp.users u WHERE id = $1
"""
_MERGE = """
UPDATE idp.users SET name = coalesce(name, $2), avatar_url = coalesce(avatar_url, $3),
       password_hash = coalesce(password_hash, $4), created_at = least(created_at, $5),
       updated_at = greatest(updated_at, $6), version = version + 1
 WHERE id = $1
"""
_ADD_ALIAS = "INSERT INTO idp.user_aliases (alias, user_id, source, created_at) VALUES ($1, $2, $3, $4)"
_ADD_ROLES = f"""
INSERT INTO idp.user_roles (user_id, role, source) SELECT $1, role, '{IMPORT}' FROM unnest($2::text[]) role
    ON CONFLICT DO NOTHING
"""  # noqa: S608
_CREATE_ROLES = "INSERT INTO idp.roles (name, description) SELECT unnest($1::text[]), '' ON CONFLICT DO NOTHING"


async def link(batch: Batch, record: Numbered, values: UserValues) -> None:
    """Link an imported account to the live user with its address, or report why not."""
    holder = await batch.connection.fetchrow(_HOLDER, values.email_key)
    if holder is None or not _may_link(batch, record, values, holder):
        return
    user_id, stays = holder["id"], holder["is_used"] or holder["id"] < values.id
    if stays:
        alias, source = values.id, batch.source
    else:
        await _change_id(batch, user_id, values)
        user_id, alias, source = values.id, user_id, holder["imported_from"] or _NO_SOURCE
    await batch.connection.execute(
        _MERGE, user_id, values.name, values.avatar_url, values.password_hash, values.created_at, values.updated_at
    )
    await batch.connection.execute(_CREATE_ROLES, list(values.roles))
    await batch.connection.execute(_ADD_ROLES, user_id, list(values.roles))
    await batch.connection.execute(_ADD_ALIAS, alias, user_id, source, batch.now)
    if ADMIN in values.roles and not holder["is_admin"]:
        batch.report.add_administrator(values.email or user_id)
    batch.report.count("user", "updated")
    batch.report.note("linked to the user with the same verified address; the other id is an alias")
    await user_events.linked(batch, user_id, former=None if stays else alias)


def _may_link(batch: Batch, record: Numbered, values: UserValues, holder: Any) -> bool:
    obstacles = [
        text
        for text, is_so in (
            ("the imported address is not verified", not values.email_verified),
            ("the address of the user here is not verified", not holder["email_verified"]),
            ("the imported user is disabled", not values.is_active),
            ("the user here is disabled", not holder["is_active"]),
        )
        if is_so
    ]
    if obstacles:
        batch.conflict(
            record,
            "user",
            "not_linked",
            seen=f"{values.email} of the user {values.id}",
            exists=f"the live user {holder['id']} has this address; {' and '.join(obstacles)}",
            action="let the owner verify the address, or change or remove one of them; then import again",
        )
    return not obstacles


async def _change_id(batch: Batch, user_id: str, values: UserValues) -> None:
    """Give a stored user another id, in every table that refers to it."""
    await batch.connection.execute(_FREE_ADDRESS, user_id)
    await batch.connection.execute(_COPY, user_id, values.id, values.email_key, batch.source)
    for each in await batch.fetch(_REFERENCES):
        table, column = each["table"], each["column"]
        await batch.connection.execute(f"UPDATE {table} SET {column} = $2 WHERE {column} = $1", user_id, values.id)  # noqa: S608
    await batch.connection.execute("DELETE FROM idp.users WHERE id = $1", user_id)
