"""The account of an identity that signed in at a provider: known, new, or to be proven first (C-11, SEC-16)."""

from msgspec import Struct

from idp.accounts.foreign_users import ForeignUsers, ProofRequired
from idp.db.engine import Database
from idp.federation.upstream import UpstreamLogin
from idp.users import credentials, identities
from idp.users.credentials import Holder


class Linked(Struct, frozen=True):
    """The account of the identity."""

    user_id: str


class ProofNeeded(Struct, frozen=True):
    """An account has the identity's address. Its owner must prove it, by its password or by mail."""

    holder: Holder


class NoAccount(Struct, frozen=True):
    """There is no account, and the provider may not create one."""


Account = Linked | ProofNeeded | NoAccount


class Linking:
    """Finds, creates and links accounts.

    Args:
        database: stores them.
        foreign_users: creates users and applies claim rules.
    """

    def __init__(self, database: Database, foreign_users: ForeignUsers) -> None:
        self._database = database
        self._foreign_users = foreign_users

    async def user_for(self, login: UpstreamLogin, *, create: bool) -> Account:
        """Return the account of a login, after applying the provider's claim rules.

        An account that never verified the address is claimed by an identity that did (C-11). Any other account with the
        address is linked only after a proof, whatever the provider says about the address.

        Args:
            login: of a provider.
            create: whether to create a user if there is no account.

        Raises:
            DatabaseUnavailable: PostgreSQL is unavailable.
        """
        identity = login.identity
        if await identities.find(self._database.reads, identity) is None and identity.email is not None:
            async with self._database.transaction() as session:
                holder = await credentials.find_by_email(session, identity.email)
            if holder is not None and (holder.email_verified or not identity.email_verified):
                return ProofNeeded(holder)
        try:  # the account may have been verified since
            await self._foreign_users.ensure(identity, login.evaluation, create=create, link_verified=False)
        except ProofRequired as required:
            return ProofNeeded(required.holder)
        linked = await identities.find(self._database.reads, identity)
        return NoAccount() if linked is None else Linked(linked.user_id)
