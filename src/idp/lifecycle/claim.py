"""Claims an unverified account for the person who proved to own its address (C-11).

An attacker may have registered the address before its owner (pre-hijacking). Once the owner verifies it, no earlier
session, key, link, second factor or identity at another issuer is valid, and neither is the password, unless the owner
has just chosen it. What the issuers of those identities gave goes with them: no later token or webhook
could take it away.
"""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from idp.apikeys.service import revoke_all_keys
from idp.audit.record import Origin, record
from idp.directory import claim_grants
from idp.directory.claim_rules import Evaluation
from idp.events.catalogue import EventType
from idp.principal import sources
from idp.sessions.service import end_all
from idp.users import administration, credentials, identities
from idp.users.factors import enrolled
from idp.users.identities import CLERK
from idp.users.one_time_tokens import revoke_all
from idp.users.user_events import publish_changed

_REASON = "address claimed"

# Clerk's user had this account once: also one that was imported, and that no webhook has named yet (C-13).
_REMEMBER_CLERK = text("""
INSERT INTO idp.clerk_users (clerk_id, user_id, updated_at_ms)
SELECT subject, user_id, 0 FROM idp.identities WHERE user_id = :user_id AND provider = 'clerk' ON CONFLICT DO NOTHING
""")


async def claim(session: AsyncSession, origin: Origin, user_id: str, *, keep_password: bool) -> None:
    """Mark an address as verified, and revoke every credential that was created before.

    Args:
        session: a transaction whose first statement was `apikeys.service.lock` (C-27), and that locks the user's row.
        origin: the request that proved ownership of the address.
        user_id: of the account.
        keep_password: whether the same request has set the password.
    """
    keys = await revoke_all_keys(session, origin, user_id, _REASON)
    sessions = await end_all(session, origin, user_id, reason=_REASON)
    await revoke_all(session, user_id)
    await session.execute(_REMEMBER_CLERK, {"user_id": user_id})
    unlinked = await identities.unlink_all(session, user_id)
    for provider in sorted(set(unlinked)):
        await _take_away_grants(session, origin, user_id, provider)
    if not keep_password:
        await credentials.wipe_password(session, user_id)
    await enrolled.remove_all(session, user_id)
    await credentials.mark_verified(session, user_id)
    details = {
        "by": "link",
        "revoked_keys": keys,
        "ended_sessions": sessions,
        "unlinked_identities": len(unlinked),
        "password_kept": keep_password,
    }
    record(session, origin, action="user.email_verified", user_id=user_id, details=details)
    changed = ("email_verified",) if keep_password else ("email_verified", "password")
    await publish_changed(session, origin, user_id, *changed, also=EventType.USER_EMAIL_VERIFIED)


async def _take_away_grants(session: AsyncSession, origin: Origin, user_id: str, provider: str) -> None:
    """Take away the roles, teams and domains that an issuer gave."""
    given_by = sources.CLERK if provider == CLERK else sources.of_rules(provider)
    await administration.apply_rule_roles(session, origin, user_id, {}, undecided=frozenset(), given_by=given_by)
    await claim_grants.apply(session, origin, user_id, Evaluation(), provider)
