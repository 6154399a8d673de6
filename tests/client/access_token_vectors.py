"""Access tokens with the expected verdict of any verifier, as JSON: the one source for every language's client.

Made when the tests run: keys are new each time, and no token is stored. Tokens are judged at `now`.
"""

import time
from typing import Any, NamedTuple

from joserfc.jwk import ECKey

from client.client_support import ISSUER
from idp_client.testing import Issuer, bad_tokens
from idp_client.testing.bad_tokens import expected_code
from signing.forgery import Forge, es256
from signing.test_attacks import ACCEPTED, EXPIRED, FOREIGN, all_attacks

# Only the service looks users up, and it gives no leeway to `exp`.
ONLY_THE_SERVICE_CAN = {"sub and uid of nobody", "exp a second ago", "exp is now"}
LEEWAY = 5  # seconds


class _Person(NamedTuple):
    id: str = "user-1"
    email: str = "pat@example.com"


class _Key(NamedTuple):
    kid: str
    key: ECKey


class LocalForge(Forge):
    """Forges the tokens of `signing.test_attacks` with a key of its own, without a service."""

    def __init__(self) -> None:
        key = ECKey.generate_key("P-256", private=True)
        self.person = _Person()  # type: ignore[assignment]
        self.key = _Key(key.thumbprint(), key)  # type: ignore[assignment]
        self.sign = es256(key)

    @property
    def issuer(self) -> str:
        return ISSUER

    @property
    def jwks(self) -> dict[str, Any]:
        public = self.key.key.as_dict(private=False)
        return {"keys": [{**public, "kid": self.key.kid, "use": "sig", "alg": "ES256"}]}


def token_vectors() -> list[dict[str, Any]]:
    """Return groups of tokens; each has its issuer, its keys, and `now`.

    `code` is None for a token to be accepted, `subject` is its user or client. `foreign`: the verifier may say that the
    token is not of this issuer, so that it is verified online.
    """
    return [_attacks(), _of_issuer("ES256", None), _of_issuer("RS256", "https://api.example.com")]


def _attacks() -> dict[str, Any]:
    forge = LocalForge()
    good = [_vector(name, make(forge), subject=forge.person.id) for name, make in ACCEPTED.items()]
    bad = [
        _vector(
            f"{line} {attack.name}",
            attack.make(forge),
            code="token_expired" if attack.code == EXPIRED else "token_invalid",
            foreign=attack.code == FOREIGN,
        )
        for line, attack in all_attacks()
        if attack.name not in ONLY_THE_SERVICE_CAN
    ]
    return _group("the attacks on the service", ISSUER, ISSUER, forge.jwks, good + bad)


def _of_issuer(algorithm: Any, audience: str | None) -> dict[str, Any]:
    with Issuer(algorithm=algorithm, audience=audience) as issuer:
        user = issuer.user()
        good = {
            "a user's token": issuer.token(user),
            "several audiences": issuer.token(user, aud=["https://other.example.com", issuer.audience]),
            "no scope, no roles, no address": issuer.token(user, with_roles=False, scope=None, email=None),
            "more claims": issuer.token(user, department="research", list=[1, {"a": None}]),
            "valid since now": issuer.token(user, nbf=int(issuer.clock())),
        }
        vectors = [_vector(name, token, subject=user.id) for name, token in good.items()]
        vectors.append(_vector("a client's token", issuer.client_token("billing"), subject="billing"))
        for name, token in bad_tokens(issuer).items():
            vectors.append(_vector(name, token, code=expected_code(name), foreign=True))
        return _group(f"the issuer for tests, {algorithm}", issuer.url, issuer.audience, issuer.jwks, vectors)


def _vector(
    name: str, token: str, *, code: str | None = None, subject: str | None = None, foreign: bool = False
) -> dict[str, Any]:
    return {"name": name, "token": token, "code": code, "subject": subject, "foreign": foreign}


def _group(name: str, issuer: str, audience: str, jwks: dict[str, Any], tokens: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": name,
        "issuer": issuer,
        "audience": audience,
        "leeway": LEEWAY,
        "now": int(time.time()),
        "jwks": jwks,
        "tokens": tokens,
    }
