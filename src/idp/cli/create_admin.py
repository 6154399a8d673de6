"""`idp users create-admin`: create the first administrator directly in the database."""

import sys
from typing import TYPE_CHECKING

import rich_click as click

from idp.cli.service_options import with_output

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from idp.db.engine import Database
    from idp.settings import Settings


_MAX_NAME_LENGTH = 200  # characters, as in the API


@click.command("create-admin")
@click.argument("email")
@click.option("--name", help="Display name; default: the e-mail up to the @.")
@click.option("--existing", is_flag=True, help="Grant the role to an existing account; its password stays.")
@with_output
def create_admin(email: str, name: str | None, existing: bool, output: str) -> None:
    """Create an administrator with this EMAIL, directly in the database.

    Uses the service's settings (DATABASE_URL). Prompts for the password or reads it from stdin; there is no default.
    """
    from idp.cli.failure import BadInput
    from idp.cli.production import load_for_database
    from idp.errors import IdpError
    from idp.plain_text import unseen_character
    from idp.users.email import parse_email

    settings = load_for_database().settings
    try:
        address = parse_email(email)
    except ValueError as error:
        raise BadInput(f"{email} is not an e-mail address: {error}") from None
    if name is not None and (found := unseen_character(name)):
        raise BadInput(f"The name contains the character {found}: use one line of text without control characters.")
    if name and (len(name) > _MAX_NAME_LENGTH or name[0].isspace()):
        what = "begins with a space" if name[0].isspace() else f"has {len(name)} characters"
        raise BadInput(f"The name {what}: use one line of text, at most {_MAX_NAME_LENGTH} characters.")
    try:
        if existing:
            verified = _promote(settings, address)
        else:
            _create(settings, address, name or address.partition("@")[0])
            verified = True
    except IdpError as error:
        raise BadInput(error.detail) from None
    if output == "json":
        from idp.cli.tables import print_json

        print_json({"email": address, "role": "admin", "email_verified": verified})
        return
    print(f"{address} is an administrator.")
    if not verified:
        print("The address is not verified: until its owner verifies it, POST /api/auth/login refuses it.")


def _promote(settings: "Settings", email: str) -> bool:
    """Grant the role to the user with this address; return whether the address is verified.

    The address is not marked as verified: a stranger may have registered it, and the owner's verification then revokes
    the stranger's credentials.

    Raises:
        NotFound: no user has it.
    """
    from idp.audit.record import SYSTEM
    from idp.cli.database import with_database
    from idp.cli.failure import NotFound
    from idp.principal.permissions import ADMIN
    from idp.users import administration
    from idp.users import service as users

    async def work(database: "Database") -> bool:
        async with database.transaction() as session:
            user_id = await users.find_id_by_email(session, email)
            if user_id is None:
                raise NotFound(f"No user has the address {email}: omit --existing to create an account.")
            await administration.grant(session, SYSTEM, user_id, ADMIN)
            return (await administration.get_user(session, user_id)).email_verified

    return with_database(settings, work)


def _create(settings: "Settings", email: str, name: str) -> None:
    """Create the account.

    Raises:
        BadInput: the address has an account. It may belong to a stranger, so nothing is changed.
        PasswordRejected: the password violates the policy.
    """
    from idp.cli.database import with_database
    from idp.cli.failure import BadInput
    from idp.deployment import service_names
    from idp.errors import EmailTaken
    from idp.users.passwords import Passwords

    async def is_free(database: "Database") -> bool:
        from idp.users import service as users

        async with database.transaction() as session:
            return await users.find_id_by_email(session, email) is None

    taken = BadInput(
        f"{email} already has an account, and anyone can register an address. If you know who owns it: "
        f"idp users create-admin {email} --existing"
    )
    if not with_database(settings, is_free):
        raise taken
    password = _password()
    passwords = Passwords(settings.passwords, service=service_names(settings))
    passwords.check_policy(password, email=email, name=name)

    async def work(database: "Database") -> None:
        try:
            password_hash = await passwords.hash(password)
        finally:
            passwords.stop()
        async with database.transaction() as session:
            await _add(session, settings, email=email, name=name, password_hash=password_hash)

    try:
        with_database(settings, work)
    except EmailTaken:
        raise taken from None


async def _add(session: "AsyncSession", settings: "Settings", *, email: str, name: str, password_hash: str) -> None:
    from idp.accounts.sign_up import create_account
    from idp.audit.record import SYSTEM
    from idp.principal.permissions import ADMIN
    from idp.users import administration
    from idp.users import service as users

    await users.ensure_roles(session)
    user_id = await create_account(
        session, settings.accounts, SYSTEM, email=email, name=name, password_hash=password_hash
    )
    await administration.mark_email_verified(session, SYSTEM, user_id)
    await administration.grant(session, SYSTEM, user_id, ADMIN)


def _password() -> str:
    """Prompt for a password on a terminal, else read one line from stdin.

    Raises:
        BadInput: stdin is empty.
    """
    from idp.cli.failure import BadInput

    if sys.stdin.isatty():
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise BadInput("No password on stdin: type it at a terminal, or pipe it.")
    return password
