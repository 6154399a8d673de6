"""Register a passkey (WebAuthn Level 3 section 7.1). Every method works inside the caller's transaction."""

from typing import Any
from uuid import UUID

from msgspec import Struct
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7
from webauthn import generate_registration_options, verify_registration_response
from webauthn.helpers import options_to_json_dict, parse_registration_credential_json
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    CredentialDeviceType,
    RegistrationCredential,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)
from webauthn.registration.verify_registration_response import VerifiedRegistration

from idp import clock
from idp.audit.record import Origin
from idp.errors import PasskeyExists, TooManyPasskeys
from idp.users.factors.challenges import Challenges
from idp.users.factors.models import PasskeyRow
from idp.users.factors.passkeys import MAX_PASSKEYS, Passkey, descriptor, methods_of, record_passkey, rows_of
from idp.users.factors.relying_party import RelyingParty
from idp.users.factors.webauthn_response import MILLISECONDS, challenge_of, refusing


class RegisteredPasskey(Struct, frozen=True):
    """A new passkey, and the authentication methods that its registration proved, for `amr`."""

    passkey: Passkey
    methods: tuple[str, ...]


class PasskeyRegistration:
    """Registers passkeys.

    Args:
        party: who they are for.
        challenges: what authenticators sign.
    """

    def __init__(self, party: RelyingParty, challenges: Challenges) -> None:
        self._party = party
        self._challenges = challenges

    async def options(self, session: AsyncSession, user_id: str, *, name: str, display_name: str) -> dict[str, Any]:
        """Return the options for `navigator.credentials.create`, in JSON (section 5.4).

        Args:
            session: the caller's transaction.
            user_id: the user.
            name: tells accounts apart, such as the e-mail address.
            display_name: the user's name.

        Raises:
            TooManyPasskeys: the user has as many as a user may have.
        """
        rows = await rows_of(session, user_id)
        if len(rows) >= MAX_PASSKEYS:
            raise TooManyPasskeys
        options = generate_registration_options(
            rp_id=self._party.id,
            rp_name=self._party.name,
            user_id=self._handle(user_id, rows),
            user_name=name,
            user_display_name=display_name,
            challenge=self._challenges.new("register", user_id),
            timeout=MILLISECONDS,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED,
                user_verification=UserVerificationRequirement.PREFERRED,
            ),
            exclude_credentials=[descriptor(row) for row in rows],
        )
        return options_to_json_dict(options)

    async def register(
        self, session: AsyncSession, origin: Origin, user_id: str, credential: dict[str, Any], *, name: str
    ) -> RegisteredPasskey:
        """Store a new passkey.

        Args:
            session: the caller's transaction, which holds the user.
            origin: the request's origin.
            user_id: the user.
            credential: what the browser returned, in JSON.
            name: by which the user knows it.

        Raises:
            PasskeyRejected: the response does not verify.
            PasskeyExists: the passkey is registered already, for whatever user.
            TooManyPasskeys: the user has as many as a user may have.
        """
        challenge = challenge_of(credential)
        await self._challenges.use(session, challenge, "register", user_id)
        parsed, verified = self._verify(credential, challenge)
        rows = await rows_of(session, user_id)
        if len(rows) >= MAX_PASSKEYS:
            raise TooManyPasskeys
        same = select(PasskeyRow.id).where(PasskeyRow.credential_id == verified.credential_id)
        if await session.scalar(same) is not None:
            raise PasskeyExists
        row = PasskeyRow(
            id=uuid7(),
            user_id=user_id,
            credential_id=verified.credential_id,
            user_handle=self._handle(user_id, rows),
            public_key=verified.credential_public_key,
            sign_count=verified.sign_count,
            name=name,
            transports=[each.value for each in parsed.response.transports or ()],
            aaguid=UUID(verified.aaguid),
            backup_eligible=verified.credential_device_type is CredentialDeviceType.MULTI_DEVICE,
            backed_up=verified.credential_backed_up,
            created_at=clock.now(),
        )
        session.add(row)
        await session.flush()
        record_passkey(session, origin, "passkey.added", row)
        return RegisteredPasskey(Passkey.of(row), methods_of(row, user_verified=verified.user_verified))

    def _verify(
        self, credential: dict[str, Any], challenge: bytes
    ) -> tuple[RegistrationCredential, VerifiedRegistration]:
        with refusing():
            parsed = parse_registration_credential_json(credential)
            return parsed, verify_registration_response(
                credential=parsed,
                expected_challenge=challenge,
                expected_rp_id=self._party.id,
                expected_origin=list(self._party.origins),
            )

    def _handle(self, user_id: str, rows: list[PasskeyRow]) -> bytes:
        """Return the user's handle: that of the passkeys there are, which outlives a change of the root secret."""
        return rows[0].user_handle if rows else self._challenges.user_handle(user_id)
