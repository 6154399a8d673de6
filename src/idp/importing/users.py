"""Imports users: new ones are created; of known ones the newer state counts; an address belongs to one live user."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from idp.importing import user_events
from idp.importing.batch import Batch
from idp.importing.import_file import Numbered
from idp.importing.linking import ALIASES, link
from idp.importing.records import User
from idp.importing.user_values import COLUMNS, Refused, UserValues, difference, values_of
from idp.principal.permissions import ADMIN
from idp.principal.sources import IMPORT
from idp.users.email import email_key, parse_email

KIND = "user"
ID_TAKEN = "id_taken"
_ROW = f"""
SELECT {", ".join(COLUMNS)}, version, password_version,
       ARRAY(SELECT role FROM idp.user_roles WHERE user_id = u.id) AS roles
  FROM idp.users u
"""  # noqa: S608  names of columns
_BY_ID = _ROW + "WHERE id = ANY($1) FOR NO KEY UPDATE"
_BY_KEY = _ROW + "WHERE email_key = ANY($1) AND deleted_at IS NULL"
_TYPES = {"email_verified": "boolean", "is_active": "boolean"} | dict.fromkeys(
    ("created_at", "updated_at", "deleted_at"), "timestamptz"
)
_ARRAYS = ", ".join(f"${place}::{_TYPES.get(name, 'text')}[]" for place, name in enumerate(COLUMNS, start=1))
_INSERT = f"""
INSERT INTO idp.users ({", ".join(COLUMNS)}, password_version, version)
SELECT *, 1, 1 FROM unnest({_ARRAYS}) ON CONFLICT DO NOTHING RETURNING id
"""  # noqa: S608
_CHANGED = [name for name in COLUMNS if name not in {"id", "created_at", "imported_from"}]
_UPDATE = f"""
UPDATE idp.users u SET {", ".join(f"{name} = n.{name}" for name in _CHANGED)}, version = u.version + 1,
       password_version = u.password_version + (u.password_hash IS DISTINCT FROM n.password_hash)::int
  FROM unnest({_ARRAYS}) AS n({", ".join(COLUMNS)}) WHERE u.id = n.id
"""  # noqa: S608
_ROLES = "INSERT INTO idp.roles (name, description) SELECT unnest($1::text[]), '' ON CONFLICT DO NOTHING"
_GRANT = f"""
INSERT INTO idp.user_roles (user_id, role, source) SELECT *, '{IMPORT}' FROM unnest($1::text[], $2::text[])
    ON CONFLICT DO NOTHING
"""  # noqa: S608
_TOTP = """
INSERT INTO idp.totp_secrets (user_id, secret, algorithm, digits, period, last_step, created_at)
SELECT *, 0, $6 FROM unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::int[]) ON CONFLICT DO NOTHING
"""
_WITHDRAW = """
DELETE FROM idp.user_roles r USING unnest($1::text[], $2::text[]) AS n(user_id, role)
 WHERE r.user_id = n.user_id AND r.role = n.role
