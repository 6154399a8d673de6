"""docs/foreign-issuers.md: the settings of each provider accept its tokens, as they stand on the page (S3-37)."""

import json
import re
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from authn.issuer_support import Issuer, running_issuer
from idp.authn.authenticators.upstream_oidc import UpstreamOidc
from idp.authn.credential import from_token
from idp.authn.outcome import Authenticated, ByIdentity
from idp.deployment import configured_issuers
from idp.directory.claim_rules import Evaluation, Grant
from idp.settings import load
from idp.settings_schema import OidcIssuer
from idp.signing.fetch import Fetcher
from idp.signing.foreign_jwt import ForeignIssuer
from idp.signing.remote_jwks import RemoteJwks
from idp.users.identities import ForeignIdentity

PAGE = Path(__file__).resolve().parents[2] / "docs/foreign-issuers.md"
BLOCKS = dict(
    re.findall(r"^### (.+)\n(?:(?!^### ).*\n)*?^```toml\n((?:.*\n)*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE)
)
# By section: a token of the provider without iss and aud, the user's subject, and whether the address is verified.
TOKENS: dict[str, tuple[dict[str, Any], str, bool]] = {
    "Amazon Cognito": (
        {"token_use": "access", "client_id": "5example1client2id", "sub": "u1", "cognito:groups": ["engineers"]},
        "u1",
        False,
    ),
    "Auth0": (
        {
            "aud": ["https://api.example.com", "https://example.eu.auth0.com/userinfo"],
            "sub": "auth0|5",
            "https://example.com/email": "a@corp.example",
            "https://example.com/email_verified": True,
            "https://example.com/roles": ["engineer"],
        },
        "auth0|5",
        False,
    ),
    "Keycloak": ({"azp": "spa", "typ": "Bearer", "sub": "k1", "realm_access": {"roles": ["engineer"]}}, "k1", False),
    "Microsoft Entra ID": (
        {
            "aud": "66666666-7777-8888-9999-000000000000",
            "oid": "o1",
            "sub": "pairwise",
            "tid": "11111111-2222-3333-4444-555555555555",
            "groups": ["aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"],
        },
        "o1",
        False,
    ),
    "Microsoft Entra ID, version 1.0": (
        {"aud": "api://corp-api", "ver": "1.0", "appid": "x", "oid": "o2", "sub": "p", "roles": ["Engineer"]},
        "o2",
        False,
    ),
    "Okta": (
        {"aud": "api://default", "cid": "spa", "uid": "00u1", "sub": "ada@corp.example", "groups": ["Engineering"]},
        "00u1",
        False,
    ),
    "Google": (
        {
            "aud": "1234567890-example.apps.googleusercontent.com",
            "sub": "123",
            "hd": "corp.example",
            "email": "a@corp.example",
            "email_verified": True,
        },
        "123",
        True,
    ),
    "Apple": (
        {"aud": "com.example.app", "sub": "001.a", "email_verified": "true", "is_private_email": "true"},
        "001.a",
        False,
    ),
    "Zitadel": (
        {
            "aud": ["234567890123456789"],
            "sub": "321",
            "urn:zitadel:iam:org:project:roles": {"engineer": {"1": "corp.example"}},
        },
        "321",
        False,
    ),
}


@pytest.fixture(scope="module")
async def issuer() -> AsyncIterator[Issuer]:
    async with running_issuer() as issuer:
        yield issuer


def test_every_section_has_a_block_and_a_token() -> None:
    sections = re.findall(r"^### (.+)$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert list(BLOCKS) == sections == list(TOKENS)


def documented(section: str) -> OidcIssuer:
    """Load the block as an operator's settings file."""
    tables = tomllib.loads(BLOCKS[section])["oidc"]["providers"]
    environ = {"IDP_OIDC__PROVIDERS": json.dumps(tables)}
    (found,) = configured_issuers(load("development", environ=environ).settings)
    return found


@pytest.mark.parametrize("section", TOKENS)
async def test_the_documented_settings_accept_a_token(issuer: Issuer, section: str) -> None:
    settings = documented(section)
    claims, subject, verified = TOKENS[section]
    seen: list[tuple[ForeignIdentity, Evaluation]] = []

    async def ensure_user(identity: ForeignIdentity, evaluation: Evaluation, *, create: bool) -> None:
        seen.append((identity, evaluation))

    # The keys are those of the test's issuer; everything else is as documented.
    keys = RemoteJwks(settings.issuer, Fetcher(allow_loopback=True), jwks_url=f"{issuer.url}/keys")
    authenticator = UpstreamOidc([ForeignIssuer(settings, keys)], ensure_user)
    token = issuer.token(**{"aud": None} | claims | {"iss": settings.issuer})
    outcome = await authenticator.authenticate(from_token(token))
    assert isinstance(outcome, Authenticated), outcome
    assert outcome.subject == ByIdentity(settings.issuer, subject)
    ((identity, evaluation),) = seen
    assert identity.email_verified is verified
    expected = {Grant("team", "Engineering", rule.claim) for rule in settings.rules}
    assert evaluation.granted == expected
