"""What a login needs of a provider, whatever its protocol."""

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct

from idp.directory.claim_rules import Evaluation
from idp.users.identities import ForeignIdentity


class LoginRequest(Struct, frozen=True):
    """What is sent to a provider with the browser.

    Attributes:
        state, nonce, verifier: secrets of this login.
        redirect_uri: our callback.
        login_hint: an address to fill in there.
        fresh: whether the provider must ask the user again.
    """

    state: str
    nonce: str
    verifier: str
    redirect_uri: str
    login_hint: str | None = None
    fresh: bool = False


class UpstreamLogin(Struct, frozen=True):
    """A completed login at a provider.

    Attributes:
        identity: who it is there.
        evaluation: the result of the provider's claim rules.
        amr: how the user signed in there (RFC 8176), if it says.
        sid: the session there, for its logout tokens.
        id_token: as received, for the logout there; None without one.
    """

    identity: ForeignIdentity
    evaluation: Evaluation
    amr: tuple[str, ...] = ()
    sid: str | None = None
    id_token: str | None = None

    def __repr__(self) -> str:
        return f"UpstreamLogin({self.identity.provider} {self.identity.subject})"


class Upstream(Protocol):
    """A provider."""

    async def authorization_url(self, login: LoginRequest) -> str:
        """Return where the browser goes.

        Raises:
            DependencyUnavailable: the provider's metadata is not known and cannot be fetched.
        """
        ...

    async def complete(self, login: LoginRequest, answer: Mapping[str, str]) -> UpstreamLogin:
        """Exchange the code of the provider's answer, and return who signed in.

        Raises:
            UpstreamRefused: the provider says that the login failed, or its answer is not acceptable.
            DependencyUnavailable: the provider cannot be reached.
        """
        ...

    async def logout_url(self, id_token: str | None, *, return_to: str, state: str | None) -> str | None:
        """Return where the session there is ended, None if the provider does not offer it.

        Args:
            id_token: of the login, if it is known.
            return_to: our page afterwards.
            state: to send back to it.
        """
        ...
