"""Options of `idp clients` that describe a client, and how its metadata (RFC 7591) is shown."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import rich_click as click

from idp.cli.service_options import options

if TYPE_CHECKING:
    from idp.cli.tables import Cell

_GRANTS = ("authorization_code", "refresh_token", "client_credentials")
# Set by the service; the rest of a client can be sent back.
_ANSWERED = ("client_id", "client_id_issued_at", "client_secret", "client_secret_expires_at", "declared")

_described = (
    click.option("--redirect-uri", "redirect_uris", multiple=True, metavar="URI", help="Where users return to."),
    click.option("--post-logout-redirect-uri", "post_logout_redirect_uris", multiple=True, metavar="URI",
                 help="Where users return to after signing out."),
    click.option("--grant", "grant_types", multiple=True, type=click.Choice(_GRANTS),
                 help="Default: with a redirect URI authorization_code and refresh_token, else client_credentials."),
    click.option("--public", is_flag=True, help="It keeps no secret: a single-page or native app."),
    click.option("--native", is_flag=True, help="A mobile or desktop app: loopback ports and schemes of its own."),
    click.option("--private-key-jwt", is_flag=True, help="It signs assertions with a key instead of a secret."),
    click.option("--jwks", type=click.File("rb"), metavar="FILE", help="Its public keys, a JWK set."),
    click.option("--jwks-uri", metavar="URL", help="Where its public keys are."),
    click.option("--id-token-alg", type=click.Choice(("RS256", "ES256")), help="Signs its ID tokens; default: RS256."),
    click.option("--backchannel-logout-uri", metavar="URL", help="Is told when a session ends."),
    click.option("--resource", "resources", multiple=True, metavar="URI", help="May request tokens for this resource."),
    click.option("--serves", multiple=True, metavar="URI", help="Is this resource: may introspect its tokens."),
    click.option("--skip-consent/--ask-consent", "skip_consent", default=None, help="Whether users are not asked."),
    click.option("--pkce/--no-pkce", "require_pkce", default=None, help="Whether PKCE is required; default: yes."),
)  # fmt: skip
described = options(*_described)


def metadata_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of the options that were given.

    Args:
        given: the values of `described`.

    Raises:
        click.UsageError: two options contradict each other, or a file is not JSON.
    """
    if given["public"] and given["private_key_jwt"]:
        raise click.UsageError("--public and --private-key-jwt exclude each other.")
    members = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in given.items()
        if name not in {"public", "native", "private_key_jwt", "jwks", "id_token_alg"} and value not in (None, ())
    }
    if given["public"] or given["private_key_jwt"]:
        members["token_endpoint_auth_method"] = "none" if given["public"] else "private_key_jwt"
    if given["native"]:
        members["application_type"] = "native"
    if given["id_token_alg"]:
        members["id_token_signed_response_alg"] = given["id_token_alg"]
    if given["jwks"]:
        members["jwks"] = _json_of(given["jwks"])
    return members


def new_metadata(name: str, scopes: tuple[str, ...], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of a new client; raises as `metadata_of`, and without a redirect URI of an app for users."""
    members = {"client_name": name, **metadata_of(given)}
    if (given["public"] or given["native"]) and not given["redirect_uris"]:
        raise click.UsageError("--public and --native need --redirect-uri: where users return to after signing in.")
    if scopes:
        members["scope"] = " ".join(scopes)
    if members.get("redirect_uris"):
        members.setdefault("grant_types", ["authorization_code", "refresh_token"])
    return members


def changed_metadata(present: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of a client with changes."""
    kept = {name: value for name, value in present.items() if name not in _ANSWERED}
    del kept["response_types"]  # follows from the grant types
    if "jwks" in changes or "jwks_uri" in changes:
        kept.pop("jwks", None)
        kept.pop("jwks_uri", None)
    return {**kept, **changes}


def facts_of(client: Mapping[str, Any], *, secret: str | None = None) -> "list[tuple[str, Cell]]":
    """Return what is shown of a client."""
    from datetime import UTC, datetime

    from idp.cli.relative_time import exactly
    from idp.cli.tables import Cell

    created = datetime.fromtimestamp(client["client_id_issued_at"], UTC).isoformat()
    return [
        ("Name", Cell(client["client_name"], "bold")),
        ("ID", Cell(client["client_id"], "cyan")),
        *([("Secret", Cell(secret, "green"))] if secret else []),
        ("Scopes", Cell(client["scope"] or "(none)")),
        ("Grants", Cell(" ".join(client["grant_types"]))),
        ("Type", Cell(_type_of(client))),
        *((label, Cell(text)) for label, text in _optional(client)),
        ("Created", exactly(created)),
    ]


def _type_of(client: Mapping[str, Any]) -> str:
    method = client["token_endpoint_auth_method"]
    return f"{client['application_type']}, {'public' if method == 'none' else method}"


def _optional(client: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = [
        ("Redirect URIs", " ".join(client["redirect_uris"])),
        ("After logout", " ".join(client["post_logout_redirect_uris"])),
        ("Resources", " ".join(client["resources"])),
        ("Serves", " ".join(client["serves"])),
        ("Keys", client.get("jwks_uri") or ("registered" if client.get("jwks") else "")),
        ("Logout URI", client.get("backchannel_logout_uri") or ""),
        ("Consent", "not asked" if client["skip_consent"] else ""),
        ("PKCE", "" if client["require_pkce"] else "not required"),
        ("Declared", "in config/clients.toml" if client["declared"] else ""),
    ]
    return [(label, text) for label, text in found if text]


def _json_of(file: Any) -> dict[str, Any]:
    import json

    try:
        found = json.load(file)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise click.UsageError(f"{file.name} is not a JSON object.")
    return found
