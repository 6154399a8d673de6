"""IdpError and the one catalogue of codes: every refusal a client can meet, as a fact with a name.

A class here *is* its catalogue entry: `code`, `status`, `title`, the default `detail` a client reads, and `remedy`, the
sentence that says what to do about it, in the answer and on the documentation page `/errors/{code}`. The format is
RFC 9457; the texts are those that the old services' clients read (C-16).
"""

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, ClassVar


class IdpError(Exception):
    """A refusal with a code from the catalogue.

    Args:
        detail: public text; the class's own text by default. Never holds a secret.
        headers: response headers to add, such as `Retry-After` in seconds.
        remedy: what to do about this case; the class's own advice by default.
        extra: further members of the problem document (RFC 9457 section 3.2).
    """

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    text: ClassVar[str] = "Something went wrong on our side. The request id names it in the log."
    remedy: str = "Try again; if it stays, give the operator the request id of the answer."
    default_headers: ClassVar[Mapping[str, str]] = {}

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


# --- who is calling: 400 and 401 -------------------------------------------------------------------------------------


class AmbiguousCredentials(IdpError):
    code, status, title = "ambiguous_credentials", 400, "Ambiguous credentials"
    text = "The request carries two explicit credentials that differ. Send one."
    remedy = "Send either Authorization or X-API-Key, once. If both are sent they must hold the same value."


class DevEmailRequired(IdpError):
    code, status, title = "dev_email_required", 400, "X-User-Email missing"
    text = "X-User-Email required"
    remedy = "Add X-User-Email beside X-User-Name: a name alone identifies no user."


class DevHeadersMalformed(IdpError):
    code, status, title = "dev_headers_malformed", 401, "Malformed dev headers"
    text = "X-User-Email is not an e-mail address."
    remedy = "Send one X-User-Email such as ada@example.com, to localhost."
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
        "No authenticator recognizes a credential of this form. Check that the whole token was sent, and that it "
        "comes from this service's issuer."
    )
    default_headers = _INVALID_TOKEN


class TokenInvalid(IdpError):
    code, status, title = "token_invalid", 401, "Invalid token"
    text = "Invalid token"
    remedy = "Sign in again. A service should check that issuer and audience are the ones of this deployment."
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
    remedy = "The token is well formed, and no credential here matches it. Check that it belongs to this deployment."
    default_headers = _INVALID_TOKEN


class DevelopmentToken(IdpError):
    code, status, title = "development_token", 401, "Development token"
    text = "This token was made by `idp dev`; production refuses it."
    remedy = (
        "Sign in at the production service. Tokens with idp_env=development are only good on a developer's machine."
    )
    default_headers = _INVALID_TOKEN


class UserInactive(IdpError):
    code, status, title = "user_inactive", 401, "User inactive"
    text = "User account is inactive"
    remedy = "Ask an administrator to enable the account."
    default_headers = _INVALID_TOKEN


class InvalidCredentials(IdpError):
    code, status, title = "invalid_credentials", 401, "Invalid credentials"
    text = "Incorrect email or password"
    remedy = "Check both. The answer is the same for an unknown address, a wrong password and a disabled account."
    default_headers = _BEARER


class RefreshTokenInvalid(IdpError):
    code, status, title = "refresh_token_invalid", 401, "Invalid refresh token"
    text = "Invalid refresh token"
    remedy = "It is unknown or expired, or its session has ended. Sign in again."
    default_headers = _INVALID_TOKEN


class RefreshTokenReused(IdpError):
    code, status, title = "refresh_token_reused", 401, "Refresh token reused"
    text = "This refresh token was used before. Its session has ended, in case somebody stole it."
    remedy = "Sign in again. A client must keep the newest refresh token only, and in one place."
    default_headers = _INVALID_TOKEN


class FreshLoginRequired(IdpError):
    code, status, title = "fresh_login_required", 401, "Recent sign-in required"
    text = "Sign in again to do this: your last sign-in was too long ago."
    remedy = "Sign in once more and repeat the request with the new token. Operators: accounts.fresh_login_seconds."
    default_headers: ClassVar[Mapping[str, str]] = {
        "WWW-Authenticate": 'Bearer error="insufficient_user_authentication"'
    }


# --- what may they do: 403 -------------------------------------------------------------------------------------------


