"""IdpError and the catalogue of error codes: one class for every error that a client can receive.

Each class is a catalogue entry: `code`, `status`, `title`, the default `detail`, and `remedy`, which says what to do;
the response and the page `/errors/{code}` show it. The format is RFC 9457; some texts are fixed because clients of the
old services read them (C-16).
"""

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, ClassVar
from uuid import UUID


class IdpError(Exception):
    """An error with a code from the catalogue.

    Args:
        detail: public text; the class's own text by default. Never holds a secret.
        headers: additional response headers, such as `Retry-After` in seconds.
        remedy: what to do in this case; the class's own text by default.
        extra: additional members of the problem document (RFC 9457 section 3.2).
    """

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    text: ClassVar[str] = "An unexpected error occurred. The log has the details under the request id."
    remedy: str = "Try again; if the error persists, send the request id to the operator."
    default_headers: ClassVar[Mapping[str, str]] = {}
    oauth: ClassVar[str | None] = None  # its code in OAuth responses, where the status does not tell (RFC 6749)

    def __init__(
        self,
        detail: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        remedy: str | None = None,
        **extra: Any,
    ) -> None:
        self.detail = detail or self.text
        self.remedy = remedy or type(self).remedy
        self.headers = {**self.default_headers, **(headers or {})}
        self.extra = extra
        super().__init__(self.detail)


_BEARER = {"WWW-Authenticate": "Bearer"}
_INVALID_TOKEN = {"WWW-Authenticate": 'Bearer error="invalid_token"'}


# --- authentication: 400 and 401 -------------------------------------------------------------------------------------


class AmbiguousCredentials(IdpError):
    code, status, title = "ambiguous_credentials", 400, "Ambiguous credentials"
    text = "The request has two different explicit credentials. Send one."
    remedy = "Send either Authorization or X-API-Key, once. If you send both, they must have the same value."


class DevEmailRequired(IdpError):
    code, status, title = "dev_email_required", 400, "X-User-Email missing"
    text = "X-User-Email required"
    remedy = "Add X-User-Email beside X-User-Name: a name alone identifies no user."


class DevHeadersMalformed(IdpError):
    code, status, title = "dev_headers_malformed", 401, "Malformed dev headers"
    text = "X-User-Email is not an e-mail address."
    remedy = "Send one X-User-Email, such as ada@example.com, to localhost."
    default_headers = _BEARER


class Unauthenticated(IdpError):
    code, status, title = "unauthenticated", 401, "Not authenticated"
    text = "Unauthorized"
    remedy = "Send a credential: Authorization: Bearer followed by the access token that POST /auth/login returned."
    default_headers = _BEARER


class CredentialUnrecognised(IdpError):
    code, status, title = "credential_unrecognised", 401, "Unrecognized credential"
    text = "Invalid token"
    remedy = (
        "No authenticator recognizes this credential. Check that the token is complete and that it "
        "comes from this service's issuer."
    )
    default_headers = _INVALID_TOKEN


class InvalidClient(IdpError):
    code, status, title = "invalid_client", 401, "Invalid client"
    text = "Unknown client, or wrong secret."
    remedy = "Check the client's id and secret; `idp clients rotate-secret` creates a new secret."
    oauth = "invalid_client"


class TokenInvalid(IdpError):
    code, status, title = "token_invalid", 401, "Invalid token"
    text = "Invalid token"
    remedy = "Sign in again. A service should check that issuer and audience match this deployment."
    default_headers = _INVALID_TOKEN


class TokenExpired(IdpError):
    code, status, title = "token_expired", 401, "Token expired"
    text = "Token expired"
    remedy = "Sign in again for a new access token."
    default_headers = _INVALID_TOKEN


class TokenRevoked(IdpError):
    code, status, title = "token_revoked", 401, "Token revoked"
    text = "Token has been revoked"
    remedy = "Sign in again, or ask the owner of the token for a new one."
    default_headers = _INVALID_TOKEN


class TokenNotFound(IdpError):
    code, status, title = "token_not_found", 401, "Token not found"
    text = "Invalid token"
    remedy = "The token is well formed but unknown. Check that it belongs to this deployment."
    default_headers = _INVALID_TOKEN


