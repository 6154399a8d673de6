"""Request and response bodies of explanations."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from idp.authn.rights import Right
from idp.checks import Check, Reading
from idp.principal.model import AuthMethod

_Name = Annotated[str, Meta(min_length=1, max_length=100)]
Asked = Literal["not_mine", "authenticated", "rejected", "unavailable", "not_asked"]
_Value = Annotated[str, Meta(max_length=100_000)]


class ExplainIn(Struct, frozen=True, forbid_unknown_fields=True):
    """What to explain. Without token and headers: the credential of this request."""

    token: (
        Annotated[str, Meta(max_length=100_000, description="A token or key.", examples=["eyJhbGciOiJFUzI1NiIs…"])]
        | None
    ) = None
    headers: (
        Annotated[
            dict[_Name, _Value],
            Meta(
                max_length=50,
                description="The headers of a request, for a cookie or several credentials.",
                examples=[{"Cookie": "idp_session=…"}],
            ),
        ]
        | None
    ) = None
    route: (
        Annotated[
            str,
            Meta(
                max_length=2000,
                description="A method and a path: explain whether this route would admit the caller.",
                examples=["POST /teams"],
            ),
        ]
        | None
    ) = None

    def __repr__(self) -> str:
        return "ExplainIn(credential hidden)"


class ExplainedVerdict(Struct, frozen=True):
    """Whether it was accepted; if not, the status, code and texts of the answer."""

    accepted: bool
    status: int | None = None
    code: str | None = None
    detail: str | None = None
    remedy: str | None = None


class VerdictOrigin(Struct, frozen=True):
    """Where the verdict came from, and how old it is.

    Attributes:
        source: of the verdict.
        age_seconds: since it was decided.
        readings: everything that was read, with source and age.
        decided_again: the outcome of the second decision from the database, which has the checks below; null if the
            first one used no cache.
        agrees: whether both agree.
    """

    source: Literal["memory", "valkey", "database"]
    age_seconds: float
    readings: list[Reading]
    decided_again: str | None
    agrees: bool


class AskedAuthenticator(Struct, frozen=True):
    """An authenticator, its outcome, and the checks that led to it."""

    name: str
    outcome: Asked
    code: str | None = None
    checks: list[Check] = field(default_factory=list)


class ExplainedCredential(Struct, frozen=True):
    """The accepted credential, without its secret."""

    method: AuthMethod
    id: str | None
    name: str | None
    client_id: Annotated[str | None, Meta(description="The app that the user granted it to.")]
    expires_at: datetime | None
    signed_in_at: datetime | None
    amr: tuple[str, ...]


class ExplainedUser(Struct, frozen=True):
    """The user of the credential."""

    id: str
    email: str | None
    name: str | None


class ExplainedRoute(Struct, frozen=True):
    """Whether a route would admit the caller, by its policy.

    Attributes:
        template: of its path.
        policy: as in `idp routes`.
        accepts: the kinds of credentials that it accepts.
        admitted: null if the handler decides by the body.
        status, code, detail, remedy: of the answer if it is not admitted.
    """

    method: str
    path: str
    template: str
    policy: str
    accepts: list[AuthMethod]
    admitted: bool | None
    checks: list[Check]
    status: int | None = None
    code: str | None = None
    detail: str | None = None
    remedy: str | None = None


class Explanation(Struct, frozen=True):
    """Why a credential was accepted or refused."""

    verdict: ExplainedVerdict
    owner: str | None
    authenticators: list[AskedAuthenticator]
    subject: list[Check]
    origin: VerdictOrigin
    credential: ExplainedCredential | None
    user: ExplainedUser | None
    rights: list[Right]
    route: ExplainedRoute | None
