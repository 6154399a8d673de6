"""Verify the use of a passkey (WebAuthn Level 3 section 7.2). Every method works inside the caller's transaction."""

from typing import Any

from msgspec import Struct
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from webauthn import generate_authentication_options, verify_authentication_response
from webauthn.authentication.verify_authentication_response import VerifiedAuthentication
from webauthn.helpers import options_to_json_dict, parse_authentication_credential_json
from webauthn.helpers.structs import AuthenticationCredential, UserVerificationRequirement

from idp import clock
from idp.errors import PasskeyCloned, PasskeyRejected, PasskeyUnknown
from idp.users.factors.challenges import Challenges, Purpose
from idp.users.factors.models import PasskeyRow
from idp.users.factors.passkeys import descriptor, methods_of, rows_of
from idp.users.factors.relying_party import RelyingParty
from idp.users.factors.webauthn_response import MILLISECONDS, challenge_of, refusing


class VerifiedPasskey(Struct, frozen=True):
    """A successful use of a passkey.

    Attributes:
        user_id: whose it is.
        methods: authentication methods for `amr` (RFC 8176).
    """

    user_id: str
    methods: tuple[str, ...]


class PasskeyAuthentication:
    """Verifies passkeys.

    Args:
        party: who they are for.
        challenges: what authenticators sign.
    """

    def __init__(self, party: RelyingParty, challenges: Challenges) -> None:
        self.party = party
        self._challenges = challenges

    def sign_in_options(self) -> dict[str, Any]:
        """Return the options for `navigator.credentials.get`, in JSON (section 5.5), to sign in without a name.

        The passkey tells who it is, and must verify its user. The options are the same for everyone.
        """
        return self._options(None, [], verifies_user=True)

    async def second_factor_options(
        self, session: AsyncSession, user_id: str, *, verifies_user: bool
    ) -> dict[str, Any]:
        """Return the options for the passkeys of a user, who has proved who they are by another factor.

        Args:
            session: the caller's transaction.
            user_id: the user.
            verifies_user: require that the authenticator verifies its user.
        """
        return self._options(user_id, await rows_of(session, user_id), verifies_user=verifies_user)

    def _options(self, user_id: str | None, rows: list[PasskeyRow], *, verifies_user: bool) -> dict[str, Any]:
        required, preferred = UserVerificationRequirement.REQUIRED, UserVerificationRequirement.PREFERRED
        options = generate_authentication_options(
            rp_id=self.party.id,
            challenge=self._challenges.new(_purpose(user_id), user_id),
            timeout=MILLISECONDS,
            allow_credentials=[descriptor(row) for row in rows],
            user_verification=required if verifies_user else preferred,
        )
        return options_to_json_dict(options)

    async def verify(
        self, session: AsyncSession, credential: dict[str, Any], *, user_id: str | None, verifies_user: bool = True
    ) -> VerifiedPasskey:
        """Verify the use of a passkey, and keep its counter and whether it is backed up.

        Args:
            session: the caller's transaction.
            credential: what the browser returned, in JSON.
            user_id: whose passkey it must be; None for a sign-in.
            verifies_user: require that the authenticator has verified its user.

        Raises:
            PasskeyUnknown: it is not registered here, or of another user.
            PasskeyRejected: its response does not verify.
            PasskeyCloned: its counter did not grow, so there may be two of it (section 6.1.1).
        """
        challenge = challenge_of(credential)
        await self._challenges.use(session, challenge, _purpose(user_id), user_id)
        with refusing():
            parsed = parse_authentication_credential_json(credential)
        query = select(PasskeyRow).where(PasskeyRow.credential_id == parsed.raw_id).with_for_update()
        row = await session.scalar(query)
        if row is None or user_id not in {None, row.user_id}:
            raise PasskeyUnknown
        # Some authenticators leave the handle out: the credential's id and signature tell who it is.
        if parsed.response.user_handle not in {None, row.user_handle}:
            raise PasskeyRejected("The response names another user than the passkey's.")
        verified = self._verify(parsed, challenge, row, verifies_user=verifies_user)
        if (verified.new_sign_count or row.sign_count) and verified.new_sign_count <= row.sign_count:
            cloned = PasskeyCloned()
            cloned.passkey_id = row.id
            raise cloned
        row.sign_count, row.backed_up = verified.new_sign_count, verified.credential_backed_up
        row.last_used_at = clock.now()
        return VerifiedPasskey(row.user_id, methods_of(row, user_verified=verified.user_verified))

    def _verify(
        self, parsed: AuthenticationCredential, challenge: bytes, row: PasskeyRow, *, verifies_user: bool
    ) -> VerifiedAuthentication:
        with refusing():
            return verify_authentication_response(
                credential=parsed,
                expected_challenge=challenge,
                expected_rp_id=self.party.id,
                expected_origin=list(self.party.origins),
                credential_public_key=row.public_key,
                credential_current_sign_count=0,  # compared afterwards, to tell a clone from other errors
                require_user_verification=verifies_user,
            )


def _purpose(user_id: str | None) -> Purpose:
    return "sign-in" if user_id is None else "second-factor"