class DevelopmentToken(IdpError):
    code, status, title = "development_token", 401, "Development token"
    text = "This token was made by `idp dev`; production refuses it."
    remedy = "Sign in at the production service. Tokens with idp_env=development are valid only under `idp dev`."
    default_headers = _INVALID_TOKEN


class ClerkTokenNotAccepted(IdpError):
    code, status, title = "clerk_token_not_accepted", 401, "Not a Clerk session token"
    text = "This credential of Clerk is not a session token."
    remedy = "Send the session token that Clerk's getToken() returns without a template."
    default_headers = _INVALID_TOKEN


class ClerkSessionPending(IdpError):
    code, status, title = "clerk_session_pending", 401, "Clerk session pending"
    text = "The Clerk session is pending: a task of the sign-in is not complete, such as choosing an organization."
    remedy = "Complete the task in Clerk's sign-in component (session.currentTask names it), and send a new token."
    default_headers = _INVALID_TOKEN


class UserInactive(IdpError):
    code, status, title = "user_inactive", 401, "User inactive"
    text = "User account is inactive"
    remedy = "Ask an administrator to enable the account."
    default_headers = _INVALID_TOKEN


class InvalidCredentials(IdpError):
    code, status, title = "invalid_credentials", 401, "Invalid credentials"
    text = "Incorrect email or password"
    remedy = "Check the address and the password. An unknown address and a disabled account get the same response."
    default_headers = _BEARER


class RefreshTokenInvalid(IdpError):
    code, status, title = "refresh_token_invalid", 401, "Invalid refresh token"
    text = "Invalid refresh token"
    remedy = "Sign in again. The token is unknown or expired, or its session has ended."
    default_headers = _INVALID_TOKEN


class RefreshTokenReused(IdpError):
    code, status, title = "refresh_token_reused", 401, "Refresh token reused"
    text = "This refresh token was already used. Its session was ended because the token may be stolen."
    remedy = "Sign in again. A client must store only the newest refresh token, in one place."
    default_headers = _INVALID_TOKEN


class SecondFactorInvalid(IdpError):
    code, status, title = "second_factor_invalid", 401, "Invalid second factor"
    text = "The code is wrong, expired or used."
    remedy = "Enter the code that the authenticator app shows now, or an unused recovery code."
    default_headers = _BEARER


class SignInExpired(IdpError):
    code, status, title = "sign_in_expired", 401, "Sign-in expired"
    text = "This sign-in is finished, has expired, or had too many wrong codes."
    remedy = "Sign in again with the password."
    default_headers = _BEARER


class PasskeyUnknown(IdpError):
    code, status, title = "passkey_unknown", 401, "Passkey unknown"
    text = "This passkey is not registered here."
    remedy = "Use another passkey, or sign in another way; remove this one from your device."
    default_headers = _BEARER


class PasskeyCloned(IdpError):
    code, status, title = "passkey_cloned", 401, "Passkey used twice"
    text = "The passkey's counter did not grow: there may be a copy of it."
    remedy = "Sign in another way, remove this passkey from the account, and register it again."
    default_headers = _BEARER
    passkey_id: UUID | None = None  # for the audit record


class FreshLoginRequired(IdpError):
    code, status, title = "fresh_login_required", 401, "Recent sign-in required"
    text = "This action requires a recent sign-in."
    remedy = "Sign in again and repeat the request with the new token. Operators: accounts.fresh_login_seconds."
    default_headers: ClassVar[Mapping[str, str]] = {
        "WWW-Authenticate": 'Bearer error="insufficient_user_authentication"'
    }


# --- authorization: 403 -------------------------------------------------------------------------------------------


class Forbidden(IdpError):
    code, status, title = "forbidden", 403, "Forbidden"
    text = "You are not allowed to do this."
    remedy = "Ask an administrator for the role that the route's documentation names."


class AdminRequired(IdpError):
    code, status, title = "admin_required", 403, "Administrator required"
    text = "Admin access required"
    remedy = "Sign in as a user with the role admin."


class TeamAdminRequired(IdpError):
    code, status, title = "team_admin_required", 403, "Team administrator required"
    text = "Only an administrator or an administrator of this team may do this."
    remedy = "Ask an administrator to give you the membership role admin in this team."