class Forbidden(IdpError):
    code, status, title = "forbidden", 403, "Forbidden"
    text = "You are not allowed to do this."
    remedy = "Ask an administrator for the role the route's documentation names."


class AdminRequired(IdpError):
    code, status, title = "admin_required", 403, "Administrator required"
    text = "Admin access required"
    remedy = "Sign in as a user with the role admin."


class TeamAdminRequired(IdpError):
    code, status, title = "team_admin_required", 403, "Team administrator required"
    text = "Only an administrator, or an administrator of this team, may do this."
    remedy = "Ask an administrator to give you the membership role admin in this team."


class NotAUser(IdpError):
    code, status, title = "not_a_user", 403, "User required"
    text = "This credential belongs to a service, not to a person."
    remedy = "Call with a user's access token; POST /auth/validate describes service credentials."


class CredentialNotAccepted(IdpError):
    code, status, title = "credential_not_accepted", 403, "Credential type not accepted"
    text = "This route does not accept this kind of credential."
    remedy = "`idp routes` lists what each route accepts."


class SharedSecretToken(IdpError):
    code, status, title = "shared_secret_token", 403, "Shared-secret token not accepted"
    text = "A token signed with a shared secret cannot do this: every holder of the secret can make one."
    remedy = (
        "Use ADMIN_TOKEN for management, sign in with `?mode=cookie`, or unset AUTH_JWT_SECRET_KEY so that tokens are "
        "signed with ES256."
    )


class CsrfRejected(IdpError):
    code, status, title = "csrf_rejected", 403, "CSRF check failed"
    text = "The CSRF check failed: the request may come from another site."
    remedy = (
        "With the session cookie, send the header X-CSRF-Token with what signing in answered as csrf_token; the cookie "
        "idp_csrf holds it too. Operators: further origins go into cors.origins."
    )


class OriginNotAllowed(IdpError):
    code, status, title = "origin_not_allowed", 403, "Origin not allowed"
    text = "A page of another site sent this request: its origin is not in AUTH_API_CORS_ORIGINS."
    remedy = (
        "Operators: add the page's origin, such as https://app.example.com, to AUTH_API_CORS_ORIGINS (cors.origins), "
        "or set IDP_PUBLIC_URL to the address that browsers use. Programs send no Origin header and are not affected."
    )


class MetricsTokenRequired(IdpError):
    code, status, title = "metrics_token_required", 401, "Metrics token required"
    text = "Metrics need a token here."
    remedy = (
        "Send Authorization: Bearer followed by the value of METRICS_TOKEN. Operators: set METRICS_TOKEN, or let "
        "Prometheus scrape a listener of its own at IDP_METRICS_PORT."
    )
    default_headers = _BEARER


class ScopeNotGrantable(IdpError):
    code, status, title = "scope_not_grantable", 403, "Scope not grantable"
    text = "You may not put these scopes on a key."
    remedy = "Ask for fewer scopes. Operators: api_keys.grantable_scopes and api_keys.role_scopes."


class IntrospectScopeRequired(IdpError):
    code, status, title = "introspect_scope_required", 403, "Scope idp:introspect required"
    text = "Only a service token with the scope idp:introspect may ask this."
    remedy = "Make one: auth-cli create my-service --scopes idp:introspect"


class InternalTokenRequired(IdpError):
    code, status, title = "internal_token_required", 401, "Internal token required"
    text = "This route needs the internal token."
    remedy = "Send Authorization: Bearer followed by the value of INTERNAL_API_TOKEN."
    default_headers = _BEARER


# --- what was asked: 400, 404 to 431 ---------------------------------------------------------------------------------


class BadRequest(IdpError):
    code, status, title = "bad_request", 400, "Bad request"
    text = "The request cannot be read."
    remedy = "Compare the request with the documentation at /docs."


class EmailTaken(IdpError):
    code, status, title = "email_taken", 400, "E-mail already registered"
    text = "Email already registered"
    remedy = "Sign in with it instead."


class OneTimeTokenInvalid(IdpError):
    code, status, title = "one_time_token_invalid", 400, "Invalid or expired link"
    text = "Invalid token"
    remedy = (
        "Ask for a new link, and open the newest mail. A link works once, for a limited time, and not after the "
        "address or the password was changed. The answer does not say which of these it was."
    )


class NameTaken(IdpError):
    code, status, title = "name_taken", 400, "Token name taken"
    text = "A live token with this name exists already."
    remedy = "Choose another name, or revoke the token that has it."


