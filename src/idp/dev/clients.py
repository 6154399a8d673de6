"""Ready OAuth clients of `idp dev`: `spa`, `web` and `service`, and those of `--client NAME=URI`."""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from idp.apikeys.secret import derived
from idp.audit.record import SYSTEM
from idp.core import Core
from idp.deployment import root_secrets
from idp.principal.permissions import USER_SCOPES
from idp.provider.client_auth import SECRET_METHODS, SECRET_PREFIX
from idp.provider.client_shapes import ClientMetadata, ClientOut, GrantType
from idp.provider.declared_clients import lock_clients
from idp.provider.models import ClientRow
from idp.settings import Secret
from idp.signing.sealing import derive

_USER_GRANTS: tuple[GrantType, ...] = ("authorization_code", "refresh_token")
_SCOPE = " ".join(USER_SCOPES)


class DevClient(Struct, frozen=True):
    """A client as in `dev.json`; `client_secret` is null for a public one."""

    client_id: str
    client_secret: str | None
    redirect_uris: tuple[str, ...]
    grant_types: tuple[str, ...]


def _app(name: str, *uris: str) -> ClientMetadata:
    return ClientMetadata(client_name=name, scope=_SCOPE, grant_types=_USER_GRANTS, redirect_uris=uris)


_READY = {
    "spa": msgspec.structs.replace(
        _app("Single-page app", "http://localhost:5173/callback", "http://127.0.0.1:5173/callback"),
        post_logout_redirect_uris=("http://localhost:5173/", "http://127.0.0.1:5173/"),
        token_endpoint_auth_method="none",  # noqa: S106
        skip_consent=True,
    ),
    "web": msgspec.structs.replace(
        _app("Web app", "http://localhost:3000/callback", "http://127.0.0.1:3000/callback"),
        post_logout_redirect_uris=("http://localhost:3000/", "http://127.0.0.1:3000/"),
    ),
    "service": ClientMetadata(client_name="Service", scope="read write"),
}


async def prepare(core: Core, more: Mapping[str, Sequence[str]]) -> list[DevClient]:
    """Create the clients that are missing, add redirect URIs, and return all with their secrets.

    What was changed in an earlier run stays; a secret is the same in every run with the same data folder.

    Args:
        core: of this run.
        more: further redirect URIs by client id; an unknown one becomes a client with a secret.

    Raises:
        ValidationFailed: a redirect URI cannot be registered.
    """
    root = root_secrets(core.settings)[0]
    wanted = _READY | {name: _app(name, *uris) for name, uris in more.items() if name not in _READY}
    prepared = []
    async with core.database.transaction() as session:
        await lock_clients(session)
        for client_id, ready in wanted.items():
            row = await session.get(ClientRow, client_id)
            metadata = ready if row is None else _metadata_of(row)
            uris = tuple(dict.fromkeys((*metadata.redirect_uris, *more.get(client_id, ()))))
            metadata = msgspec.structs.replace(metadata, redirect_uris=uris)
            has_secret = metadata.token_endpoint_auth_method in SECRET_METHODS
            secret = Secret(derived(SECRET_PREFIX, derive(root, "dev-client", salt=client_id.encode())))
            await core.provider.clients.declare(
                session, SYSTEM, client_id, metadata, secret if has_secret else None, declared=False
            )
            grants = metadata.grant_types or ("client_credentials",)
            prepared.append(DevClient(client_id, secret.reveal() if has_secret else None, uris, grants))
    return prepared


def _metadata_of(row: ClientRow) -> ClientMetadata:
    return msgspec.convert(msgspec.to_builtins(ClientOut.of(row)), ClientMetadata)
