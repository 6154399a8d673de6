"""The objects of second factors, built from what is below them."""

from msgspec import Struct

from idp.accounts.account_services import AccountServices
from idp.accounts.manage_factors import ManageFactors
from idp.accounts.passkey_sign_in import PasskeySignIn
from idp.accounts.passkeys import AccountPasskeys
from idp.accounts.second_factor import KeepLogin, SecondFactor
from idp.accounts.start_session import SessionStarter
from idp.users.factors.challenges import Challenges
from idp.users.factors.passkey_authentication import PasskeyAuthentication
from idp.users.factors.passkey_registration import PasskeyRegistration
from idp.users.factors.recovery_codes import RecoveryCodes
from idp.users.factors.relying_party import RelyingParty
from idp.users.factors.totp import Totp


class FactorServices(Struct, frozen=True):
    """What checks second factors, and what sets them up."""

    second_factor: SecondFactor
    manage: ManageFactors
    passkeys: AccountPasskeys
    passkey_sign_in: PasskeySignIn


def build_factors(
    services: AccountServices,
    starter: SessionStarter,
    totp: Totp,
    recovery_codes: RecoveryCodes,
    party: RelyingParty,
    challenges: Challenges,
    keep_login: KeepLogin,
) -> FactorServices:
    """Build it without connecting to anything; `core.py` has the parts."""
    authentication = PasskeyAuthentication(party, challenges)
    second_factor = SecondFactor(services, starter, totp, recovery_codes, authentication, keep_login)
    manage = ManageFactors(services, second_factor, totp, recovery_codes, starter.policy)
    registration = PasskeyRegistration(party, challenges)
    return FactorServices(
        second_factor,
        manage,
        AccountPasskeys(services, registration, second_factor, manage, party_id=party.id),
        PasskeySignIn(services, starter, authentication),
    )