class InvalidTokenId(IdpError):
    code, status, title = "invalid_token_id", 400, "Invalid token id"
    text = "Invalid token_id format (must be a UUID)"
    remedy = "Use the token_id that POST /auth/tokens answered; GET /auth/tokens lists them."


class OAuthInvalidRequest(IdpError):
    code, status, title = "invalid_request", 400, "Invalid OAuth request"
    text = "The request is malformed."
    remedy = "Send a form (application/x-www-form-urlencoded) with each parameter once."


class NotFound(IdpError):
    code, status, title = "not_found", 404, "Not found"
    text = "Not found."
    remedy = "Check the path against /docs."


class UserNotFound(IdpError):
    code, status, title = "user_not_found", 404, "User not found"
    text = "User not found"
    remedy = "Check the id; deleted users are not found either."


class TeamNotFound(IdpError):
    code, status, title = "team_not_found", 404, "Team not found"
    text = "Team not found"
    remedy = "GET /teams/all lists the active teams."


class DomainNotFound(IdpError):
    code, status, title = "domain_not_found", 404, "Domain not found"
    text = "Domain not found"
    remedy = "GET /domains/all lists the active domains."


class KeyNotFound(IdpError):
    code, status, title = "key_not_found", 404, "API key not found"
    text = "API key not found"
    remedy = "GET /v1/api-keys lists yours; somebody else's are not found either."


class ServiceTokenNotFound(IdpError):
    code, status, title = "service_token_not_found", 404, "Service token not found"
    text = "Token not found"
    remedy = "GET /auth/tokens?include_revoked=true lists all of them."


class SessionNotFound(IdpError):
    code, status, title = "session_not_found", 404, "Session not found"
    text = "Session not found"
    remedy = "GET /api/auth/sessions lists yours; somebody else's and ended ones are not found."


class MembershipNotFound(IdpError):
    code, status, title = "membership_not_found", 404, "Membership not found"
    text = "This user is not a member."
    remedy = "GET …/members (or …/users) lists who is."


class MethodNotAllowed(IdpError):
    code, status, title = "method_not_allowed", 405, "Method not allowed"
    text = "Method not allowed."
    remedy = "Use one of the methods that the detail and the Allow header name."


class RequestTimeout(IdpError):
    code, status, title = "request_timeout", 408, "Request timeout"
    text = "The request body did not arrive in time."
    remedy = "Send the whole body at once."
    default_headers: ClassVar[Mapping[str, str]] = {"Connection": "close"}


class TeamNameTaken(IdpError):
    code, status, title = "team_name_taken", 409, "Team name taken"
    text = "A team with this name exists already."
    remedy = "Choose another name; an inactive team keeps its name too."


class DomainKeyTaken(IdpError):
    code, status, title = "domain_key_taken", 409, "Domain key taken"
    text = "A domain with this key exists already."
    remedy = "Choose another key; an inactive domain keeps its key too."


class DomainCycle(IdpError):
    code, status, title = "domain_cycle", 409, "Domain cycle"
    text = "This parent lies inside the domain itself, or the tree would be too deep."
    remedy = "Choose a parent that is not below this domain, at most 32 levels deep."


class KeyRevoked(IdpError):
    code, status, title = "key_revoked", 409, "Key revoked"
    text = "This credential was revoked; it cannot be changed any more."
    remedy = "Make a new one; what was revoked stays revoked."


class KeyExpired(IdpError):
    code, status, title = "key_expired", 409, "Key expired"
    text = "This key has expired; it cannot be rotated."
    remedy = "Make a new key, and revoke this one."


class TooManyKeys(IdpError):
    code, status, title = "too_many_keys", 409, "Too many keys"
    text = "You have as many keys as one user may have."
    remedy = "Revoke a key that is not used. Operators: api_keys.max_keys_per_user."


class LastAdmin(IdpError):
    code, status, title = "last_admin", 409, "Cannot remove the last administrator"
    text = "The last administrator cannot be removed, disabled or demoted."
    remedy = "Give the role admin to another user first. Requests with ADMIN_TOKEN are exempt."


class BodyTooLarge(IdpError):
    code, status, title = "body_too_large", 413, "Body too large"
    text = "The request body is larger than this service reads."
    remedy = "Send less than server.max_body_bytes (1,000,000 bytes by default)."