class NotAUser(IdpError):
    code, status, title = "not_a_user", 403, "User required"
    text = "This credential belongs to a service, not to a user."
    remedy = "Use a user's access token; POST /auth/validate describes service credentials."


class CredentialNotAccepted(IdpError):
    code, status, title = "credential_not_accepted", 403, "Credential type not accepted"
    text = "This route does not accept this kind of credential."
    remedy = "`idp routes` lists what each route accepts."


class SharedSecretToken(IdpError):
    code, status, title = "shared_secret_token", 403, "Shared-secret token not accepted"
    text = "A token signed with a shared secret cannot do this: every holder of the secret can forge one."
    remedy = (
        "Use ADMIN_TOKEN for management, sign in with `?mode=cookie`, or unset AUTH_JWT_SECRET_KEY so that tokens are "
        "signed with ES256."
    )


class SupportSession(IdpError):
    code, status, title = "support_session", 403, "Not in a session of support"
    text = "An administrator who acts as a user for support reads; they change nothing, and administer nothing."
    remedy = "Stop acting as the user, and make the change as yourself."


class SecondFactorRequired(IdpError):
    code, status, title = "second_factor_required", 403, "Second factor required"
    text = "The password is right. This account also requires a second factor."
    remedy = "Send pending_token and a code to POST /api/auth/second-factor; `methods` says what the account has."


class SecondFactorEnrolmentRequired(IdpError):
    code, status, title = "second_factor_enrolment_required", 403, "Second factor must be set up"
    text = "This account must have a second factor, and has none."
    remedy = "Sign in with a browser at the page `page` to set one up. Operators: second_factor.required_roles."


class CannotActForUser(IdpError):
    code, status, title = "cannot_act_for_user", 403, "Cannot act as this user"
    text = "Administrators act for support only as active users who are not administrators."
    remedy = "Ask the user, or read their record under /api/auth/admin/users."


class CsrfRejected(IdpError):
    code, status, title = "csrf_rejected", 403, "CSRF check failed"
    text = "The CSRF check failed: the request may come from another site."
    remedy = (
        "With the session cookie, send the csrf_token of the sign-in response as header X-CSRF-Token; the cookie "
        "idp_csrf contains it too. Operators: add other origins to cors.origins."
    )


class OriginNotAllowed(IdpError):
    code, status, title = "origin_not_allowed", 403, "Origin not allowed"
    text = "The request comes from a page whose origin is not in AUTH_API_CORS_ORIGINS."
    remedy = (
        "Operators: add the page's origin, such as https://app.example.com, to AUTH_API_CORS_ORIGINS (cors.origins), "
        "or set IDP_PUBLIC_URL to the URL that browsers use. Programs send no Origin header and are not affected."
    )


class MetricsTokenRequired(IdpError):
    code, status, title = "metrics_token_required", 401, "Metrics token required"
    text = "Metrics require a token."
    remedy = (
        "Send Authorization: Bearer followed by the value of METRICS_TOKEN. Operators: set METRICS_TOKEN, or let "
        "Prometheus scrape the separate listener at IDP_METRICS_PORT."
    )
    default_headers = _BEARER


class ScopeNotGrantable(IdpError):
    code, status, title = "scope_not_grantable", 403, "Scope not grantable"
    text = "You may not grant these scopes."
    remedy = "Ask for fewer scopes. Operators: api_keys.grantable_scopes and api_keys.role_scopes."


class InsufficientScope(IdpError):
    code, status, title = "insufficient_scope", 403, "Insufficient scope"
    text = "The access token does not have the scope openid."
    remedy = "Request the scope openid at the authorization endpoint."
    default_headers: ClassVar[Mapping[str, str]] = {
        "WWW-Authenticate": 'Bearer error="insufficient_scope", scope="openid"'
    }


class IntrospectScopeRequired(IdpError):
    code, status, title = "introspect_scope_required", 403, "Scope idp:introspect required"
    text = "Only a service token with the scope idp:introspect may introspect."
    remedy = "Create one: auth-cli create my-service --scopes idp:introspect"


