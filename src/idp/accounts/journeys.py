"""The journeys that go through a mail, by the names under which routes ask for them."""

from idp.accounts.change_email import ChangeEmail
from idp.accounts.change_password import ChangePassword
from idp.accounts.invite import Invite
from idp.accounts.means import Means
from idp.accounts.password_proof import PasswordProof
from idp.accounts.register_email import RegisterEmail
from idp.accounts.reset_password import ResetPassword
from idp.accounts.verify_email import VerifyEmail


def journeys(means: Means) -> dict[str, object]:
    """Return every journey, made of what it works with."""
    proof = PasswordProof(means)
    return {
        "register_email": RegisterEmail(means),
        "verify_email": VerifyEmail(means),
        "reset_password": ResetPassword(means),
        "change_password": ChangePassword(means, proof),
        "change_email": ChangeEmail(means, proof),
        "invite": Invite(means),
    }
