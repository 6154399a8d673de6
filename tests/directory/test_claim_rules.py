"""Which claims are read, and what the rules make of them."""

from typing import Any

import pytest

from idp.deployment import configured_issuers, rules_for_admin
from idp.directory.claim_rules import Grant, claim_values, evaluate
from idp.settings import SettingsError, load
from idp.settings_schema import ClaimRule

# What each provider sends: the path of the claim, the claims, and the values; None is unknown.
PROVIDERS: dict[str, tuple[str, dict[str, Any], set[str] | None]] = {
    "Cognito": ("cognito:groups", {"cognito:groups": ["eng", "ops"]}, {"eng", "ops"}),
    "Cognito user without groups": ("cognito:groups", {}, None),
    "Cognito custom attribute": ("custom:tenant", {"custom:tenant": "x"}, {"x"}),
    "Auth0 claim with dots and slashes": ("https://corp.example/roles", {"https://corp.example/roles": ["a"]}, {"a"}),
    "Keycloak realm roles": ("realm_access.roles", {"realm_access": {"roles": ["a"]}}, {"a"}),
    "Keycloak client with dots": (
        "resource_access.my.client.roles",
        {"resource_access": {"my": {"client": "no"}, "my.client": {"roles": ["a"]}}},
        {"a"},
    ),
    "Keycloak groups are paths": ("groups", {"groups": ["/corp/eng"]}, {"/corp/eng"}),
    "Entra groups": ("groups", {"groups": ["6f0c-guid"]}, {"6f0c-guid"}),
    "Entra without groups": ("groups", {}, None),
    "Entra overage": ("groups", {"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {}}}, None),
    "Entra overage beside an empty list": ("groups", {"groups": [], "_claim_names": {"groups": "src1"}}, None),
    "Entra implicit overage": ("groups", {"groups": [], "hasgroups": True}, None),
    "Entra v1 implicit overage": ("groups", {"groups": [], "hasgroups": "true"}, None),
    "Entra overage does not concern app roles": ("roles", {"roles": ["a"], "hasgroups": True}, {"a"}),
    "Okta": ("groups", {"groups": ["Everyone"]}, {"Everyone"}),
    "Okta without any": ("groups", {"groups": []}, set()),
    "Zitadel": (
        "urn:zitadel:iam:org:project:roles",
        {"urn:zitadel:iam:org:project:roles": {"reviewer": {"1": "corp.example"}}},
        {"reviewer"},
    ),
    "Google Workspace domain": ("hd", {"hd": "corp.example"}, {"corp.example"}),
    "Apple boolean": ("is_private_email", {"is_private_email": True}, {"true"}),
    "Apple boolean as text": ("is_private_email", {"is_private_email": "true"}, {"true"}),
    "null": ("groups", {"groups": None}, None),
    "a number": ("groups", {"groups": 7}, None),
    "a list with a number": ("groups", {"groups": ["a", 7]}, None),
    "a list of lists": ("groups", {"groups": [["a"]]}, None),
    "text where an object was expected": ("realm_access.roles", {"realm_access": "roles"}, None),
}


@pytest.mark.parametrize(("path", "claims", "values"), PROVIDERS.values(), ids=list(PROVIDERS))
def test_the_claims_of_real_providers_are_read(path: str, claims: dict[str, Any], values: set[str] | None) -> None:
    assert claim_values(claims, path) == values


def test_rules_give_what_the_values_say() -> None:
    rules = (
        ClaimRule(claim="groups", values=("eng", "ops"), teams=("Engineering:admin",), domains=("engineering",)),
        ClaimRule(claim="groups", values=("sales",), roles=("seller",)),
        ClaimRule(claim="departments", teams_by_external_ref=True),
        ClaimRule(claim="level", values=("7",), roles=("senior",)),
    )
    result = evaluate(rules, {"groups": ["ops", "other"], "departments": ["plat"]}, issued_at=None)
    assert result.granted == {
        Grant("team", "Engineering", "groups", is_admin=True),
        Grant("domain", "engineering", "groups"),
        Grant("team_ref", "plat", "departments"),
    }
    assert result.undecided == {Grant("role", "senior", "level")}, "the claim is absent, so nothing is known about it"
    assert not result.is_undecided


def test_the_digest_changes_with_rules_and_claims_and_nothing_else() -> None:
    rules = (ClaimRule(claim="groups", values=("eng",), roles=("engineer",)),)
    first = evaluate(rules, {"groups": ["eng", "ops"], "iat": 1}, issued_at=None).digest
    assert evaluate(rules, {"groups": ["ops", "eng"], "iat": 2, "name": "other"}, issued_at=None).digest == first
    assert evaluate(rules, {"groups": ["eng"]}, issued_at=None).digest != first
    others = (ClaimRule(claim="groups", values=("eng",), roles=("developer",)),)
    assert evaluate(others, {"groups": ["eng", "ops"]}, issued_at=None).digest != first
    assert evaluate(rules, {}, issued_at=None).is_undecided


def test_an_absent_claim_is_empty_only_where_the_rule_says_so() -> None:
    """Cognito and Keycloak leave the claim out for a user without groups; Entra leaves it out for one with many."""
    rule = ClaimRule(claim="groups", values=("eng",), teams=("Engineering",), absent_is_empty=True)
    assert evaluate((rule,), {}, issued_at=None) == evaluate((rule,), {"groups": None}, issued_at=None)
    assert not evaluate((rule,), {}, issued_at=None).is_undecided
    assert evaluate((rule,), {}, issued_at=None).undecided == frozenset()
    for unknown in ({"groups": 7}, {"hasgroups": True}, {"_claim_names": {"groups": "src1"}}):
        assert evaluate((rule,), unknown, issued_at=None).is_undecided


def test_ten_thousand_groups_are_read() -> None:
    rules = (ClaimRule(claim="groups", values=("g9999",), roles=("last",)),)
    groups = [f"g{number}" for number in range(10_000)]
    assert evaluate(rules, {"groups": groups}, issued_at=None).granted == {Grant("role", "last", "groups")}


# --- the settings ----------------------------------------------------------------------------------------------------


def provider(rule: str) -> dict[str, str]:
    return {
        "IDP_OIDC__PROVIDERS": '{"corp": {"issuer": "https://corp.example", "audience": ["a"], "rules": ['
        + rule
        + "]}}"
    }


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ('{"claim": "groups", "values": ["a"]}', "gives nothing"),
        ('{"claim": "groups", "teams": ["A"]}', "needs both values and what they give"),
        ('{"claim": "", "values": ["a"], "teams": ["A"]}', "an empty text"),
        ('{"claim": "groups", "values": [""], "teams": ["A"]}', "an empty text"),
        ('{"claim": "groups", "values": ["a"], "roles": ["admin"]}', "set allow_admin_role = true if that is meant"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(rule: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        configured_issuers(load("development", environ=provider(rule)).settings)


def test_an_unknown_member_of_a_rule_is_refused() -> None:
    with pytest.raises(SettingsError, match="admins"):
        load("development", environ=provider('{"claim": "groups", "values": ["a"], "admins": true}'))


def test_a_rule_for_administrators_is_said_out_loud() -> None:
    rule = '{"claim": "groups", "values": ["root"], "roles": ["admin"], "allow_admin_role": true}'
    settings = load("development", environ=provider(rule)).settings
    assert configured_issuers(settings)
    (sentence,) = rules_for_admin(settings)
    assert "decides who administers this service" in sentence
    assert rules_for_admin(load("development", environ={}).settings) == []
