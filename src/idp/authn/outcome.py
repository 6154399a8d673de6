"""Outcomes of an authenticator, and the subjects they name. Never None, never a bool (rule 1)."""

from uuid import UUID

from msgspec import Struct

from idp.errors import IdpError
from idp.principal.model import Credential
from idp.settings import Secret


class ByUserId(Struct, frozen=True):
    """The user with this id."""

    user_id: str


class BySession(Struct, frozen=True):
    """The user with this id, while this session of theirs is active."""

    session_id: UUID
    user_id: str


class ByCookie(Struct, frozen=True):
    """The user of the session whose cookie has one of these digests."""

    digests: tuple[str, ...]

    def __repr__(self) -> str:
        return "ByCookie(hidden)"


class ByIdentity(Struct, frozen=True):
    """The user with this subject at another issuer (SEC-15); identified by the pair, never by e-mail."""

    provider: str
    subject: str


class ByEmail(Struct, frozen=True):
    """The user with this address, for credentials of old services without a user id."""

    email: str


class ByKey(Struct, frozen=True):
    """The API key or service token with one of these digests; the first uses the current pepper.

    `secret` is for imported keys without such a digest.
    """

    digests: tuple[str, ...]
    secret: Secret

    def __repr__(self) -> str:
        return "ByKey(hidden)"


class ByClient(Struct, frozen=True):
    """The OAuth client with this id, unless it revoked this access token of its own (RFC 7009)."""

    client_id: str
    token_id: str


class Service(Struct, frozen=True):
    """A service, not a user."""


Person = ByUserId | ByIdentity | ByEmail
Subject = Person | BySession | ByCookie | ByKey | ByClient | Service


class NotMine(Struct, frozen=True):
    """Another kind of credential, or none: the next authenticator decides."""


class Authenticated(Struct, frozen=True):
    """The credential is valid by itself and names this subject.

    Attributes:
        subject: the subject of the credential.
        credential: its properties; None if they come from the database (`ByKey`, `ByCookie`).
        cacheable: whether the verdict depends only on the credential and on rows with notifications (decision 0011).
    """

    subject: Subject
    credential: Credential | None = None
    cacheable: bool = False


class Rejected(Struct, frozen=True):
    """Owned and invalid: no other authenticator runs, and the caller does not become anonymous."""

    error: IdpError
    cacheable: bool = False


class Unavailable(Struct, frozen=True):
    """Owned, and cannot be checked now: 503, never "invalid"."""

    error: IdpError


Outcome = NotMine | Authenticated | Rejected | Unavailable
NOT_MINE = NotMine()
