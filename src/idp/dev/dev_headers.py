"""Dev headers: X-User-Email and X-User-Name authenticate without a password (S3-05, S3-20, C-23).

This authenticator is in `dev/`, which the production image does not contain. It accepts only requests to a local host
name, against DNS rebinding.
"""

from idp.accounts.sign_up import create_account
from idp.audit.record import Origin
from idp.authn.credential import Presented
from idp.authn.outcome import NOT_MINE, Authenticated, ByUserId, Outcome, Rejected
from idp.checks import holds
from idp.db.engine import Database
from idp.dev.local_host import is_local_request
from idp.errors import DevEmailRequired, DevHeadersMalformed, EmailTaken
from idp.principal.model import AuthMethod, Credential
from idp.settings_schema import Accounts
from idp.users import service as users
from idp.users.email import parse_email

_NAME_LIMIT = 200


class DevHeaders:
    """Owns requests with dev headers and without a credential; a presented credential always decides (C-23).

    Args:
        accounts: default teams and domains of new users.
        in_container: accept a service name such as `auth-service`, used by other containers.
    """

    name = "dev_headers"

    def __init__(self, database: Database, accounts: Accounts, *, in_container: bool = False) -> None:
        self._database = database
        self._accounts = accounts
        self._in_container = in_container

    async def authenticate(self, presented: Presented) -> Outcome:
        email, name = presented.headers.get("x-user-email"), presented.headers.get("x-user-name")
        if presented.token is not None:
            holds(False, "headers", "another credential", "X-User-Email without one")
            return NOT_MINE
        if email is None and name is None:
            holds(False, "headers", None, "X-User-Email")
            return NOT_MINE
        if not is_local_request(presented.headers, in_container=self._in_container):
            return Rejected(DevHeadersMalformed("Dev headers are accepted only at localhost."))
        if not email:
            return Rejected(DevEmailRequired())
        try:
            address = parse_email(_text(email))
        except ValueError as error:
            return Rejected(DevHeadersMalformed(f"X-User-Email is not an e-mail address: {error}"))
        user_id = await self._find_or_create(address, _name(name))
        return Authenticated(ByUserId(user_id), Credential(method=AuthMethod.DEV_HEADERS))

    async def _find_or_create(self, email: str, name: str | None) -> str:
        async with self._database.transaction() as session:
            found = await users.find_id_by_email(session, email)
        if found is not None:
            return found
        try:
            async with self._database.transaction() as session:
                return await create_account(
                    session,
                    self._accounts,
                    Origin(actor="anonymous"),
                    email=email,
                    name=name or email.partition("@")[0],
                    password_hash=None,
                    login_type="dev_header",
                )
        except EmailTaken:  # a concurrent request was first
            async with self._database.transaction() as session:
                winner = await users.find_id_by_email(session, email)
            assert winner is not None
            return winner


def _text(header: str) -> str:
    """Decode a header as UTF-8, which clients send although HTTP does not define it."""
    try:
        return header.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return header


def _name(header: str | None) -> str | None:
    text = "".join(character for character in _text(header or "") if character.isprintable()).strip()
    return text[:_NAME_LIMIT] or None
