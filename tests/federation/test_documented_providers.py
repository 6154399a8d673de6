"""docs/federation.md: the settings of each provider, as they stand on the page."""

import json
from typing import Any

import pytest

from federation.provider_support import APPLE_PEM, documented
from idp.federation.presets import PRESETS, as_issuer
from idp.federation.providers import Providers
from idp.federation.settings_check import problems_of
from idp.settings import load
from idp.settings_schema import Federation
from idp.signing.fetch import Fetcher

ISSUERS = {
    "google": "https://accounts.google.com",
    "microsoft": "https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0",
    "github": "https://github.com",
    "keycloak": "https://sso.corp.example/realms/corp",
    "auth0": "https://corp.eu.auth0.com/",
    "okta": "https://corp.okta.com",
    "cognito": "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEf123",
    "apple": "https://appleid.apple.com",
    "clerk": "https://clerk.corp.example",
    "corp": "https://login.corp.example",
    "bound": "https://login.corp.example",
}


def loaded(tables: dict[str, Any]) -> Federation:
    return load("production", environ={"IDP_FEDERATION__PROVIDERS": json.dumps(tables)}).settings.federation


def test_every_preset_is_documented() -> None:
    assert {each.get("preset", "oidc") for each in documented().values()} == set(PRESETS)
    assert list(documented()) == list(ISSUERS)


@pytest.mark.parametrize("name", ISSUERS)
def test_the_documented_lines_are_all_that_is_needed(name: str) -> None:
    table = documented()[name]
    if name == "apple":
        table = {**table, "private_key": APPLE_PEM}
    settings = loaded({name: table})
    assert problems_of(settings) == []
    (provider,) = Providers(settings, Fetcher(), keys_removed=lambda: None)
    issuer = as_issuer(provider.settings)
    assert (issuer.issuer, issuer.audience) == (ISSUERS[name], (table["client_id"],))
    assert len(table) <= 8
