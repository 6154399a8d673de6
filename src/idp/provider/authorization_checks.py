"""Checks of an authorization request, in order. Until the client and its redirect URI are proven, errors are a page;
then they are sent to the client (RFC 6749 section 4.1.2.1; SEC-34)."""

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from idp.errors import AuthorizationRequestInvalid, RedirectUriMismatch, UnknownClient
from idp.principal.model import SINGLE_FACTOR, TWO_FACTORS
from idp.principal.permissions import OPENID
from idp.provider import claims as user_claims
from idp.provider.authorization_request import (
    PROMPTS,
    RESPONSE_MODES,
    AuthorizationRequest,
    Prompt,
    ReturnAddress,
)
from idp.provider.authorization_response import AuthorizationError
from idp.provider.models import ClientRow
from idp.provider.redirect_uris import is_registered
from idp.signing import pkce

MAX_STATE = 16_384  # characters
_MAX_NONCE = 2_048
_MAX_HINT = 320  # of login_hint, ui_locales, idp_hint and domain_hint; longer ones are ignored
_MAX_RESOURCES = 20
_MAX_ACR_VALUES = 20
_MAX_WANTED = 200  # characters of a value that `claims` requests
_MAX_AGE = re.compile(r"[0-9]{1,9}\Z")
# Parameters of specifications that are not supported, with their errors (OpenID Connect Core section 3.1.2.6).
_UNSUPPORTED = {
    "request": "request_not_supported",
    "request_uri": "request_uri_not_supported",
    "registration": "registration_not_supported",
}
HintReader = Callable[[str], Awaitable[dict[str, Any] | None]]


class Parameters:
    """The parameters of a request as sent. `resource` may be repeated (RFC 8707), no other one.

    Args:
        pairs: names and values, in order. An empty value counts as absent (RFC 6749 section 3.1).
    """

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self._values = {name: value for name, value in pairs if value}
        self.resources = tuple(value for name, value in pairs if name == "resource" and value)
        counts = Counter(name for name, _ in pairs if name != "resource")
        self.repeated = sorted(name for name, count in counts.items() if count > 1)

    def get(self, name: str) -> str | None:
        """Return the value of a parameter, None if it is absent or empty."""
        return self._values.get(name)


def check_client(parameters: Parameters, client: ClientRow | None) -> ClientRow:
    """Return the client.

    Raises:
        UnknownClient: there is none with this id, or it does not use authorization codes.
    """
    if "client_id" in parameters.repeated:
        raise AuthorizationRequestInvalid("client_id is repeated.")
    if parameters.get("client_id") is None:
        raise AuthorizationRequestInvalid("client_id is missing.")
    if client is None:
        raise UnknownClient
    if "authorization_code" not in client.grant_types:
        raise UnknownClient("This client is not registered for grant_types authorization_code.")
    return client


def check_address(parameters: Parameters, client: ClientRow) -> ReturnAddress:
    """Return where the response goes.

    Raises:
        AuthorizationRequestInvalid: the redirect URI is missing or repeated, or `state` cannot be returned.
        RedirectUriMismatch: it is not one of the client's.
    """
    if set(parameters.repeated) & {"redirect_uri", "state"}:
        raise AuthorizationRequestInvalid("redirect_uri or state is repeated.")
    uri, state = parameters.get("redirect_uri"), parameters.get("state")
    if uri is None:
        is_openid = OPENID in (parameters.get("scope") or "").split()
        if is_openid or len(client.redirect_uris) != 1:
            raise AuthorizationRequestInvalid("redirect_uri is missing.")
        uri = client.redirect_uris[0]
    elif not is_registered(uri, client.redirect_uris, native=client.application_type == "native"):
        raise RedirectUriMismatch(received=uri[:500], registered=list(client.redirect_uris))
    if state is not None and (len(state) > MAX_STATE or "\x00" in state):
        raise AuthorizationRequestInvalid(f"state has a null character, or more than {MAX_STATE} characters.")
    mode = parameters.get("response_mode")
    return ReturnAddress(uri, state, mode if mode in RESPONSE_MODES else "query")


