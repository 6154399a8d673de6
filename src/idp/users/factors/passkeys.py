"""The passkeys of a user: list, rename, remove. Every function works inside the caller's transaction."""

from datetime import datetime
from uuid import UUID

from msgspec import Struct
from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from webauthn.helpers.structs import AuthenticatorTransport, PublicKeyCredentialDescriptor

from idp.audit.record import Origin, record
from idp.errors import PasskeyCloned, PasskeyNotFound
from idp.signing import base64url
from idp.users.factors.models import PasskeyRow

MAX_PASSKEYS = 20  # of a user


class Passkey(Struct, frozen=True):
    """A passkey, as its user sees it.

    Attributes:
        backed_up: whether it is copied to other devices, such as by the account of a phone.
        credential_id: base64url, as browsers know it.
    """

    id: UUID
    name: str
    backed_up: bool
    created_at: datetime
    last_used_at: datetime | None
    credential_id: str

    @classmethod
    def of(cls, row: PasskeyRow) -> "Passkey":
        """Return what its user sees of a row."""
        return cls(
            row.id, row.name, row.backed_up, row.created_at, row.last_used_at, base64url.encode(row.credential_id)
        )


class KnownPasskeys(Struct, frozen=True):
    """What a browser is told about a user's passkeys (WebAuthn Level 3 section 5.1.10).

    Attributes:
        user_handle: base64url; None without a passkey.
    """

    passkeys: list[Passkey]
    user_handle: str | None


async def find(session: AsyncSession, user_id: str) -> KnownPasskeys:
    """Return a user's passkeys, oldest first."""
    rows = await rows_of(session, user_id)
    handle = base64url.encode(rows[0].user_handle) if rows else None
    return KnownPasskeys([Passkey.of(row) for row in rows], handle)


async def rename(session: AsyncSession, origin: Origin, user_id: str, passkey_id: UUID, name: str) -> Passkey:
    """Give a passkey another name.

    Raises:
        PasskeyNotFound: the user has no such passkey.
    """
    change = update(PasskeyRow).where(PasskeyRow.id == passkey_id, PasskeyRow.user_id == user_id)
    row = (await session.execute(change.values(name=name).returning(PasskeyRow))).scalar_one_or_none()
    if row is None:
        raise PasskeyNotFound
    record_passkey(session, origin, "passkey.renamed", row)
    return Passkey.of(row)


async def remove(session: AsyncSession, origin: Origin, user_id: str, passkey_id: UUID) -> Passkey:
    """Remove a passkey. Its authenticator keeps it until the browser is told.

    Raises:
        PasskeyNotFound: the user has no such passkey.
    """
    removal = delete(PasskeyRow).where(PasskeyRow.id == passkey_id, PasskeyRow.user_id == user_id)
    row = (await session.execute(removal.returning(PasskeyRow))).scalar_one_or_none()
    if row is None:
        raise PasskeyNotFound
    record_passkey(session, origin, "passkey.removed", row)
    return Passkey.of(row)


async def rows_of(session: AsyncSession, user_id: str) -> list[PasskeyRow]:
    """Return the rows of a user's passkeys, oldest first."""
    query = select(PasskeyRow).where(PasskeyRow.user_id == user_id)
    return [*await session.scalars(query.order_by(PasskeyRow.created_at, PasskeyRow.id))]


def descriptor(row: PasskeyRow) -> PublicKeyCredentialDescriptor:
    """Return how options for a browser name a passkey (section 5.8.3)."""
    known = {each.value for each in AuthenticatorTransport}
    transports = [AuthenticatorTransport(each) for each in row.transports if each in known]
    return PublicKeyCredentialDescriptor(id=row.credential_id, transports=transports or None)


def methods_of(row: PasskeyRow, *, user_verified: bool) -> tuple[str, ...]:
    """Return the authentication methods of a use, for `amr` (RFC 8176): a key in hardware, or one that is copied."""
    kind = "swk" if row.backup_eligible else "hwk"
    return (kind, "user") if user_verified else (kind,)


async def record_clone(session: AsyncSession, origin: Origin, error: PasskeyCloned) -> None:
    """Record that a passkey's counter did not grow."""
    row = await session.get(PasskeyRow, error.passkey_id)
    if row is not None:
        record_passkey(session, origin, "passkey.may_be_cloned", row)


def record_passkey(session: AsyncSession, origin: Origin, action: str, row: PasskeyRow) -> None:
    """Record a change of a passkey, or its misuse."""
    details = {"passkey_id": str(row.id), "name": row.name}
    record(session, origin, action=action, user_id=row.user_id, details=details)
