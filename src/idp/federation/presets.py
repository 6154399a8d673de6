"""Presets: what is known of a kind of provider, so that its settings are a few lines."""

from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from idp.settings_schema import OidcIssuer, UpstreamProvider

GOOGLE, APPLE, GITHUB = "https://accounts.google.com", "https://appleid.apple.com", "https://github.com"


class Preset(Struct, frozen=True):
    """A kind of provider.

    Attributes:
        label: on its button.
        issuer: fixed, or made of the settings in braces; None: the setting `issuer`.
        needs: settings that must be given.
        scopes: requested by default.
        algorithms: of its ID tokens.
        claims: settings of `OidcIssuer` that differ from the usual.
        parameters: additional ones of the authorization request.
    """

    label: str
    issuer: str | None = None
    needs: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    algorithms: tuple[str, ...] = ("RS256",)
    claims: dict[str, Any] = {}
    parameters: dict[str, str] = {}


PRESETS: dict[str, Preset] = {
    "oidc": Preset("Single sign-on", needs=("issuer",), algorithms=("RS256", "PS256", "ES256")),
    "google": Preset("Google", GOOGLE, claims={"aliases": ("accounts.google.com",)}),
    "entra": Preset(
        "Microsoft",
        "https://login.microsoftonline.com/{tenant}/v2.0",
        needs=("tenant",),
        # `oid` is the person in all apps of a tenant; `email` may be any text, so a trusted domain must be named.
        claims={"subject_claim": "oid", "email_verified_claim": "xms_edov"},
    ),
    "github": Preset("GitHub", GITHUB, scopes=("read:user", "user:email")),
    "keycloak": Preset("Keycloak", needs=("issuer",), algorithms=("RS256", "PS256", "ES256")),
    "auth0": Preset("Auth0", "https://{domain}/", needs=("domain",)),
    "okta": Preset("Okta", needs=("issuer",)),
    "cognito": Preset("Amazon Cognito", "https://cognito-idp.{region}.amazonaws.com/{pool}", needs=("region", "pool")),
    "apple": Preset(
        "Apple",
        APPLE,
        needs=("team_id", "key_id", "private_key"),
        scopes=("openid", "name", "email"),
        parameters={"response_mode": "form_post"},  # Apple requires it for these scopes
    ),
    "clerk": Preset("Clerk", needs=("issuer",)),
}


def issuer_of(provider: UpstreamProvider) -> str:
    """Return the issuer of a provider.

    Raises:
        ValueError: names the setting that is missing.
    """
    preset = PRESETS[provider.preset]
    needs = (*preset.needs, *(() if provider.preset == "apple" else ("client_secret",)))
    for name in needs:
        if not getattr(provider, name):
            raise ValueError(f"{name} is missing for the preset {provider.preset}")
    if provider.preset == "entra" and not _is_uuid(provider.tenant):
        raise ValueError("tenant must be the directory (tenant) ID, a UUID: tokens name it, and no domain or `common`")
    if provider.issuer is not None:
        return provider.issuer
    assert preset.issuer is not None
    given = {name: getattr(provider, name) for name in ("tenant", "domain", "region", "pool")}
    return preset.issuer.format(**given)


def _is_uuid(text: str | None) -> bool:
    try:
        return str(UUID(text or "")) == (text or "").lower()
    except ValueError:
        return False


def as_issuer(provider: UpstreamProvider) -> OidcIssuer:
    """Return the settings with which its ID tokens are verified and read.

    Raises:
        ValueError: a setting is missing.
    """
    preset = PRESETS[provider.preset]
    issuer = OidcIssuer(
        issuer=issuer_of(provider),
        audience=(provider.client_id,),
        jwks_url=provider.jwks_url,
        algorithms=provider.algorithms or preset.algorithms,  # type: ignore[arg-type]
        leeway_seconds=provider.leeway_seconds,
        trusted_email_domains=provider.trusted_email_domains,
        create_users=provider.create_users,
        rules=provider.rules,
    )
    return msgspec.structs.replace(issuer, **{**preset.claims, **provider.claims})
