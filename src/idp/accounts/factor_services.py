"""The objects of second factors, built from what is below them."""

from msgspec import Struct

from idp.accounts.account_services import AccountServices
from idp.accounts.manage_factors import ManageFactors
from idp.accounts.second_factor import KeepLogin, SecondFactor
from idp.accounts.start_session import SessionStarter
from idp.users.factors.recovery_codes import RecoveryCodes
from idp.users.factors.totp import Totp


class FactorServices(Struct, frozen=True):
    """What checks second factors, and what sets them up."""

    second_factor: SecondFactor
    manage: ManageFactors


def build_factors(
    services: AccountServices,
    starter: SessionStarter,
    totp: Totp,
    recovery_codes: RecoveryCodes,
    keep_login: KeepLogin,
) -> FactorServices:
    """Build it without connecting to anything; `core.py` has the parts."""
    second_factor = SecondFactor(services, starter, totp, recovery_codes, keep_login)
    return FactorServices(second_factor, ManageFactors(services, second_factor, totp, recovery_codes, starter.policy))