class UnsupportedMediaType(IdpError):
    code, status, title = "unsupported_media_type", 415, "Unsupported media type"
    text = "Send the body as application/json, and say so in Content-Type."
    remedy = "Set Content-Type: application/json."


class ValidationFailed(IdpError):
    code, status, title = "validation_failed", 422, "Validation failed"
    text = "Validation failed."
    remedy = "`errors` names the place, what was expected and what was seen."


class MalformedJson(IdpError):
    code, status, title = "malformed_json", 422, "Malformed JSON"
    text = "The body is not valid JSON."
    remedy = "Send one JSON object, encoded as UTF-8."


class IdempotencyKeyReused(IdpError):
    code, status, title = "idempotency_key_reused", 422, "Idempotency-Key reused"
    text = "This Idempotency-Key was used for another request within the last ten minutes."
    remedy = "Send a new one with every creation; repeat one only with the very same request."


class PasswordRejected(IdpError):
    code, status, title = "password_rejected", 422, "Password rejected"
    text = "This password cannot be used."
    remedy = "Choose 8 to 128 characters that are not the e-mail address. Spaces and any script are welcome."


class RateLimited(IdpError):
    code, status, title = "rate_limited", 429, "Rate limit exceeded"
    text = "Too many attempts. Try again later."
    remedy = "Wait for the number of seconds in Retry-After."


class HeadersTooLarge(IdpError):
    code, status, title = "headers_too_large", 431, "Headers too large"
    text = "The request headers are larger than this service reads."
    remedy = "Send less than server.max_header_bytes (32,768 bytes by default) of headers."
    default_headers: ClassVar[Mapping[str, str]] = {"Connection": "close"}


# --- what is broken: 500 and 503 -------------------------------------------------------------------------------------


class InternalError(IdpError):
    """An unexpected exception, rendered without its text."""


class DatabaseUnavailable(IdpError):
    code, status, title = "database_unavailable", 503, "Database unavailable"
    text = "The database does not answer; nothing was decided. Try again shortly."
    remedy = "Nothing is wrong with the credential. Operators: `idp check-db` says what is wrong."
    mistake: str | None = None  # which one in the configuration is behind it, for operators
    default_headers: ClassVar[Mapping[str, str]] = {"Retry-After": "1"}


class SigningKeysSealed(IdpError):
    code, status, title = "signing_keys_sealed", 503, "Signing keys cannot be decrypted"
    text = "The signing keys in the database cannot be opened with the present IDP_SECRET_KEY, so no token is signed."
    remedy = (
        "Operators: put the secret that they were made with into IDP_PREVIOUS_SECRET_KEYS and restart. If it is lost, "
        "`idp signing-keys rotate --now` makes a new key; everybody signs in again."
    )
    default_headers: ClassVar[Mapping[str, str]] = {"Retry-After": "60"}


class DependencyUnavailable(IdpError):
    code, status, title = "dependency_unavailable", 503, "Dependency unavailable"
    text = "A service that is needed to check this credential does not answer. Try again shortly."
    remedy = "Nothing is wrong with the credential. Operators: the log names the dependency."
    default_headers: ClassVar[Mapping[str, str]] = {"Retry-After": "1"}


class Busy(IdpError):
    code, status, title = "busy", 503, "Service busy"
    text = "The service is busy checking passwords. Try again shortly."
    remedy = (
        "Wait for the number of seconds in Retry-After. Operators: passwords.queue_limit, of one address "
        "passwords.queue_limit_per_address, and passwords.workers."
    )
    default_headers: ClassVar[Mapping[str, str]] = {"Retry-After": "1"}


class WriterBusy(IdpError):
    code, status, title = "writer_busy", 503, "Write queue full"
    text = "Too many changes are waiting; nothing was changed. Try again shortly."
    remedy = "Wait for the number of seconds in Retry-After. Revocations are never refused for this reason."
    default_headers: ClassVar[Mapping[str, str]] = {"Retry-After": "1"}


class OutcomeUnknown(IdpError):
    code, status, title = "outcome_unknown", 503, "Commit outcome unknown"
    text = "The database was lost while it committed the change, and cannot say whether it did."
    remedy = (
        "List what there is before you try again. A creation repeated with the same Idempotency-Key does not create "
        "twice; a revocation can be repeated safely."
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
