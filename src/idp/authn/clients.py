"""Resolve an OAuth client to a Principal: by its secret, by its id alone, or by one of its own access tokens."""

from collections.abc import Callable, Sequence
from hmac import compare_digest
from typing import Any

import msgspec

from idp import checks, clock
from idp.authn.outcome import ByClient
from idp.authn.resolved import CachedReads, Resolved
from idp.authn.verdicts import Verdicts
from idp.checks import holds
from idp.db.reads import Reads
from idp.db.snapshot import STAMP, Stamp
from idp.errors import InvalidClient, TokenRevoked
from idp.principal.model import AuthMethod, Credential, Principal, Registration

_BY_CLIENT = f"""
SELECT {STAMP}, c.name, c.scopes, c.secret_digest, c.former_secret_digest, c.former_secret_until, c.auth_method,
       c.grant_types, c.resources, c.serves, c.id_token_alg, c.jwks::text AS jwks, c.jwks_uri
  FROM idp.oauth_clients c WHERE c.client_id = $1
"""  # noqa: S608  constants
_BY_TOKEN = f"""
SELECT {STAMP}, c.name, c.scopes, EXISTS (SELECT FROM idp.revoked_tokens WHERE jti = $2) AS is_revoked
  FROM idp.oauth_clients c WHERE c.client_id = $1
"""  # noqa: S608  constants
Row = Any  # a record of asyncpg


class ClientResolver:
    """Resolves OAuth clients.

    Args:
        reads: the database.
        cached: keeps clients with their secrets like verdicts.
        verdicts: names them.
    """

    def __init__(self, reads: Reads, cached: CachedReads, verdicts: Verdicts) -> None:
        self._reads = reads
        self._cached = cached
        self._verdicts = verdicts

    def remembered(self, client_id: str, secret: str) -> Principal | None:
        """Return a client from memory if the secret is right, None if `with_secret` has to decide."""
        if checks.bypasses_caches():
            return None
        verdict = self._verdicts.get_cached(self._verdicts.name_of_client(client_id, secret))
        return None if verdict is None else verdict.principal

    async def with_secret(self, client_id: str, secret: str, digests_of: Callable[[str], Sequence[str]]) -> Resolved:
        """Return a client, or `InvalidClient` for an unknown id and for a wrong secret (SEC-48).

        Args:
            client_id: as presented.
            secret: as presented.
            digests_of: returns the possible digests of a secret.

        Raises:
            DatabaseUnavailable: PostgreSQL is unavailable.
        """
        name = self._verdicts.name_of_client(client_id, secret)
        return await self._cached.get(name, "client", lambda: self._read_with_secret(client_id, digests_of(secret)))

    async def by_id(self, client_id: str) -> Resolved:
        """Return a client that proved nothing yet, or `InvalidClient` for an unknown id. Raises as `with_secret`."""
        name = self._verdicts.name_of_client(client_id, None)
        return await self._cached.get(name, "client", lambda: self._read(client_id))

    async def of_token(self, subject: ByClient, credential: Credential) -> Resolved:
        """Return the client of an access token of its own, with the scopes that the client still has.

        Raises:
            DatabaseUnavailable: PostgreSQL is unavailable.
        """
        row = await self._reads.fetchrow(_BY_TOKEN, subject.client_id, subject.token_id)
        checks.has_read("client", "database")
        holds(row is not None, "client", "found" if row is not None else "not found", "found")
        if row is None:
            return Resolved(error=TokenRevoked())
        stamp = Stamp.parse(row["instance"], row["snapshot"])
        depends_on = (f"client:{subject.client_id}", f"credential:{subject.token_id}")
        is_revoked = row["is_revoked"]
        if not holds(not is_revoked, "token", "revoked by its client" if is_revoked else "not revoked", "not revoked"):
            return Resolved(None, TokenRevoked(), stamp, depends_on)
        scopes = tuple(scope for scope in credential.scopes if scope in row["scopes"])
        of_client = msgspec.structs.replace(credential, name=row["name"], scopes=scopes)
        return Resolved(Principal(user=None, credential=of_client), None, stamp, depends_on)

    async def _read_with_secret(self, client_id: str, digests: Sequence[str]) -> Resolved:
        row = await self._reads.fetchrow(_BY_CLIENT, client_id)
        stored = ("", "") if row is None else (row["secret_digest"] or "", row["former_secret_digest"] or "")
        is_current, is_former = (any(compare_digest(each, digest) for digest in digests) for each in stored)
        until = None if row is None else row["former_secret_until"]
        if row is None or not (is_current or (is_former and until is not None and until > clock.now())):
            return Resolved(error=InvalidClient())
        return _resolved(client_id, _credential(client_id, row, expires_at=None if is_current else until), row)

    async def _read(self, client_id: str) -> Resolved:
        row = await self._reads.fetchrow(_BY_CLIENT, client_id)
        if row is None:
            return Resolved(error=InvalidClient())
        return _resolved(client_id, _credential(client_id, row), row)


def _credential(client_id: str, row: Row, *, expires_at: Any = None) -> Credential:
    registration = Registration(
        auth_method=row["auth_method"],
        grant_types=tuple(row["grant_types"]),
        resources=tuple(row["resources"]),
        serves=tuple(row["serves"]),
        id_token_alg=row["id_token_alg"],
        jwks=row["jwks"],
        jwks_uri=row["jwks_uri"],
    )
    return Credential(
        method=AuthMethod.CLIENT,
        id=client_id,
        name=row["name"],
        scopes=tuple(row["scopes"]),
        expires_at=expires_at,
        registration=registration,
    )


def _resolved(client_id: str, credential: Credential, row: Row) -> Resolved:
    stamp = Stamp.parse(row["instance"], row["snapshot"])
    return Resolved(Principal(user=None, credential=credential), None, stamp, (f"client:{client_id}",))
