"""The types of all published events."""

from enum import StrEnum


class EventType(StrEnum):
    """The CloudEvents `type` of an event. The meaning of a type never changes; a breaking change is `….v2`."""

    SESSION_REVOKED = "idp.session.revoked"
    USER_EMAIL_VERIFIED = "idp.user.email_verified"
    USER_PASSWORD_RESET = "idp.user.password_reset"  # noqa: S105 - the name of an event
