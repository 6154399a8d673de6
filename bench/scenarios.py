"""What is measured, and what performance is aimed at: each target beside its scenario."""

from msgspec import Struct


class Beside(Struct, frozen=True):
    """A peer that does the same work.

    Attributes:
        peer: its name.
        asked: which of its requests (bench.peers).
        times: the service is to need this many times less processor time than it; None is no target.
    """

    peer: str
    asked: str
    times: float | None = None


class Scenario(Struct, frozen=True):
    """One kind of request.

    Attributes:
        name: for the command line.
        title: for the tables.
        of_ceiling: the part of the ceiling's rate that the service is to reach, 1.0 being all of it; None is no target.
        beside: the peers.
    """

    name: str
    title: str
    of_ceiling: float | None = None
    beside: tuple[Beside, ...] = ()


_S2, _OIDC, _BETTER = "S2", "oidc-provider", "better-auth"

SCENARIOS = (
    Scenario(
        "validate", "validate, one service token", 0.60, (Beside(_S2, "validate", 4), Beside(_BETTER, "validate", 15))
    ),
    Scenario("validate-1000", "validate, 1,000 service tokens in turn", 0.60),
    Scenario("validate-jwt", "validate, one access token", 0.60),
    Scenario("validate-shared", "validate, from the shared cache", 0.50, (Beside(_S2, "validate", 3),)),
    Scenario("validate-database", "validate, never seen", 0.25, (Beside(_S2, "validate", 1.5),)),
    Scenario("introspect", "introspect, one service token", 0.50, (Beside(_OIDC, "introspect", 2.5),)),
    Scenario("introspect-jwt", "introspect, one access token", 0.50, (Beside(_OIDC, "introspect", 2.5),)),
    Scenario("introspect-new", "introspect, access tokens never seen", 0.22, (Beside(_OIDC, "introspect", 1),)),
    Scenario("me", "me, with an access token", 0.50, (Beside(_OIDC, "me", 2), Beside(_BETTER, "me", 12))),
    Scenario("me-key", "me, with an API key", 0.50),
    Scenario("client-credentials", "client_credentials, ES256", 0.27, (Beside(_OIDC, "client_credentials_jwt", 2.8),)),
    Scenario(
        "client-credentials-opaque", "client_credentials, opaque", None, (Beside(_OIDC, "client_credentials_opaque"),)
    ),
    Scenario("jwks", "JWKS", 0.60, (Beside(_OIDC, "jwks", 1.2),)),
    Scenario("health", "health", None),
)
