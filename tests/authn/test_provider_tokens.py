"""Tokens of real providers (S3-37): one row for each kind of token."""

from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from authn.issuer_support import Issuer, running_issuer
from idp.authn.authenticators.upstream_oidc import UpstreamOidc
from idp.authn.credential import from_token
from idp.authn.outcome import Authenticated, ByIdentity, Rejected
from idp.directory.claim_rules import Evaluation
from idp.settings_schema import OidcIssuer
from idp.signing.fetch import Fetcher
from idp.signing.foreign_jwt import ForeignIssuer
from idp.signing.remote_jwks import RemoteJwks
from idp.users.identities import ForeignIdentity

CLIENT = "7f3c0a9e-client"


class Row(NamedTuple):
    """A token, the settings it needs beside issuer and audience, and what must be read from it.

    Attributes:
        subject: None where the token is refused.
    """

    claims: dict[str, Any]
    subject: str | None
    email: str | None = None
    verified: bool = False
    settings: Mapping[str, Any] = MappingProxyType({})
    header: Mapping[str, Any] = MappingProxyType({})


_AT = {"typ": "at+jwt"}
_FROM_CLIENT = {"audience_from_client": True}
ROWS: dict[str, Row] = {
    "Cognito ID": Row(
        {"aud": CLIENT, "token_use": "id", "sub": "c-1", "email": "a@corp.example", "email_verified": True,
         "cognito:groups": ["admin"], "identities": [{"dateCreated": "1"}], "custom:tenant": "x"},
        "c-1", "a@corp.example", True,
    ),
    "Cognito ID of a federated user, with text booleans": Row(
        {"aud": CLIENT, "token_use": "id", "sub": "c-2", "email": "a@corp.example", "email_verified": "true"},
        "c-2", "a@corp.example", True,
    ),
    "Cognito access, without aud": Row(
        {"aud": None, "client_id": CLIENT, "token_use": "access", "sub": "c-3", "username": "ada",
         "scope": "openid profile", "origin_jti": "o", "event_id": "e", "version": 2},
        "c-3",
    ),
    "Cognito access of another client": Row(
        {"aud": None, "client_id": "another", "token_use": "access", "sub": "c-4"}, None
    ),
    "Auth0 access, default profile": Row(
        {"aud": [CLIENT, "https://a.example/userinfo"], "azp": "spa", "sub": "auth0|5", "scope": "openid email",
         "https://corp.example/roles": ["admin"], "permissions": ["read:all"], "org_id": "org_1"},
        "auth0|5",
    ),
    "Auth0 access, RFC 9068 profile": Row(
        {"aud": CLIENT, "client_id": "spa", "jti": "j", "sub": "google-oauth2|6"}, "google-oauth2|6", header=_AT
    ),
    "Auth0 access with an address in claims of its own": Row(
        {"aud": CLIENT, "sub": "auth0|8", "https://corp.example/email": "a@corp.example",
         "https://corp.example/email_verified": True},
        "auth0|8", "a@corp.example", True,
        settings={"email_claim": "https://corp.example/email",
                  "email_verified_claim": "https://corp.example/email_verified"},
    ),
    "Auth0 ID": Row(
        {"aud": CLIENT, "sub": "auth0|7", "email": "a@corp.example", "email_verified": True, "nonce": "n"},
        "auth0|7", "a@corp.example", True,
    ),
    "Keycloak access with audience mapper": Row(
        {"aud": [CLIENT, "account"], "azp": "spa", "typ": "Bearer", "sub": "k-1", "email": "a@corp.example",
         "email_verified": False, "realm_access": {"roles": ["admin"]}, "groups": ["/admins"], "scope": "profile"},
        "k-1", "a@corp.example",
    ),
    "Keycloak access without audience mapper": Row(
        {"aud": None, "azp": CLIENT, "typ": "Bearer", "sub": "k-2"}, "k-2", settings=_FROM_CLIENT
    ),
    "Keycloak access without audience mapper, not configured for it": Row(
        {"aud": None, "azp": CLIENT, "typ": "Bearer", "sub": "k-3"}, None
    ),
    "Keycloak lightweight, without sub": Row({"aud": CLIENT, "azp": "spa", "typ": "Bearer", "sub": None}, None),
    "Keycloak refresh": Row({"aud": CLIENT, "typ": "Refresh", "sub": "k-4"}, None),
    "Entra v2": Row(
        {"aud": CLIENT, "ver": "2.0", "tid": "t", "oid": "oid-1", "sub": "pairwise", "scp": "Tasks.Read Tasks.Write",
         "preferred_username": "ada@corp.example", "email": "a@corp.example", "uti": "u",
         "_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "https://graph.example"}}},
        "oid-1", "a@corp.example", settings={"subject_claim": "oid"},
    ),
    "Entra v1": Row(
        {"aud": f"api://{CLIENT}", "ver": "1.0", "appid": "spa", "oid": "oid-2", "sub": "p", "upn": "ada@corp.example",
         "unique_name": "ada@corp.example", "scp": "user_impersonation", "hasgroups": "true"},
        "oid-2",
        settings={"subject_claim": "oid", "audience": (CLIENT, f"api://{CLIENT}")},
    ),
    "Entra v2 with a verified address": Row(
        {"aud": CLIENT, "tid": "t", "oid": "oid-3", "sub": "p", "email": "a@corp.example", "xms_edov": True},
        "oid-3", "a@corp.example", True,
        settings={"subject_claim": "oid", "email_verified_claim": "xms_edov"},
    ),
    "Entra without oid": Row({"aud": CLIENT, "sub": "pairwise"}, None, settings={"subject_claim": "oid"}),
    "Okta access": Row(
        {"aud": CLIENT, "cid": "spa", "uid": "00u1", "sub": "ada@corp.example", "scp": ["openid", "email"]},
        "00u1", settings={"subject_claim": "uid"},
    ),
    "Okta ID": Row(
        {"aud": CLIENT, "sub": "00u2", "email": "a@corp.example", "email_verified": True, "groups": ["Everyone"]},
        "00u2", "a@corp.example", True,
    ),
    "Google ID": Row(
        {"aud": CLIENT, "azp": CLIENT, "sub": "1234567890", "hd": "corp.example", "email": "a@corp.example",
         "email_verified": True, "name": "Ada"},
        "1234567890", "a@corp.example", True,
    ),
    "Google ID for another client": Row({"aud": "another.apps.example", "sub": "1"}, None),
    "Apple ID, with text booleans": Row(
        {"aud": CLIENT, "sub": "001.apple", "email": "x@privaterelay.example", "email_verified": "true",
         "is_private_email": "true"},
        "001.apple", "x@privaterelay.example",
    ),
    "Apple ID without an address": Row({"aud": CLIENT, "sub": "002.apple", "email": ""}, "002.apple"),
    "Zitadel": Row(
        {"aud": [CLIENT, "123@project"], "sub": "321", "scope": "openid",
         "urn:zitadel:iam:org:project:roles": {"admin": {"1": "corp.example"}}},
        "321",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
async def issuer() -> AsyncIterator[Issuer]:
    async with running_issuer() as issuer:
        yield issuer


@pytest.mark.parametrize("row", ROWS.values(), ids=list(ROWS))
async def test_the_tokens_of_real_providers_are_read(issuer: Issuer, row: Row) -> None:
    """S3-37: roles, groups and scopes are in them, and grant nothing."""
    usual = {"issuer": issuer.url, "audience": (CLIENT,), "trusted_email_domains": ("corp.example",)}
    settings = OidcIssuer(**usual | dict(row.settings))
    seen: list[ForeignIdentity] = []

    async def ensure_user(identity: ForeignIdentity, evaluation: Evaluation, *, create: bool) -> None:
        assert evaluation.granted == frozenset()
        seen.append(identity)

    keys = RemoteJwks(settings.issuer, Fetcher(allow_loopback=True))
    authenticator = UpstreamOidc([ForeignIssuer(settings, keys)], ensure_user)
    outcome = await authenticator.authenticate(from_token(issuer.token(header=dict(row.header), **row.claims)))
    if row.subject is None:
        assert isinstance(outcome, Rejected)
        assert seen == []
        return
    assert isinstance(outcome, Authenticated)
    assert outcome.credential is not None
    (identity,) = seen
    assert (identity.provider, identity.subject) == (issuer.url, row.subject)
    assert (identity.email, identity.email_verified) == (row.email, row.verified)
    assert outcome.subject == ByIdentity(issuer.url, row.subject), "identity and user are read in one statement"
    assert outcome.credential.scopes == ()


@pytest.mark.parametrize(("kid", "alg"), [("rsa-1", "RS256"), ("rsa-1", "PS256"), ("ec-1", "ES256"), ("ed-1", "EdDSA")])
async def test_every_algorithm_that_can_be_configured_verifies(issuer: Issuer, kid: str, alg: str) -> None:
    """SEC-20: and only the one that is."""
    issuer.kids = ["rsa-1", "ec-1", "ed-1"]
    for configured in ("RS256", "PS256", "ES256", "EdDSA"):
        settings = OidcIssuer(issuer=issuer.url, audience=(CLIENT,), algorithms=(configured,))
        keys = RemoteJwks(issuer.url, Fetcher(allow_loopback=True), algorithms=settings.algorithms)

        async def ensure_user(_: ForeignIdentity, __: Evaluation, *, create: bool) -> None:
            pass

        authenticator = UpstreamOidc([ForeignIssuer(settings, keys)], ensure_user)
        outcome = await authenticator.authenticate(from_token(issuer.token(kid=kid, alg=alg, aud=CLIENT)))
        assert isinstance(outcome, Authenticated) is (configured == alg), (configured, outcome)
