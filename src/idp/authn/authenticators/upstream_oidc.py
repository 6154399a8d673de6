"""Tokens of other issuers, configured by name (S3-07, S3-37)."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from idp import checks
from idp.authn.credential import Presented
from idp.authn.outcome import NOT_MINE, Authenticated, ByIdentity, Outcome, Rejected, Unavailable
from idp.directory.claim_rules import Evaluation, evaluate, find_claim
from idp.errors import DependencyUnavailable, TokenExpired, TokenInvalid
from idp.plain_text import without_unseen
from idp.principal.model import AuthMethod, Credential
from idp.settings_schema import OidcIssuer
from idp.signing.compact import UnverifiedJwt
from idp.signing.foreign_jwt import ForeignIssuer
from idp.users.email import parse_email
from idp.users.identities import ForeignIdentity

_MAX_SUBJECT, _MAX_NAME = 255, 200


class EnsureUser(Protocol):
    """Makes sure that an identity has a user, and applies the result of the claim rules."""

    async def __call__(self, identity: ForeignIdentity, evaluation: Evaluation, *, create: bool) -> None: ...


class UpstreamOidc:
    """Owns every JWT that names a configured issuer.

    Foreign roles and groups grant nothing but what the issuer's claim rules say, and foreign scopes nothing at all:
    services require scopes in `/auth/validate`, and only this service grants those.

    Args:
        issuers: the configured issuers.
        ensure_user: creates the user of an identity if there is none, and applies the claim rules.
    """

    name = "upstream_oidc"

    def __init__(self, issuers: Sequence[ForeignIssuer], ensure_user: EnsureUser) -> None:
        self._issuers = tuple(issuers)
        self._ensure_user = ensure_user

    async def authenticate(self, presented: Presented) -> Outcome:
        if presented.jwt is None:
            checks.holds(False, "format", presented.form, "JWT")
            return NOT_MINE
        jwt = presented.jwt
        issuer = next((each for each in self._issuers if each.owns(jwt)), None)
        if issuer is None:
            checks.holds(bool(self._issuers), "issuers configured", len(self._issuers), "at least 1")
            return NOT_MINE
        try:
            verified = await issuer.verify(jwt)
            identity = identity_of(issuer.settings, verified.claims)
        except TokenExpired as error:  # after the signature, so the token proves its subject to an explanation
            _prove_subject(issuer, jwt)
            return Rejected(error)
        except TokenInvalid as error:
            return Rejected(error)
        except DependencyUnavailable as error:
            return Unavailable(error)
        jti = verified.claims.get("jti")
        credential = Credential(
            method=AuthMethod.UPSTREAM_OIDC,
            id=jti[:_MAX_SUBJECT] if isinstance(jti, str) else None,
            expires_at=verified.expires_at,
            identity=(identity.provider, identity.subject),
        )
        evaluation = evaluate(issuer.settings.rules, verified.claims, issued_at=verified.issued_at)
        await self._ensure_user(identity, evaluation, create=issuer.settings.create_users)
        # Not by the user's id: one statement reads identity and user, so the verdict's stamp covers both.
        subject = ByIdentity(identity.provider, identity.subject)
        return Authenticated(subject, credential, cacheable=True)


def _prove_subject(issuer: ForeignIssuer, jwt: UnverifiedJwt) -> None:
    with suppress(TokenInvalid):
        identity = identity_of(issuer.settings, jwt.claims)
        checks.proves(f"identity:{identity.provider} {identity.subject}")


def identity_of(settings: OidcIssuer, claims: Mapping[str, Any]) -> ForeignIdentity:
    """Return the identity in verified claims.

    Raises:
        TokenInvalid: there is no usable subject.
    """
    subject = find_claim(claims, settings.subject_claim)
    if not isinstance(subject, str) or not 0 < len(subject) <= _MAX_SUBJECT or "\x00" in subject:
        raise TokenInvalid
    email = _email(find_claim(claims, settings.email_claim))
    is_trusted = email is not None and _is_trusted(email, settings.trusted_email_domains)
    name = find_claim(claims, settings.name_claim)
    return ForeignIdentity(
        provider=settings.issuer,
        subject=subject,
        email=email,
        email_verified=is_trusted and _is_true(find_claim(claims, settings.email_verified_claim)),
        name=(without_unseen(name).strip()[:_MAX_NAME] or None) if isinstance(name, str) else None,
    )


def _is_true(value: object) -> bool:
    """Whether a claim says true; some providers send booleans as text."""
    return value is True or (isinstance(value, str) and value in {"true", "True"})


def _email(value: object) -> str | None:
    try:
        return parse_email(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _is_trusted(email: str, domains: Sequence[str]) -> bool:
    return email.rpartition("@")[2].lower() in {domain.lower() for domain in domains}
