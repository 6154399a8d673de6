"""The user of a foreign identity: found, linked to an existing account (C-11), or created on first use (S3-37).

Claim rules are applied at the first token of an identity, and when the claims of a newer one differ (decision 0044).
"""

from collections.abc import Awaitable, Callable
from functools import partial

from sqlalchemy.ext.asyncio import AsyncSession

from idp.accounts.sign_up import create_account
from idp.apikeys.service import lock
from idp.audit.record import Origin, record
from idp.db.engine import Database
from idp.directory import claim_grants
from idp.directory.claim_rules import Evaluation
from idp.errors import EmailTaken, IdentityTaken, UserNotFound
from idp.events.catalogue import EventType
from idp.lifecycle.claim import claim
from idp.principal.sources import of_rules
from idp.settings_schema import Accounts
from idp.users import administration, credentials, identities
from idp.users.credentials import Holder
from idp.users.identities import ForeignIdentity, LinkedIdentity
from idp.users.models import IdentityRow
from idp.users.user_events import publish_changed

_ATTEMPTS = 3
Check = Callable[[AsyncSession], Awaitable[None]]


class _TakenMeanwhile(Exception):
    """A concurrent request has created the same identity or address: read again."""


class ProofRequired(Exception):
    """An account has the identity's address; its owner must prove it first."""

    def __init__(self, holder: Holder) -> None:
        super().__init__(holder.user_id)
        self.holder = holder


class ForeignUsers:
    """Finds and creates the users of foreign identities.

    Args:
        database: stores users and identities.
        settings: the default teams and domains of new users.
    """

    def __init__(self, database: Database, settings: Accounts) -> None:
        self._database = database
        self._settings = settings

    async def ensure(
        self, identity: ForeignIdentity, evaluation: Evaluation, *, create: bool = True, link_verified: bool = True
    ) -> None:
        """Make sure that the identity has a user, who may be disabled, and apply the claim rules of its issuer.

        Args:
            identity: from a verified token.
            evaluation: the result of the issuer's claim rules.
            create: whether to create a user if there is no account to link.
            link_verified: whether to link an account that has verified the address too, without a proof.

        Raises:
            ProofRequired: such an account exists, and it is not to be linked without a proof.
            DatabaseUnavailable: PostgreSQL is unavailable.
        """
        for _ in range(_ATTEMPTS):
            linked = await identities.find(self._database.reads, identity)
            try:
                if linked is None:
                    await self._database.transact(
                        partial(self._link_or_create, identity, evaluation, create, link_verified)
                    )
                elif _is_news(linked, evaluation):
                    await self._database.transact(partial(self._apply_again, linked.user_id, identity, evaluation))
                elif _repeats(linked, evaluation):
                    await self._database.transact(partial(_note_repetition, identity, evaluation))
            except _TakenMeanwhile:
                continue
            return
        raise RuntimeError("an identity appears and disappears concurrently")

    async def link(
        self, user_id: str, identity: ForeignIdentity, evaluation: Evaluation, origin: Origin, *, proof: Check
    ) -> None:
        """Link an identity to an account whose owner has proven it, and apply the claim rules.

        Args:
            user_id: the account.
            identity: from a verified token.
            evaluation: the result of the issuer's claim rules.
            origin: of the request.
            proof: checks in the transaction that what proved the account still does; raises an error if not.

        Raises:
            IdentityTaken: another account has the identity, or this account another identity of the provider.
            UserNotFound: the account was deleted.
            DatabaseUnavailable: PostgreSQL is unavailable.
        """

        async def link(session: AsyncSession) -> None:
            await lock(session)  # before the user's row (C-27)
            await administration.hold(session, user_id)
            await proof(session)
            linked = await identities.hold(session, identity)
            if linked is not None and linked.user_id == user_id:
                return
            if linked is not None or await identities.has_one_at(session, user_id, identity.provider):
                raise IdentityTaken
            if not await identities.link(session, user_id, identity):
                raise IdentityTaken
            details = {"provider": identity.provider, "subject": identity.subject, "new_user": False}
            record(session, origin, action="user.identity_linked", user_id=user_id, details=details)
            if evaluation.digest is not None:
                await _apply(session, origin, user_id, identity, evaluation)

        await self._database.transact(link)

    async def unlink(self, session: AsyncSession, origin: Origin, row: IdentityRow) -> None:
        """Unlink an identity in a transaction that holds its user, with what its claim rules gave."""
        identity = ForeignIdentity(row.provider, row.subject)
        await _apply(session, origin, row.user_id, identity, Evaluation(decided=True))
        details = {"provider": row.provider, "subject": row.subject}
        record(session, origin, action="user.identity_unlinked", user_id=row.user_id, details=details)
        await identities.unlink(session, row)

    async def _link_or_create(
        self,
        identity: ForeignIdentity,
        evaluation: Evaluation,
        create: bool,
        link_verified: bool,
        session: AsyncSession,
    ) -> None:
        origin = Origin(actor="anonymous")
        user_id = await self._linkable(session, origin, identity, link_verified)
        is_new = user_id is None
        if user_id is None:
            if not create:
                return
            user_id = await self._create(session, origin, identity)
        if not await identities.link(session, user_id, identity):
            raise _TakenMeanwhile
        details = {"provider": identity.provider, "subject": identity.subject, "new_user": is_new}
        record(session, origin, action="user.identity_linked", user_id=user_id, details=details)
        if evaluation.digest is not None:
            await _apply(session, origin, user_id, identity, evaluation)

    async def _apply_again(
        self, user_id: str, identity: ForeignIdentity, evaluation: Evaluation, session: AsyncSession
    ) -> None:
        """Apply the rules, unless a concurrent request has done it with a newer token."""
        try:
            await administration.hold(session, user_id)  # before the identity, as `claim` does
        except UserNotFound:  # deleted
            return
        linked = await identities.hold(session, identity)
        if linked is not None and linked.user_id == user_id and _is_news(linked, evaluation):
            await _apply(session, Origin(actor="anonymous"), user_id, identity, evaluation)

    async def _linkable(
        self, session: AsyncSession, origin: Origin, identity: ForeignIdentity, link_verified: bool
    ) -> str | None:
        """Return the account with this address; only if its issuer is trusted to have verified it (SEC-16, C-11).

        An account with another subject of the same issuer is not linked: providers give addresses of people who left to
        newcomers, and tell them apart by the subject (SEC-15).
        """
        if identity.email is None or not identity.email_verified:
            return None
        await lock(session)  # before the user's row (C-27)
        holder = await credentials.hold_by_email(session, identity.email)
        if holder is None:
            return None
        if not holder.email_verified:
            await claim(session, origin, holder.user_id, keep_password=False)
        elif not link_verified:
            raise ProofRequired(holder)
        elif await identities.has_one_at(session, holder.user_id, identity.provider):
            return None
        return holder.user_id

    async def _create(self, session: AsyncSession, origin: Origin, identity: ForeignIdentity) -> str:
        """Create a user; without an address if another account has it: the same address is another principal."""
        email = identity.email
        if email is not None and await credentials.find_by_email(session, email) is not None:
            email = None
        try:
            user_id = await create_account(
                session,
                self._settings,
                origin,
                email=email,
                name=identity.name or (email or "").partition("@")[0] or None,
                password_hash=None,
                login_type="oidc",
            )
        except EmailTaken:
            raise _TakenMeanwhile from None
        if email is not None and identity.email_verified:
            await credentials.mark_verified(session, user_id)
            verified = EventType.USER_EMAIL_VERIFIED
            await publish_changed(session, origin, user_id, "email_verified", also=verified)
        return user_id


