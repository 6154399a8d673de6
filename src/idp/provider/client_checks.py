"""Checks the metadata of a client, and returns the columns of its row (SEC-65)."""

from collections.abc import Callable, Iterable
from typing import Any

from idp.errors import ValidationFailed
from idp.ops.problems import invalid
from idp.principal.permissions import EMAIL, OFFLINE_ACCESS, OPENID, PROFILE, RESERVED_PREFIX
from idp.provider.client_shapes import ClientMetadata, response_types
from idp.provider.client_uris import link_problem, redirect_problem, resource_problem
from idp.signing.client_assertion import problem_of_keys

MAX_SCOPES = 100
CODE, REFRESH, CREDENTIALS = "authorization_code", "refresh_token", "client_credentials"
_LINKS = ("client_uri", "policy_uri", "tos_uri")
_FETCHED = ("jwks_uri", "backchannel_logout_uri")
FetchProblem = Callable[[str], str | None]


def columns_of(new: ClientMetadata, *, fetch_problem: FetchProblem) -> dict[str, Any]:
    """Return the columns of a client with this metadata.

    Args:
        new: the metadata.
        fetch_problem: tells why this service must not call a URL, None if it may (SEC-66).

    Raises:
        ValidationFailed: names the member, and says what is wrong.
    """
    grants = _grant_types(new)
    _check_method(new, grants)
    _check_uris(new, grants, fetch_problem)
    return {
        "name": new.client_name,
        "application_type": new.application_type,
        "auth_method": new.token_endpoint_auth_method,
        "grant_types": grants,
        "scopes": _scopes(new, grants),
        "redirect_uris": _unique(new.redirect_uris),
        "post_logout_redirect_uris": _unique(new.post_logout_redirect_uris),
        "resources": _unique(new.resources),
        "serves": _unique(new.serves),
        "id_token_alg": new.id_token_signed_response_alg,
        "require_pkce": new.require_pkce,
        "skip_consent": new.skip_consent,
        "jwks": new.jwks,
        "jwks_uri": new.jwks_uri,
        "client_uri": new.client_uri,
        "policy_uri": new.policy_uri,
        "tos_uri": new.tos_uri,
        "backchannel_logout_uri": new.backchannel_logout_uri,
    }


def _grant_types(new: ClientMetadata) -> list[str]:
    default = (CODE,) if new.redirect_uris else (CREDENTIALS,)
    grants = _unique(default if new.grant_types is None else new.grant_types)
    if not grants:
        raise _refused("grant_types", "A client has at least one grant type.")
    if REFRESH in grants and CODE not in grants:
        raise _refused("grant_types", "refresh_token needs authorization_code.")
    expected = response_types(grants)
    if new.response_types is not None and tuple(new.response_types) != expected:
        raise _refused("response_types", f"With these grant types it is {list(expected)} (RFC 7591 section 2.1).")
    return grants


def _check_method(new: ClientMetadata, grants: list[str]) -> None:
    method = new.token_endpoint_auth_method
    if method == "none" and CREDENTIALS in grants:
        raise _refused("grant_types", "A public client cannot have client_credentials.")
    if method == "none" and not new.require_pkce:
        raise _refused("require_pkce", "A public client needs PKCE.")
    if new.jwks is not None and new.jwks_uri is not None:
        raise _refused("jwks_uri", "Send jwks or jwks_uri, not both (RFC 7591 section 2).")
    if method == "private_key_jwt" and new.jwks is None and new.jwks_uri is None:
        raise _refused("jwks", "private_key_jwt needs jwks or jwks_uri.")
    if new.jwks is not None and (problem := problem_of_keys(new.jwks)):
        raise _refused("jwks", problem)


def _check_uris(new: ClientMetadata, grants: list[str], fetch_problem: FetchProblem) -> None:
    native = new.application_type == "native"
    if CODE in grants and not new.redirect_uris:
        raise _refused("redirect_uris", "authorization_code needs a redirect URI.")
    for name in ("redirect_uris", "post_logout_redirect_uris"):
        for number, uri in enumerate(getattr(new, name)):
            if problem := redirect_problem(uri, native=native):
                raise _refused(name, problem, number)
    for name in ("resources", "serves"):
        for number, uri in enumerate(getattr(new, name)):
            if problem := resource_problem(uri):
                raise _refused(name, problem, number)
    for name in _LINKS:
        if (uri := getattr(new, name)) and (problem := link_problem(uri)):
            raise _refused(name, problem)
    for name in _FETCHED:
        uri = getattr(new, name)
        if uri and (
            problem := link_problem(uri) or (fetch_problem(uri) and "This service does not call it: use https.")
        ):
            raise _refused(name, problem)
        if uri and "#" in uri:
            raise _refused(name, "It has a fragment.")


def _scopes(new: ClientMetadata, grants: list[str]) -> list[str]:
    if new.scope is None:
        return [OPENID, PROFILE, EMAIL, *([OFFLINE_ACCESS] if REFRESH in grants else [])] if CODE in grants else []
    scopes = _unique(new.scope.split())
    if len(scopes) > MAX_SCOPES:
        raise _refused("scope", f"A client has at most {MAX_SCOPES} scopes.")
    if reserved := [scope for scope in scopes if scope.startswith(RESERVED_PREFIX)]:
        raise _refused("scope", f"Only service tokens can have {', '.join(reserved)}.")
    return scopes


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _refused(member: str, problem: str, number: int | None = None) -> ValidationFailed:
    return invalid(["body", member, *([] if number is None else [number])], problem)
