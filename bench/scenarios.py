"""The scenarios and their targets."""

from msgspec import Struct


class Comparison(Struct, frozen=True):
    """A comparison with a peer.

    Attributes:
        peer: the peer's name.
        request: name of its request (bench.peers).
        times: target of the peer's cost relative to the service's, None for no target.
    """

    peer: str
    request: str
    times: float | None = None


class Scenario(Struct, frozen=True):
    """A kind of request.

    Attributes:
        name: for the command line.
        title: for the tables.
        of_ceiling: target of the rate relative to the ceiling, 1.0 for the same rate; None for no target.
        of_verification: target relative to the ceiling and one raw ES256 verification together; None for no target.
        comparisons: with peers.
    """

    name: str
    title: str
    of_ceiling: float | None = None
    of_verification: float | None = None
    comparisons: tuple[Comparison, ...] = ()


_S2, _OIDC, _BETTER = "S2", "oidc-provider", "better-auth"

SCENARIOS = (
    Scenario(
        "validate",
        "validate, one service token",
        0.60,
        comparisons=(Comparison(_S2, "validate", 4), Comparison(_BETTER, "validate", 13)),
    ),
    Scenario("validate-1000", "validate, 1,000 service tokens in turn", 0.60),
    Scenario("validate-jwt", "validate, one access token", 0.60),
    Scenario("validate-shared", "validate, from the shared cache", 0.50, comparisons=(Comparison(_S2, "validate", 3),)),
    Scenario("validate-database", "validate, never seen", 0.25, comparisons=(Comparison(_S2, "validate", 1.5),)),
    Scenario("introspect", "introspect, one service token", 0.50, comparisons=(Comparison(_OIDC, "introspect", 2.5),)),
    Scenario(
        "introspect-jwt", "introspect, one access token", 0.50, comparisons=(Comparison(_OIDC, "introspect", 2.5),)
    ),
    Scenario(
        "introspect-new",
        "introspect, access tokens never seen",
        of_verification=0.60,
        comparisons=(Comparison(_OIDC, "introspect"),),
    ),
    Scenario(
        "me", "me, with an access token", 0.50, comparisons=(Comparison(_OIDC, "me", 2), Comparison(_BETTER, "me", 12))
    ),
    Scenario("me-key", "me, with an API key", 0.50),
    Scenario(
        "client-credentials",
        "client_credentials, ES256",
        0.27,
        comparisons=(Comparison(_OIDC, "client_credentials_jwt", 2.8),),
    ),
    Scenario(
        "client-credentials-opaque",
        "client_credentials, opaque",
        comparisons=(Comparison(_OIDC, "client_credentials_opaque"),),
    ),
    Scenario(
        "code",
        "authorization code to tokens: access token ES256, ID token ES256",
        comparisons=(Comparison(_OIDC, "code", 1.5),),
    ),
    Scenario("discovery", "discovery", 0.60),
    Scenario("jwks", "JWKS", 0.60, comparisons=(Comparison(_OIDC, "jwks", 1.2),)),
    Scenario("health", "health"),
)
