"""The four things an authenticator can say. Never None, never a bool (rule 1)."""

from uuid import UUID

from msgspec import Struct

from idp.errors import IdpError
from idp.principal.model import Credential
from idp.settings import Secret


class ByUserId(Struct, frozen=True):
    """The user with this id."""

    user_id: str


class BySession(Struct, frozen=True):
    """The user with this id, as long as this session of theirs lives."""

    session_id: UUID
    user_id: str


class ByCookie(Struct, frozen=True):
    """Whoever's session is continued by a cookie with one of these digests."""

    digests: tuple[str, ...]

    def __repr__(self) -> str:
        return "ByCookie(hidden)"


class ByIdentity(Struct, frozen=True):
    """The user whom another issuer calls this (SEC-15): the key is the pair, never the e-mail."""

    provider: str
    subject: str


class ByEmail(Struct, frozen=True):
    """The user with this address, for credentials of the old services that name nobody otherwise."""

    email: str


class ByKey(Struct, frozen=True):
    """Whoever holds the key or service token with one of these digests; the first is under the current pepper.

    `secret` is for keys that were imported without such a digest.
    """

    digests: tuple[str, ...]
    secret: Secret

    def __repr__(self) -> str:
        return "ByKey(hidden)"


class Service(Struct, frozen=True):
    """Not a person: a service with a credential of its own."""


Person = ByUserId | ByIdentity | ByEmail
Subject = Person | BySession | ByCookie | ByKey | Service


class NotMine(Struct, frozen=True):
    """The credential is of another kind, or there is none: ask the next authenticator."""


class Authenticated(Struct, frozen=True):
    """The credential is good, as far as it speaks for itself, and names this subject.

    Attributes:
        subject: whom it names.
        credential: what it says of itself; None where the database says it (`ByKey`, `ByCookie`).
        cacheable: whether the verdict depends on the credential and on announced rows alone (docs/decisions/0011).
    """

    subject: Subject
    credential: Credential | None = None
    cacheable: bool = False


class Rejected(Struct, frozen=True):
    """The credential is mine and bad. Nobody else is asked, and the caller does not become anonymous."""

    error: IdpError
    cacheable: bool = False


class Unavailable(Struct, frozen=True):
    """The credential is mine and cannot be checked now: 503, never "invalid"."""

    error: IdpError


Outcome = NotMine | Authenticated | Rejected | Unavailable
NOT_MINE = NotMine()