class EventsScopeRequired(IdpError):
    code, status, title = "events_scope_required", 403, "Scope idp:events required"
    text = "Only administrators and service tokens with the scope idp:events may read events."
    remedy = "Create a token: idp tokens create my-consumer idp:events"


class InternalTokenRequired(IdpError):
    code, status, title = "internal_token_required", 401, "Internal token required"
    text = "This route requires the internal token."
    remedy = "Send Authorization: Bearer followed by the value of INTERNAL_API_TOKEN."
    default_headers = _BEARER


# --- invalid requests: 400, 404 to 431
# ---------------------------------------------------------------------------------


class BadRequest(IdpError):
    code, status, title = "bad_request", 400, "Bad request"
    text = "The request cannot be read."
    remedy = "Compare the request with the documentation at /docs."


class EmailTaken(IdpError):
    code, status, title = "email_taken", 400, "E-mail already registered"
    text = "Email already registered"
    remedy = "Sign in with this address instead."


class OneTimeTokenInvalid(IdpError):
    code, status, title = "one_time_token_invalid", 400, "Invalid or expired link"
    text = "Invalid token"
    remedy = (
        "Request a new link and open the newest mail. A link works once, for a limited time, and not after a "
        "change of address or password. The response does not say which of these applies."
    )


class NameTaken(IdpError):
    code, status, title = "name_taken", 400, "Token name taken"
    text = "An active token with this name already exists."
    remedy = "Choose another name, or revoke that token."


class InvalidTokenId(IdpError):
    code, status, title = "invalid_token_id", 400, "Invalid token id"
    text = "Invalid token_id format (must be a UUID)"
    remedy = "Use the token_id from the response of POST /auth/tokens; GET /auth/tokens lists them."


class OAuthInvalidRequest(IdpError):
    code, status, title = "invalid_request", 400, "Invalid OAuth request"
    text = "The request is malformed."
    remedy = "Send a form (application/x-www-form-urlencoded) with each parameter once."


class UnsupportedGrantType(IdpError):
    code, status, title = "unsupported_grant_type", 400, "Unsupported grant type"
    text = "The token endpoint does not know this grant_type."
    remedy = "Send grant_type=authorization_code, refresh_token or client_credentials."
    oauth = "unsupported_grant_type"


class UnauthorizedClient(IdpError):
    code, status, title = "unauthorized_client", 400, "Unauthorized client"
    text = "The client is not registered for this grant type."
    remedy = "Add the grant type to the client's `grant_types`; `idp clients show` lists them."
    oauth = "unauthorized_client"


class InvalidScope(IdpError):
    code, status, title = "invalid_scope", 400, "Invalid scope"
    text = "The client does not have this scope."
    remedy = "Ask for scopes of the client only; `idp clients show` lists them."
    oauth = "invalid_scope"


class InvalidGrant(IdpError):
    code, status, title = "invalid_grant", 400, "Invalid grant"
    text = "The authorization code or refresh token is unknown, expired, used, or belongs to another client."
    remedy = "Send the user to the authorization endpoint again."
    oauth = "invalid_grant"


class InvalidTarget(IdpError):
    code, status, title = "invalid_target", 400, "Invalid resource"
    text = "The client may not get a token for this resource."
    remedy = "Request resources that the authorization included; `idp clients show` lists those of the client."
    oauth = "invalid_target"


class AuthorizationRequestInvalid(IdpError):
    code, status, title = "authorization_request_invalid", 400, "Invalid authorization request"
    text = "The app sent an invalid sign-in request."
    remedy = "Go back to the app and try again. Its developer: check the parameters of /oauth2/authorize."


class UnknownClient(IdpError):
    code, status, title = "unknown_client", 400, "Unknown client"
    text = "No app with this client_id can sign people in here."
    remedy = "Its developer: check client_id; `idp clients list` shows the registered clients."


class RedirectUriMismatch(IdpError):
    code, status, title = "redirect_uri_mismatch", 400, "Redirect URI mismatch"
    text = "The redirect URI of the request is not registered for this client."
    remedy = "Its developer: send a registered redirect_uri, or register this one with `idp clients update`."


class LogoutRequestInvalid(IdpError):
    code, status, title = "logout_request_invalid", 400, "Invalid logout request"
    text = "The app sent an invalid sign-out request."
    remedy = "Its developer: check the parameters of /oauth2/logout. To sign out now, open that path without any."