def _is_news(linked: LinkedIdentity, evaluation: Evaluation) -> bool:
    """Whether the rules must be applied: other claims or rules than before, and no older token.

    Without this comparison a token from before a change would bring back what the change took away.
    """
    if evaluation.digest == linked.claims_digest or evaluation.is_undecided:
        return False
    if linked.claims_issued_at is None:
        return True
    return evaluation.issued_at is not None and evaluation.issued_at >= linked.claims_issued_at


def _repeats(linked: LinkedIdentity, evaluation: Evaluation) -> bool:
    """Whether a newer token says the same: older ones that nobody has presented yet must bring nothing back either."""
    if evaluation.digest is None or evaluation.digest != linked.claims_digest or evaluation.issued_at is None:
        return False
    return linked.claims_issued_at is None or evaluation.issued_at > linked.claims_issued_at


async def _note_repetition(identity: ForeignIdentity, evaluation: Evaluation, session: AsyncSession) -> None:
    """Keep the time of a newer token with the same claims, unless a concurrent request has changed them."""
    linked = await identities.hold(session, identity)
    if linked is not None and _repeats(linked, evaluation):
        await identities.keep_claims(session, identity, issued_at=evaluation.issued_at, digest=evaluation.digest)


async def _apply(
    session: AsyncSession, origin: Origin, user_id: str, identity: ForeignIdentity, evaluation: Evaluation
) -> None:
    provider = identity.provider
    lost_role = await administration.apply_rule_roles(
        session,
        origin,
        user_id,
        {each.name: of_rules(provider, each.claim) for each in sorted(evaluation.granted) if each.kind == "role"},
        undecided={each.name for each in evaluation.undecided if each.kind == "role"},
        given_by=of_rules(provider),
    )
    lost_membership = await claim_grants.apply(session, origin, user_id, evaluation, provider)
    if lost_role or lost_membership:
        await identities.forget_claims(session, user_id, except_at=provider)
    issued_at = evaluation.issued_at
    await identities.keep_claims(session, identity, issued_at=issued_at, digest=evaluation.digest)
