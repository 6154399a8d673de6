"""A user changes their own profile; the API and the pages share this."""

from idp.audit.record import Origin
from idp.authn.resolve import load_user
from idp.db.engine import Database
from idp.principal.model import Principal, User
from idp.principal.reauthorize import reauthorize
from idp.users import credentials
from idp.users.profile import edit_profile
from idp.users.shapes import ProfileChange


async def edit_own(database: Database, caller: Principal, origin: Origin, requested: ProfileChange) -> User:
    """Change the given values, and return the user afterwards.

    Raises:
        UserNotFound: the user was deleted.
        TokenRevoked: the caller's session ended meanwhile; also UserInactive.
    """
    user_id = caller.user_id
    async with database.transaction() as session:
        await credentials.hold(session, user_id)
        await reauthorize(session, caller)
        await edit_profile(session, origin, user_id, requested)
        return await load_user(session, user_id)
