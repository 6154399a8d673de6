"""The flows that send mails, by their dependency names in routes."""

from idp.accounts.account_services import AccountServices
from idp.accounts.change_email import ChangeEmail
from idp.accounts.change_password import ChangePassword
from idp.accounts.delete_account import DeleteAccount
from idp.accounts.invite import Invite
from idp.accounts.password_proof import PasswordProof
from idp.accounts.register_email import RegisterEmail
from idp.accounts.reset_password import ResetPassword
from idp.accounts.verify_email import VerifyEmail


def account_flows(services: AccountServices) -> dict[str, object]:
    """Return all flows with their dependencies."""
    proof = PasswordProof(services)
    return {
        "register_email": RegisterEmail(services),
        "verify_email": VerifyEmail(services),
        "reset_password": ResetPassword(services),
        "change_password": ChangePassword(services, proof),
        "change_email": ChangeEmail(services, proof),
        "invite": Invite(services),
        "delete_account": DeleteAccount(services),
    }