class PostLogoutRedirectUriMismatch(IdpError):
    code, status, title = "post_logout_redirect_uri_mismatch", 400, "Post-logout redirect URI mismatch"
    text = "The post_logout_redirect_uri of the request is not registered for this client."
    remedy = "Its developer: send a registered one, or register this one with `idp clients update`."


class AuthorizationRequestExpired(IdpError):
    code, status, title = "authorization_request_expired", 410, "Sign-in request expired"
    text = "This sign-in request has expired or is already finished."
    remedy = "Go back to the app and sign in again."


class NotFound(IdpError):
    code, status, title = "not_found", 404, "Not found"
    text = "Not found."
    remedy = "Check the path against /docs."


class ConsentNotFound(IdpError):
    code, status, title = "consent_not_found", 404, "Consent not found"
    text = "The user granted nothing to this client."
    remedy = "Check the client_id; GET /api/auth/consents lists the user's consents."


class UserNotFound(IdpError):
    code, status, title = "user_not_found", 404, "User not found"
    text = "User not found"
    remedy = "Check the id; deleted users are not found."


class ClientNotFound(IdpError):
    code, status, title = "client_not_found", 404, "Client not found"
    text = "There is no client with this id."
    remedy = "Check the id; GET /api/auth/admin/clients lists the clients."


class SigningKeyNotFound(IdpError):
    code, status, title = "signing_key_not_found", 404, "Signing key not found"
    text = "No published signing key has this id."
    remedy = "Check the id; `idp signing-keys list` shows the keys."


class UserNotSynced(IdpError):
    code, status, title = "user_not_synced", 404, "User not synchronized"
    text = "User not found in local database (sync pending?)"
    remedy = (
        "Repeat the request in a few seconds: the user's webhook has not arrived yet. Operators: `idp clerk repair`, "
        "or clerk.provision_on_first_sight."
    )


class TeamNotFound(IdpError):
    code, status, title = "team_not_found", 404, "Team not found"
    text = "Team not found"
    remedy = "GET /teams/all lists the active teams."


class DomainNotFound(IdpError):
    code, status, title = "domain_not_found", 404, "Domain not found"
    text = "Domain not found"
    remedy = "GET /domains/all lists the active domains."


class PasskeyNotFound(IdpError):
    code, status, title = "passkey_not_found", 404, "Passkey not found"
    text = "Passkey not found"
    remedy = "GET /api/auth/passkeys lists your passkeys; it may have been removed in another tab."


class KeyNotFound(IdpError):
    code, status, title = "key_not_found", 404, "API key not found"
    text = "API key not found"
    remedy = "GET /v1/api-keys lists your keys; keys of other users are not found."


class ServiceTokenNotFound(IdpError):
    code, status, title = "service_token_not_found", 404, "Service token not found"
    text = "Token not found"
    remedy = "GET /auth/tokens?include_revoked=true lists all tokens."


class SessionNotFound(IdpError):
    code, status, title = "session_not_found", 404, "Session not found"
    text = "Session not found"
    remedy = "GET /api/auth/sessions lists your sessions; ended sessions and those of other users are not found."


class MembershipNotFound(IdpError):
    code, status, title = "membership_not_found", 404, "Membership not found"
    text = "This user is not a member."
    remedy = "GET …/members (or …/users) lists the members."


class MethodNotAllowed(IdpError):
    code, status, title = "method_not_allowed", 405, "Method not allowed"
    text = "Method not allowed."
    remedy = "Use one of the methods in the detail and the Allow header."


class RequestTimeout(IdpError):
    code, status, title = "request_timeout", 408, "Request timeout"
    text = "The request body did not arrive in time."
    remedy = "Send the whole body at once."
    default_headers: ClassVar[Mapping[str, str]] = {"Connection": "close"}


class TeamNameTaken(IdpError):
    code, status, title = "team_name_taken", 409, "Team name taken"
    text = "A team with this name already exists."
    remedy = "Choose another name; an inactive team keeps its name too."