async def check_request(
    parameters: Parameters, client: ClientRow, address: ReturnAddress, *, read_hint: HintReader
) -> AuthorizationRequest:
    """Return the request.

    Args:
        parameters: as sent.
        client: the proven client.
        address: the proven redirect URI.
        read_hint: returns the claims of an ID token that we issued, None for any other text.

    Raises:
        AuthorizationError: what the client did wrong.
    """
    _check_form(parameters)
    _check_response_type(parameters)
    subject, acr_values, claims = _claims(parameters, client)
    return AuthorizationRequest(
        client_id=client.client_id,
        address=address,
        sent_redirect_uri=parameters.get("redirect_uri") or "",
        scopes=_scopes(parameters, client),
        nonce=_nonce(parameters),
        code_challenge=_code_challenge(parameters, client),
        prompt=_prompt(parameters),
        max_age=_max_age(parameters),
        subject=await _subject(parameters, subject, read_hint),
        acr_values=acr_values,
        preferred_acr=_preferred_acr(parameters),
        claims=claims,
        resources=_resources(parameters, client),
        login_hint=_hint(parameters, "login_hint"),
        ui_locales=_hint(parameters, "ui_locales"),
        idp_hint=_hint(parameters, "idp_hint"),
        domain_hint=_hint(parameters, "domain_hint"),
    )


def _check_form(parameters: Parameters) -> None:
    if parameters.repeated:
        names = ", ".join(name[:50] for name in parameters.repeated[:5] if name.isascii() and name.isprintable())
        raise AuthorizationError("invalid_request", f"A parameter is repeated: {names}.")
    for name, code in _UNSUPPORTED.items():
        if parameters.get(name) is not None:
            raise AuthorizationError(code, f"The parameter {name} is not supported.")


def _check_response_type(parameters: Parameters) -> None:
    response_type, mode = parameters.get("response_type"), parameters.get("response_mode")
    if response_type is None:
        raise AuthorizationError("invalid_request", "response_type is missing; send response_type=code.")
    if response_type != "code":  # no implicit grant (SEC-39)
        raise AuthorizationError("unsupported_response_type", "Only response_type=code is supported.")
    if mode is not None and mode not in RESPONSE_MODES:
        raise AuthorizationError("invalid_request", f"response_mode must be one of {', '.join(RESPONSE_MODES)}.")


def _scopes(parameters: Parameters, client: ClientRow) -> tuple[str, ...]:
    """Return the requested scopes that the client may have; others are ignored (OpenID Connect Core 3.1.2.1)."""
    requested = (parameters.get("scope") or "").split()
    scopes = tuple(dict.fromkeys(scope for scope in requested if scope in client.scopes))
    if not scopes:
        allowed = " ".join(client.scopes)
        raise AuthorizationError("invalid_scope", f"Request at least one scope of the client: {allowed[:500]}")
    return scopes


def _nonce(parameters: Parameters) -> str | None:
    nonce = parameters.get("nonce")
    if nonce is not None and (len(nonce) > _MAX_NONCE or "\x00" in nonce):
        raise AuthorizationError("invalid_request", f"nonce has more than {_MAX_NONCE} characters or a null character.")
    return nonce


def _code_challenge(parameters: Parameters, client: ClientRow) -> str | None:
    challenge, method = parameters.get("code_challenge"), parameters.get("code_challenge_method")
    if challenge is None:
        if method is not None:
            raise AuthorizationError("invalid_request", "code_challenge_method was sent without code_challenge.")
        if client.require_pkce or client.auth_method == "none":
            raise AuthorizationError("invalid_request", "code_challenge is missing: PKCE is required (RFC 7636).")
        return None
    if method != pkce.METHOD:  # absent means plain
        raise AuthorizationError("invalid_request", "code_challenge_method must be S256.")
    if not pkce.is_challenge(challenge):
        raise AuthorizationError("invalid_request", "code_challenge must be 43 characters of base64url.")
    return challenge


