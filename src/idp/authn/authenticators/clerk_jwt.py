"""Clerk's session tokens (S0-04, S0-15, S1-01), as Bearer token and as Clerk's cookie."""

from collections.abc import Awaitable, Callable

from idp.authn.credential import Presented
from idp.authn.outcome import NOT_MINE, Authenticated, ByIdentity, Outcome, Rejected, Unavailable
from idp.checks import holds
from idp.errors import DependencyUnavailable, IdpError
from idp.principal.model import AuthMethod, Credential
from idp.signing.clerk_token import ClerkTokens, check_opaque
from idp.signing.compact import Malformed, UnverifiedJwt, parse
from idp.users.identities import CLERK

_COOKIE = "__session"
_MAX_COOKIES = 8  # of other instances on the same host
EnsureUser = Callable[[str], Awaitable[None]]


class ClerkJwt:
    """Owns every JWT that names the Clerk instance, and Clerk's opaque tokens, which it refuses.

    Roles, permissions and plans in the token grant nothing: the user's record comes from webhooks.

    Args:
        tokens: verifies session tokens; None without a Clerk instance, then nothing is owned.
        ensure_user: creates the user of a Clerk id, if there is none; None to leave that to the webhook.
    """

    name = "clerk_jwt"

    def __init__(self, tokens: ClerkTokens | None, ensure_user: EnsureUser | None = None) -> None:
        self._tokens = tokens
        self._ensure_user = ensure_user

    async def authenticate(self, presented: Presented) -> Outcome:
        if self._tokens is None:
            holds(False, "Clerk instance", "not configured", "configured")
            return NOT_MINE
        try:
            jwt = self._find(self._tokens, presented)
            return NOT_MINE if jwt is None else await self._decide(self._tokens, jwt)
        except DependencyUnavailable as error:
            return Unavailable(error)
        except IdpError as error:
            if error.status >= 500:
                raise
            return Rejected(error)

    def _find(self, tokens: ClerkTokens, presented: Presented) -> UnverifiedJwt | None:
        """Return the token to decide about.

        Raises:
            ClerkTokenNotAccepted: it is an opaque token of Clerk.
        """
        if presented.token is None:
            found = next((jwt for jwt in _in_cookies(presented) if tokens.owns(jwt)), None)
            holds(found is not None, "cookie", presented.form, f"{_COOKIE}, of this Clerk instance")
            return found
        if presented.jwt is None:
            check_opaque(presented.token)
            holds(False, "format", presented.form, "JWT")
            return None
        return presented.jwt if tokens.owns(presented.jwt) else None

    async def _decide(self, tokens: ClerkTokens, jwt: UnverifiedJwt) -> Outcome:
        session = await tokens.verify(jwt)
        if self._ensure_user is not None:
            await self._ensure_user(session.user_id)
        credential = Credential(
            method=AuthMethod.CLERK_JWT,
            id=session.token_id,
            expires_at=session.expires_at,
            auth_time=session.auth_time,
            amr=("mfa",) if session.has_second_factor else (),
            identity=(CLERK, session.user_id),
            impersonator=session.impersonator,
        )
        return Authenticated(ByIdentity(CLERK, session.user_id), credential, cacheable=True)


def _in_cookies(presented: Presented) -> list[UnverifiedJwt]:
    """Return the JWTs in Clerk's cookies: `__session_<suffix>`, and `__session`, which any instance may have set."""
    suffixed = sorted(name for name in presented.cookies if name.startswith(f"{_COOKIE}_"))[:_MAX_COOKIES]
    found = []
    for name in (*suffixed, _COOKIE):
        try:
            found.append(parse(presented.cookies.get(name, "")))
        except Malformed:
            continue
    return found