class DomainKeyTaken(IdpError):
    code, status, title = "domain_key_taken", 409, "Domain key taken"
    text = "A domain with this key already exists."
    remedy = "Choose another key; an inactive domain keeps its key too."


class DomainCycle(IdpError):
    code, status, title = "domain_cycle", 409, "Domain cycle"
    text = "This parent is the domain itself or below it, or the tree would be too deep."
    remedy = "Choose a parent that is not below this domain, at most 32 levels deep."


class ClientHasNoSecret(IdpError):
    code, status, title = "client_has_no_secret", 409, "Client has no secret"
    text = "The client authenticates without a secret."
    remedy = "Change its token_endpoint_auth_method to client_secret_basic first."


class KeyRevoked(IdpError):
    code, status, title = "key_revoked", 409, "Key revoked"
    text = "This credential was revoked; it can no longer be changed."
    remedy = "Create a new one; a revocation is permanent."


class KeyExpired(IdpError):
    code, status, title = "key_expired", 409, "Key expired"
    text = "This key has expired; it cannot be rotated."
    remedy = "Create a new key and revoke this one."


class PasskeyExists(IdpError):
    code, status, title = "passkey_exists", 409, "Passkey registered already"
    text = "This passkey is registered already."
    remedy = "Sign in with it, or register another one."


class TooManyPasskeys(IdpError):
    code, status, title = "too_many_passkeys", 409, "Too many passkeys"
    text = "You have reached the maximum number of passkeys, 20."
    remedy = "Remove one that you do not use."


class TooManyKeys(IdpError):
    code, status, title = "too_many_keys", 409, "Too many keys"
    text = "You have reached the maximum number of keys."
    remedy = "Revoke an unused key. Operators: api_keys.max_keys_per_user."


class LastAdmin(IdpError):
    code, status, title = "last_admin", 409, "Cannot remove the last administrator"
    text = "The last administrator cannot be removed, disabled or demoted."
    remedy = "Give the role admin to another user first. Requests with ADMIN_TOKEN are exempt."


class SecondFactorChanged(IdpError):
    code, status, title = "second_factor_changed", 409, "Second factor changed meanwhile"
    text = "The second factor was set up, replaced or removed in another place meanwhile. Nothing was changed here."
    remedy = "Look at the account's second factors, and begin again if needed."


class LinkAtAccount(IdpError):
    code, status, title = "link_at_account", 409, "Sign in to connect this sign-in"
    text = "The account with this address has a second factor, which a proof by password or mail does not include."
    remedy = "Sign in to the account, and connect the other sign-in at /account/identities."


class SecondFactorNeeded(IdpError):
    code, status, title = "second_factor_needed", 409, "Second factor is required of this account"
    text = "This account must have a second factor; the last one cannot be removed."
    remedy = "Set up another one first, or replace it. Operators: second_factor.required_roles and required_teams."


class NoSecondFactor(IdpError):
    code, status, title = "no_second_factor", 409, "No second factor"
    text = "This account has no second factor."
    remedy = "Set one up first: POST /api/auth/factors/totp."


class EnrolmentExpired(IdpError):
    code, status, title = "enrolment_expired", 410, "Enrolment expired"
    text = "This enrolment is too old, or belongs to another account."
    remedy = "Begin again: POST /api/auth/factors/totp."


class FactorNotFound(IdpError):
    code, status, title = "factor_not_found", 404, "Second factor not found"
    text = "The account has no such second factor; it may have been removed."
    remedy = "List the second factors: GET /api/auth/factors."


class BodyTooLarge(IdpError):
    code, status, title = "body_too_large", 413, "Body too large"
    text = "The request body is too large."
    remedy = "Send less than server.max_body_bytes (1,000,000 bytes by default)."


class UnsupportedMediaType(IdpError):
    code, status, title = "unsupported_media_type", 415, "Unsupported media type"
    text = "Send the body as application/json with a matching Content-Type."
    remedy = "Set Content-Type: application/json."


class ValidationFailed(IdpError):
    code, status, title = "validation_failed", 422, "Validation failed"
    text = "Validation failed."
    remedy = "`errors` lists each location with the expected and the actual value."


class MalformedJson(IdpError):
    code, status, title = "malformed_json", 422, "Malformed JSON"
    text = "The body is not valid JSON."
    remedy = "Send one JSON object, encoded as UTF-8."


