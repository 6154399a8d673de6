"""`idp users create-admin`: the first administrator, straight through the database as `idp migrate` works."""

import sys
from typing import TYPE_CHECKING

import rich_click as click

from idp.cli.service_options import with_output

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from idp.db.engine import Database
    from idp.settings import Settings


_LONGEST_NAME = 200  # characters, as everywhere else


@click.command("create-admin")
@click.argument("email")
@click.option("--name", help="Display name; the e-mail up to its @ by default.")
@click.option("--existing", is_flag=True, help="Give the role to an account that is there; it keeps its password.")
@with_output
def create_admin(email: str, name: str | None, existing: bool, output: str) -> None:
    """Create an administrator with this EMAIL, directly in the database.

    Uses the settings of the service (DATABASE_URL). The password is asked for, or read from stdin: there is no default.
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
        raise BadInput(f"The name holds the character {found}: give one line of text without control characters.")
    if name and (len(name) > _LONGEST_NAME or name[0].isspace()):
        what = "begins with a space" if name[0].isspace() else f"has {len(name)} characters"
        raise BadInput(f"The name {what}: give one line of text, {_LONGEST_NAME} characters at most.")
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
        print("The address is not verified yet: until its owner does that, POST /api/auth/login refuses it.")


def _promote(settings: "Settings", email: str) -> bool:
    """Give the role to whoever has this address; return whether it is verified.

    It is not vouched for: whoever registered it may be somebody else, and the owner's first mail ends what they made.

    Raises:
        NotFound: nobody has.
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
                raise NotFound(f"No user has the address {email}: leave --existing out to make an account.")
            await administration.grant(session, SYSTEM, user_id, ADMIN)
            return (await administration.get_user(session, user_id)).email_verified

    return with_database(settings, work)


def _create(settings: "Settings", email: str, name: str) -> None:
    """Make the account.

    Raises:
        BadInput: the address is taken. Whoever registered it need not be who is meant, so nothing is changed.
        PasswordRejected: the password breaks the policy.
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
        f"{email} has an account already, and anybody can register an address. If you know whose account it is: "
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
    """Ask for a password, or read one line where nobody can be asked.

    Raises:
        BadInput: nothing came.
    """
    from idp.cli.failure import BadInput

    if sys.stdin.isatty():
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise BadInput("No password came on stdin: type one at a terminal, or pipe it in.")
    return password
