"""The four things an authenticator can say. Never None, never a bool (rule 1)."""

from msgspec import Struct

from idp.errors import IdpError
from idp.principal.model import Credential


class ByUserId(Struct, frozen=True):
    """The user with this id."""

    user_id: str


class ByIdentity(Struct, frozen=True):
    """The user whom another issuer calls this (SEC-15): the key is the pair, never the e-mail."""

    provider: str
    subject: str


class ByEmail(Struct, frozen=True):
    """The user with this address, for credentials of the old services that name nobody otherwise."""

    email: str


class Service(Struct, frozen=True):
    """Not a person: a service with a credential of its own."""


Subject = ByUserId | ByIdentity | ByEmail | Service


class NotMine(Struct, frozen=True):
    """The credential is of another kind, or there is none: ask the next authenticator."""


class Authenticated(Struct, frozen=True):
    """The credential is good and names this subject."""

    subject: Subject
    credential: Credential


class Rejected(Struct, frozen=True):
    """The credential is mine and bad. Nobody else is asked, and the caller does not become anonymous."""

    error: IdpError


class Unavailable(Struct, frozen=True):
    """The credential is mine and cannot be checked now: 503, never "invalid"."""

    error: IdpError


Outcome = NotMine | Authenticated | Rejected | Unavailable
NOT_MINE = NotMine()