class IdempotencyKeyReused(IdpError):
    code, status, title = "idempotency_key_reused", 422, "Idempotency-Key reused"
    text = "This Idempotency-Key was used for another request within the last ten minutes."
    remedy = "Use a new key for every creation; repeat a key only with the identical request."


class PasswordRejected(IdpError):
    code, status, title = "password_rejected", 422, "Password rejected"
    text = "This password cannot be used."
    remedy = "Choose 8 to 128 characters, not the e-mail address. Spaces and all scripts are allowed."

    def __init__(self, detail: str | None = None, *, reason: str = "", length: int = 0, **more: Any) -> None:
        """Name the violated rule and the password's length beside the text, for pages in other languages."""
        super().__init__(detail, **more)
        self.reason = reason
        self.length = length


class RateLimited(IdpError):
    code, status, title = "rate_limited", 429, "Rate limit exceeded"
    text = "Too many attempts. Try again later."
    remedy = "Wait for the number of seconds in Retry-After."


class HeadersTooLarge(IdpError):
    code, status, title = "headers_too_large", 431, "Headers too large"
    text = "The request headers are too large."
    remedy = "Send less than server.max_header_bytes (32,768 bytes by default) of headers."
    default_headers: ClassVar[Mapping[str, str]] = {"Connection": "close"}


class PasskeyRejected(IdpError):
    code, status, title = "passkey_rejected", 422, "Passkey response rejected"
    text = "The authenticator's response was refused."
    remedy = "Begin again: request new options, and send what navigator.credentials returns for them, as toJSON()."


# --- server errors: 500 and 503 -------------------------------------------------------------------------------------


class InternalError(IdpError):
    """An unexpected exception; its text is not shown."""


class DatabaseUnavailable(IdpError):
    code, status, title = "database_unavailable", 503, "Database unavailable"
    text = "The database is unavailable. Try again shortly."
    remedy = "The credential was not checked. Operators: `idp check-db` reports the cause."
    mistake: str | None = None  # the configuration error behind it, for operators
    default_headers: ClassVar[Mapping[str, str]] = {"Retry-After": "1"}


class SigningKeysSealed(IdpError):
    code, status, title = "signing_keys_sealed", 503, "Signing keys cannot be decrypted"
    text = (
        "The signing keys in the database cannot be decrypted with the current IDP_SECRET_KEY, so no token is signed."
    )
    remedy = (
        "Operators: put the previous secret into IDP_PREVIOUS_SECRET_KEYS and restart. If it is lost, "
        "`idp signing-keys rotate --now` creates a new key; all users sign in again."
    )
    default_headers: ClassVar[Mapping[str, str]] = {"Retry-After": "60"}


class WebhookNotConfigured(IdpError):
    code, status, title = "webhook_not_configured", 503, "Webhook not configured"
    text = "This deployment has no secret to verify webhooks with."
    remedy = "Operators: set CLERK_WEBHOOK_SECRET to the signing secret of the endpoint in Clerk's dashboard."
    default_headers: ClassVar[Mapping[str, str]] = {"Retry-After": "300"}


class DependencyUnavailable(IdpError):
    code, status, title = "dependency_unavailable", 503, "Dependency unavailable"
    text = "A service required to check this credential is unavailable. Try again shortly."
    remedy = "The credential was not checked. Operators: the log names the dependency."
    default_headers: ClassVar[Mapping[str, str]] = {"Retry-After": "1"}


class UpstreamRefused(IdpError):
    code, status, title = "upstream_refused", 400, "Sign-in at the provider failed"
    text = "The provider did not confirm the sign-in."
    remedy = "Try again, or sign in another way. Operators: the log says what was received and what was expected."


class FederatedLoginInvalid(IdpError):
    code, status, title = "federated_login_invalid", 400, "Sign-in not started here"
    text = "This answer of a provider belongs to no sign-in of this browser, or was used already."
    remedy = "Start the sign-in again in this browser."


class ProviderNotFound(IdpError):
    code, status, title = "provider_not_found", 404, "Provider not found"
    text = "No provider with this name is configured for sign-in."
    remedy = "GET /auth/providers lists the configured providers."


