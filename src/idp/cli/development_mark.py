"""`idp clear-development-mark`: prepare a database of `idp dev` for production (decision 0027)."""

from typing import TYPE_CHECKING

import rich_click as click

if TYPE_CHECKING:
    from idp.db.engine import Database

# Everything created in development that production would accept.
_REVOKE = (
    "UPDATE idp.signing_keys SET expires_at = now() WHERE expires_at IS NULL OR expires_at > now()",
    "UPDATE idp.users SET password_version = password_version + 1",  # known devices
    "DELETE FROM idp.email_verification_tokens",
    "DELETE FROM idp.password_reset_tokens",
    "DELETE FROM idp.idempotent_answers",
    "DELETE FROM idp.mail_outbox WHERE sent_at IS NULL",
    "DELETE FROM idp.installation WHERE name = 'development'",
)
_ADMINISTRATORS = (
    "SELECT u.email FROM idp.users u JOIN idp.user_roles r ON r.user_id = u.id "
    "WHERE r.role = 'admin' AND u.is_active AND u.deleted_at IS NULL AND u.email IS NOT NULL ORDER BY u.email"
)


@click.command("clear-development-mark")
@click.option("--yes", is_flag=True, help="Do not ask.")
def clear_development_mark(yes: bool) -> None:
    """Prepare a database of `idp dev` for `idp serve`: revoke all sessions, keys, links and signing keys."""
    from idp.cli.database import with_database
    from idp.cli.production import load_production
    from idp.db import installation

    settings = load_production().settings
    if with_database(settings, lambda database: installation.find(database, installation.DEVELOPMENT)) is None:
        print("`idp dev` has not used this database: nothing to clear.")
        return
    if not yes:
        click.confirm(
            "Every session, key, link and signing key in this database will be revoked. Continue?", abort=True
        )
    administrators = with_database(settings, _clear)
    print("Revoked every session, key, link and signing key; `idp serve` accepts this database now.")
    if administrators:
        print(f"Passwords are unchanged. Check each administrator: {', '.join(administrators)}.")


async def _clear(database: "Database") -> list[str]:
    from sqlalchemy import text

    from idp.apikeys.service import lock, revoke_everyones_keys
    from idp.audit.record import SYSTEM, record
    from idp.sessions.service import end_everyones

    async with database.transaction() as session:
        await lock(session)
        await end_everyones(session, SYSTEM, reason="development")
        await revoke_everyones_keys(session, SYSTEM, reason="development")
        for statement in _REVOKE:
            await session.execute(text(statement))
        record(session, SYSTEM, action="development.cleared")
        return list(await session.scalars(text(_ADMINISTRATORS)))