def _prompt(parameters: Parameters) -> tuple[Prompt, ...]:
    values = tuple(dict.fromkeys((parameters.get("prompt") or "").split()))
    if not set(values) <= set(PROMPTS):
        raise AuthorizationError("invalid_request", f"prompt may contain {', '.join(PROMPTS)}.")
    if "none" in values and len(values) > 1:
        raise AuthorizationError("invalid_request", "prompt=none cannot be combined with another value.")
    return cast("tuple[Prompt, ...]", values)


def _max_age(parameters: Parameters) -> int | None:
    value = parameters.get("max_age")
    if value is None:
        return None
    if not _MAX_AGE.match(value):
        raise AuthorizationError("invalid_request", "max_age must be a number of seconds.")
    return int(value)


def _preferred_acr(parameters: Parameters) -> str | None:
    """Return the first of our classes in `acr_values`, which is a wish: the ID token says what the sign-in had."""
    values = (parameters.get("acr_values") or "").split()
    return next((value for value in values if value in {SINGLE_FACTOR, TWO_FACTORS}), None)


def _resources(parameters: Parameters, client: ClientRow) -> tuple[str, ...]:
    resources = tuple(dict.fromkeys(parameters.resources))
    for resource in resources:
        if len(resources) > _MAX_RESOURCES or not is_resource(resource) or resource not in client.resources:
            raise AuthorizationError("invalid_target", "The client may not request a token for this resource.")
    return resources


def is_resource(text: str) -> bool:
    """Whether a resource indicator is an absolute URI without a fragment (RFC 8707 section 2)."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return bool(parts.scheme) and "#" not in text and text.isascii() and text.isprintable()


def _hint(parameters: Parameters, name: str) -> str | None:
    value = parameters.get(name)
    return value if value is not None and len(value) <= _MAX_HINT and value.isprintable() else None


async def _subject(parameters: Parameters, claimed: str | None, read_hint: HintReader) -> str | None:
    hint = parameters.get("id_token_hint")
    if hint is None:
        return claimed
    claims = await read_hint(hint)
    if claims is None:
        raise AuthorizationError("invalid_request", "id_token_hint is not an ID token of this provider.")
    subject = str(claims["sub"])
    if not _is_value(subject):
        raise AuthorizationError("invalid_request", "id_token_hint is not an ID token of this provider.")
    if claimed not in {None, subject}:
        raise AuthorizationError("invalid_request", "id_token_hint and claims name different users.")
    return subject


class _Wanted(Struct, frozen=True):
    """A claim of the `claims` parameter (section 5.5.1)."""

    essential: bool = False
    value: Any = None
    values: list[Any] | None = None


class _ClaimsParameter(Struct, frozen=True):
    userinfo: dict[str, _Wanted | None] | None = None
    id_token: dict[str, _Wanted | None] | None = None


_decode_claims = msgspec.json.Decoder(_ClaimsParameter).decode


def _claims(parameters: Parameters, client: ClientRow) -> tuple[str | None, tuple[str, ...], tuple[str, ...]]:
    """Return the subject, the essential `acr` values, and the names of user claims that `claims` requests.

    Claims that no scope of the client releases are ignored, as scopes are that it does not have (SEC-45).
    """
    text = parameters.get("claims")
    if text is None:
        return None, (), ()
    try:
        wanted = _decode_claims(text)
    except (msgspec.DecodeError, RecursionError):
        raise AuthorizationError("invalid_request", "claims is not the JSON of OpenID Connect Core 5.5.") from None
    both = {**(wanted.userinfo or {}), **(wanted.id_token or {})}
    subject, acr = both.get("sub"), (wanted.id_token or {}).get("acr")
    named = user_claims.claims_within((name for name in user_claims.SUPPORTED if name in both), client.scopes)
    values = () if acr is None or not acr.essential else tuple(each for each in acr.values or [acr.value] if each)
    wanted_subject = subject.value if subject and subject.value else None
    if len(values) > _MAX_ACR_VALUES or not all(map(_is_value, (wanted_subject or "sub", *values))):
        raise AuthorizationError("invalid_request", "claims requests a value of sub or acr that cannot be one.")
    return wanted_subject, values, named


def _is_value(value: Any) -> bool:
    """Whether a requested value is text that can be compared and saved."""
    return isinstance(value, str) and len(value) <= _MAX_WANTED and "\x00" not in value