"""


async def apply_users(batch: Batch, records: Sequence[Numbered]) -> None:
    """Import users in a transaction."""
    ids = [each.record.primary_id for each in records]
    known = {row["id"]: row for row in await batch.fetch(_BY_ID, ids)}
    aliases = {row["alias"]: row for row in await batch.fetch(ALIASES, ids)}
    # Ids are compared first: later records refer to them, even if a value of this one is refused.
    own = [each for each in records if not _is_id_taken(batch, each, known, aliases)]
    checked = [(record, values) for record in own if (values := _checked(batch, record)) is not None]
    keys = [values.email_key for _, values in checked if values.email_key is not None]
    holders: dict[str, str] = {row["email_key"]: row["id"] for row in await batch.fetch(_BY_KEY, keys)}
    decided = Decided(batch, known, holders)
    for record, values in checked:
        if values.id in aliases:
            batch.report.count(KIND, "skipped")  # linked by an earlier import
        else:
            decided.decide(record, values)
    await _insert(batch, decided.created)
    await _update(batch, known, decided.updated)
    for record, values in decided.linked:
        await link(batch, record, values)
    created, updated = ([values.id for _, values in each] for each in (decided.created, decided.updated))
    await user_events.users(batch, created=created, updated=updated)


class Decided:
    """What becomes of each user of a batch.

    Args:
        batch: the transaction.
        known: stored users by id.
        holders: ids of live users by the key of their address; new users are added.
    """

    def __init__(self, batch: Batch, known: Mapping[str, Any], holders: dict[str, str]) -> None:
        self._batch = batch
        self._known = known
        self._holders = holders
        self.created: list[tuple[Numbered, UserValues]] = []
        self.updated: list[tuple[Numbered, UserValues]] = []
        self.linked: list[tuple[Numbered, UserValues]] = []

    def decide(self, record: Numbered, values: UserValues) -> None:
        row = self._known.get(values.id)
        if row is not None and not self._is_changed(record, values, row):
            return
        holder = self._holders.get(values.email_key or "")
        if holder is not None and holder != values.id and values.deleted_at is None:
            self._taken(record, values, holder, is_new=row is None)
            return
        if values.email_key is not None and values.deleted_at is None:
            self._holders[values.email_key] = values.id
        (self.created if row is None else self.updated).append((record, values))

    def _is_changed(self, record: Numbered, values: UserValues, row: Mapping[str, Any]) -> bool:
        """Whether a stored user is to be updated; else it is counted as skipped, or as a conflict."""
        report = self._batch.report
        if row["deleted_at"] is not None:
            report.count(KIND, "skipped")
            if values.deleted_at is None:
                report.note("deleted here: stays deleted")
            return False
        if values.deleted_at is not None:
            self._batch.conflict(
                record,
                KIND,
                "deleted_at_source",
                seen=f"deleted at {values.deleted_at.isoformat()}",
                exists="a live user",
                action=f"run `idp users delete {values.id}` if the user is to go, which also revokes credentials",
            )
            return False
        if not _is_newer(values.updated_at, row["updated_at"], self._batch.known_until):
            report.count(KIND, "skipped")
            if ADMIN in values.roles and ADMIN not in row["roles"]:
                report.note(f"not an administrator here: `idp users create-admin {row['email']} --existing` grants it")
            return False
        _keep_what_is_better(values, row)
        if not difference(values, row):
            report.count(KIND, "skipped")
            return False
        return True

    def _taken(self, record: Numbered, values: UserValues, holder: str, *, is_new: bool) -> None:
        if self._batch.options.on_conflict == "link" and is_new:
            self.linked.append((record, values))
            return
        self._batch.conflict(
            record,
            KIND,
            "email_taken",
            seen=f"{values.email} of the user {values.id}",
            exists=f"the live user {holder} has this address",
            action="use --on-conflict link if both addresses are verified, or change or remove one of them",
        )


def _checked(batch: Batch, record: Numbered) -> UserValues | None:
    try:
        return values_of(batch, record)
    except Refused as error:
        code, seen, exists, action = error.args
        batch.conflict(record, KIND, code, seen=seen, exists=exists, action=action)
        return None


def _is_id_taken(
    batch: Batch, record: Numbered, known: Mapping[str, Any], aliases: Mapping[str, Mapping[str, Any]]
) -> bool:
    """Whether the id is here that of another person; then it is reported."""
    user = record.record
    assert isinstance(user, User)
    row, alias = known.get(user.id), aliases.get(user.id)
    if row is not None and not _is_same_person(batch, user, row):
        exists = f"a user of another source has this id, with the address {row['email']}"
    elif alias is not None and not _is_same_alias(batch, user, alias):
        exists = f"it is a former id of the user {alias['user_id']}, who came from another source"
    else:
        return False
    batch.conflict(
        record,
        KIND,
        ID_TAKEN,
        seen=f"the id {user.id} with the address {user.email}",
        exists=exists,
        action="put a prefix before every id of a user in the file, such as the name of the source",
    )
    return True


def _is_same_person(batch: Batch, user: User, row: Mapping[str, Any]) -> bool:
    """Whether an id means the same user as here: ids of two sources may collide, except Clerk's."""
    is_of_clerk = _is_of_clerk(user) and row["login_type"] == "clerk"
    return is_of_clerk or row["imported_from"] == batch.source or _has_same_verified_address(user, row)


