"""The objects of the sign-in through other providers, built from what is below it."""

from collections.abc import Callable, Sequence

from msgspec import Struct

from idp.accounts.foreign_users import ForeignUsers
from idp.accounts.start_session import SessionStarter
from idp.db.engine import Database
from idp.federation.login_state import LoginStates
from idp.federation.logout import FederatedLogout
from idp.federation.providers import Providers
from idp.federation.sign_in import FederatedSignIn
from idp.settings import Secret
from idp.settings_schema import Federation
from idp.signing.fetch import Fetcher
from idp.signing.sealing import Sealer


class FederationServices(Struct, frozen=True):
    """What takes browsers to providers and back, and what ends their sessions there."""

    sign_in: FederatedSignIn
    logout: FederatedLogout
    foreign_users: ForeignUsers


def build_federation(
    settings: Federation,
    database: Database,
    roots: Sequence[Secret],
    *,
    fetcher: Fetcher,
    keys_removed: Callable[[], None],
    foreign_users: ForeignUsers,
    starter: SessionStarter,
    sealer: Sealer,
    issuer: str,
) -> FederationServices:
    """Build it without connecting to anything; `core.py` has the parts.

    Raises:
        SettingsError: a provider cannot be used.
    """
    providers = Providers(settings, fetcher, keys_removed=keys_removed)
    states = LoginStates(roots, issuer, sealer)
    return FederationServices(
        sign_in=FederatedSignIn(database, providers, states, foreign_users, starter, sealer),
        logout=FederatedLogout(database, providers, sealer, issuer),
        foreign_users=foreign_users,
    )
