"""A validated authorization request (RFC 6749 section 4.1.1, OpenID Connect Core section 3.1.2.1)."""

from typing import Literal

from msgspec import Struct

ResponseMode = Literal["query", "form_post"]
Prompt = Literal["none", "login", "consent", "select_account"]
PROMPTS: tuple[Prompt, ...] = ("none", "login", "consent", "select_account")
RESPONSE_MODES: tuple[ResponseMode, ...] = ("query", "form_post")


class ReturnAddress(Struct, frozen=True):
    """Where the response goes: proven to belong to the client before anything is sent there (SEC-34).

    Attributes:
        redirect_uri: of the client.
        state: returned untouched (SEC-40).
        mode: how the parameters are sent.
    """

    redirect_uri: str
    state: str | None = None
    mode: ResponseMode = "query"


class AuthorizationRequest(Struct, frozen=True):
    """The parameters, as saved.

    Attributes:
        client_id: the client.
        address: where the response goes.
        sent_redirect_uri: the parameter as sent; "" without one. The token request must repeat it.
        scopes: requested scopes that the client may have, in order.
        nonce: copied into the ID token.
        code_challenge: of PKCE, S256; None if the client sent none and needs none.
        prompt: what to ask of the user.
        max_age: maximum age of the sign-in, in seconds.
        subject: the user that `id_token_hint` or `claims` names; nobody else may answer.
        acr_values: of which the sign-in must have one, if not empty (`claims`, essential).
        preferred_acr: the first of our classes that the parameter `acr_values` wishes for (section 3.1.2.1).
        claims: claims requested one by one (section 5.5).
        resources: what the access token is for (RFC 8707).
        login_hint: an address to fill in.
        ui_locales: preferred languages, the first one best.
        idp_hint: a provider to sign in with, by its name.
        domain_hint: an e-mail domain whose provider to sign in with.
    """

    client_id: str
    address: ReturnAddress
    sent_redirect_uri: str
    scopes: tuple[str, ...]
    nonce: str | None = None
    code_challenge: str | None = None
    prompt: tuple[Prompt, ...] = ()
    max_age: int | None = None
    subject: str | None = None
    acr_values: tuple[str, ...] = ()
    preferred_acr: str | None = None
    claims: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    login_hint: str | None = None
    ui_locales: str | None = None
    idp_hint: str | None = None
    domain_hint: str | None = None