class IdentityNotFound(IdpError):
    code, status, title = "identity_not_found", 404, "Identity not found"
    text = "The account has no identity with this id."
    remedy = "GET /api/auth/identities lists the account's identities."


class IdentityTaken(IdpError):
    code, status, title = "identity_taken", 409, "Identity already linked"
    text = "This identity belongs to another account, or the account has another one of the same provider."
    remedy = "Sign in with that identity, or unlink the other one first."


class NoAccountHere(IdpError):
    code, status, title = "no_account_here", 403, "No account"
    text = "There is no account for this identity, and this provider may not create one."
    remedy = "Ask an administrator for an account, or sign in another way."


class PasswordsRefused(IdpError):
    code, status, title = "passwords_refused", 403, "Sign in through the organisation"
    text = "People with an address of this domain sign in through their organisation's provider."
    remedy = "Open the sign-in page and continue with the provider; GET /auth/providers lists them."


class LastWayIn(IdpError):
    code, status, title = "last_way_in", 409, "Last way to sign in"
    text = "This identity is the only way to sign in to the account."
    remedy = "Set a password or link another provider first."


class WebhookNotFound(IdpError):
    code, status, title = "webhook_not_found", 404, "Webhook not found"
    text = "There is no webhook with this id."
    remedy = "GET /v1/webhooks lists all webhooks."


class TooManyWebhooks(IdpError):
    code, status, title = "too_many_webhooks", 409, "Too many webhooks"
    text = "The maximum number of webhooks exists."
    remedy = "Delete one that is not used, or raise webhooks.max_endpoints."


class CursorExpired(IdpError):
    code, status, title = "cursor_expired", 410, "Cursor expired"
    text = "The event of this cursor is deleted, and later ones may be, too."
    remedy = "Read the users and teams again, then go on with after=newest, or without `after` for all that are kept."


class TooManyReaders(IdpError):
    code, status, title = "too_many_readers", 503, "Too many readers"
    text = "Too many requests wait for events."
    remedy = "Try again after the number of seconds in Retry-After. Operators: feed.max_readers."
    default_headers: ClassVar[Mapping[str, str]] = {"Retry-After": "5"}


class Busy(IdpError):
    code, status, title = "busy", 503, "Service busy"
    text = "The service is busy checking passwords. Try again shortly."
    remedy = (
        "Wait for the number of seconds in Retry-After. Operators: passwords.queue_limit, "
        "passwords.queue_limit_per_address and passwords.workers."
    )
    default_headers: ClassVar[Mapping[str, str]] = {"Retry-After": "1"}


class MetricsUnavailable(IdpError):
    code, status, title = "metrics_unavailable", 503, "Metrics unavailable"
    text = "The metrics of all workers could not be collected in time."
    remedy = "Scrape again. Operators: the process that was started as `idp serve` does not answer its workers."
    default_headers: ClassVar[Mapping[str, str]] = {"Retry-After": "1"}


class WriterBusy(IdpError):
    code, status, title = "writer_busy", 503, "Write queue full"
    text = "Too many changes are waiting; nothing was changed. Try again shortly."
    remedy = "Wait for the number of seconds in Retry-After. Revocations are never refused for this reason."
    default_headers: ClassVar[Mapping[str, str]] = {"Retry-After": "1"}


class OutcomeUnknown(IdpError):
    code, status, title = "outcome_unknown", 503, "Commit outcome unknown"
    text = "The database connection was lost during the commit, and the outcome cannot be determined."
    remedy = (
        "Check the current state before you retry. A creation repeated with the same Idempotency-Key creates "
        "nothing twice; a revocation can be repeated safely."
    )
    default_headers: ClassVar[Mapping[str, str]] = {"Retry-After": "2"}


def _subclasses(cls: type[IdpError]) -> Iterator[type[IdpError]]:
    for child in cls.__subclasses__():
        yield child
        yield from _subclasses(child)


def catalogue() -> dict[str, type[IdpError]]:
    """Return every code with its class, in the order of this file."""
    return {cls.code: cls for cls in _subclasses(IdpError)}


def phrase(status: int) -> str:
    """Return the standard phrase of an HTTP status, such as "Not Found" for 404."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
