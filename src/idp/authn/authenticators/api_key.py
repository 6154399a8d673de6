"""API keys and service tokens: random secrets, found by their digest (C-03)."""

from idp.apikeys.secret import MAX_LENGTH, Peppers, is_intact
from idp.authn.credential import Presented
from idp.authn.outcome import NOT_MINE, Authenticated, ByKey, Outcome, Rejected
from idp.checks import holds
from idp.errors import TokenInvalid, TokenNotFound
from idp.settings import Secret
from idp.settings_schema import ApiKeys


class ApiKey:
    """Owns every explicit credential with one of our prefixes; the database decides about it."""

    name = "api_key"

    def __init__(self, settings: ApiKeys, peppers: Peppers) -> None:
        self._prefixes = (settings.user_key_prefix, settings.service_token_prefix)
        self._starts = tuple(f"{prefix}_" for prefix in self._prefixes)
        self._require_checksum = settings.require_checksum
        self._peppers = peppers

    async def authenticate(self, presented: Presented) -> Outcome:
        token = presented.token
        prefix = next((each for each in self._starts if token and token.startswith(each)), None)
        seen = prefix or ("no token" if token is None else "another prefix")
        if not holds(prefix is not None, "prefix", seen, self._starts) or token is None:
            return NOT_MINE
        if not holds(
            len(token) <= MAX_LENGTH and token.isascii(), "length", len(token), f"at most {MAX_LENGTH}, ASCII"
        ):
            return Rejected(TokenNotFound())
        if self._require_checksum:
            intact = any(is_intact(token, prefix) for prefix in self._prefixes)
            if not holds(intact, "checksum", "right" if intact else "wrong", "right"):
                return Rejected(TokenInvalid("The key is damaged: truncated or mistyped."))
        return Authenticated(ByKey(tuple(self._peppers.possible(token)), Secret(token)), cacheable=True)