def _is_same_alias(batch: Batch, user: User, alias: Mapping[str, Any]) -> bool:
    return _is_of_clerk(user) or bool(alias["source"] == batch.source)


def _is_of_clerk(user: User) -> bool:
    return user.id.startswith("user_") and user.login_type == "clerk"


def _has_same_verified_address(user: User, row: Mapping[str, Any]) -> bool:
    """Whether both sides verified it, since anybody can register the address of another (C-11)."""
    if not (user.email and user.email_verified and row["email_verified"]):
        return False
    try:
        return bool(email_key(parse_email(user.email.strip())) == row["email_key"])
    except ValueError:
        return False


def _is_newer(written: datetime, stored: datetime, known_until: datetime | None) -> bool:
    """Whether the record is newer than the stored user, and nobody changed the user here since the last import."""
    return written > stored and known_until is not None and stored <= known_until


def _keep_what_is_better(values: UserValues, row: Mapping[str, Any]) -> None:
    """Keep a password that was set or upgraded here, and a verification of the same address."""
    stored, given = row["password_hash"] or "", values.password_hash or ""
    was_upgraded = stored.startswith("$argon2") and not given.startswith("$argon2")
    if was_upgraded or row["password_version"] > 1:
        values.password_hash = row["password_hash"]
    if values.email_key == row["email_key"]:
        values.email_verified = values.email_verified or row["email_verified"]


async def _insert(batch: Batch, created: list[tuple[Numbered, UserValues]]) -> None:
    if not created:
        return
    stored = {row["id"] for row in await batch.fetch(_INSERT, *_columns([values for _, values in created]))}
    for record, values in [each for each in created if each[1].id not in stored]:
        created.remove((record, values))
        batch.conflict(
            record,
            KIND,
            "registered_meanwhile",
            seen=f"{values.email} of the user {values.id}",
            exists="a user registered with this address during the import",
            action="import again",
        )
    await _grant(batch, [values for _, values in created])
    await _add_apps(batch, [values for _, values in created])
    batch.report.count(KIND, "created", len(created))


async def _update(batch: Batch, known: Mapping[str, Any], updated: list[tuple[Numbered, UserValues]]) -> None:
    if not updated:
        return
    values = [each for _, each in updated]
    await batch.connection.execute(_UPDATE, *_columns(values))
    gone = [(each.id, role) for each in values for role in set(known[each.id]["roles"]) - set(each.roles)]
    await batch.connection.execute(_WITHDRAW, [user_id for user_id, _ in gone], [role for _, role in gone])
    await _grant(batch, values, known)
    batch.report.count(KIND, "updated", len(updated))


async def _grant(batch: Batch, values: Sequence[UserValues], known: Mapping[str, Any] | None = None) -> None:
    pairs = [(each.id, role) for each in values for role in each.roles]
    await batch.connection.execute(_ROLES, sorted({role for _, role in pairs}))
    await batch.connection.execute(_GRANT, [user_id for user_id, _ in pairs], [role for _, role in pairs])
    for each in values:
        if ADMIN in each.roles and ADMIN not in ((known or {}).get(each.id) or {"roles": ()})["roles"]:
            batch.report.add_administrator(each.email or each.id)


async def _add_apps(batch: Batch, values: Sequence[UserValues]) -> None:
    """Store the authenticator apps of new users; those who were here before have the factors that they set up here."""
    having = [(each.id, each.totp) for each in values if each.totp is not None]
    if not having or batch.seal is None:
        return
    rows = [(name, batch.seal(app.secret), app.algorithm, app.digits, app.period) for name, app in having]
    await batch.connection.execute(_TOTP, *map(list, zip(*rows, strict=True)), batch.now)
    batch.report.note("authenticator apps imported", len(rows))


def _columns(values: Sequence[UserValues]) -> list[list[Any]]:
    return [[getattr(each, name) for each in values] for name in COLUMNS]
