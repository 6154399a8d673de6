"""An authenticator in software, by the library fido2: it registers and signs as a browser and a security key would."""

import json
import secrets
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from fido2.cose import ES256
from fido2.utils import sha256, websafe_decode, websafe_encode
from fido2.webauthn import AttestationObject, AttestedCredentialData, AuthenticatorData

Flag = AuthenticatorData.FLAG


@dataclass
class Authenticator:
    """A security key with one passkey.

    Attributes:
        origin: of the page that uses it.
        verifies: whether it verifies its user, such as by a PIN.
        counts: whether it has a signature counter; the passkeys of phones have none.
        synced: whether its passkey is copied to other devices.
    """

    origin: str
    verifies: bool = True
    counts: bool = True
    synced: bool = False
    counter: int = 0
    credential_id: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    user_handle: str | None = None

    def create(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return what `navigator.credentials.create(options)` does, as JSON."""
        self.user_handle = options["user"]["id"]
        attested = AttestedCredentialData.create(
            b"\x00" * 16, self.credential_id, ES256.from_cryptography_key(self.key.public_key())
        )
        data = AuthenticatorData.create(
            sha256(options["rp"]["id"].encode()), self._flags() | Flag.AT, self._count(), attested
        )
        client_data = self._client_data("webauthn.create", options["challenge"])
        attestation = AttestationObject.create("none", data, {})
        response = {
            "clientDataJSON": websafe_encode(client_data),
            "attestationObject": websafe_encode(attestation),
            "transports": ["usb", "a-new-transport"],
        }
        return self._credential(response)

    def get(self, options: dict[str, Any], **changed: Any) -> dict[str, Any]:
        """Return what `navigator.credentials.get(options)` does, as JSON; `changed` members of the response."""
        data = AuthenticatorData.create(sha256(options["rpId"].encode()), self._flags(), self._count())
        client_data = self._client_data("webauthn.get", options["challenge"])
        signature = self.key.sign(data + sha256(client_data), ec.ECDSA(hashes.SHA256()))
        response = {
            "clientDataJSON": websafe_encode(client_data),
            "authenticatorData": websafe_encode(data),
            "signature": websafe_encode(signature),
            "userHandle": self.user_handle,
        }
        return self._credential(response | changed)

    def _credential(self, response: dict[str, Any]) -> dict[str, Any]:
        name = websafe_encode(self.credential_id)
        return {
            "id": name,
            "rawId": name,
            "type": "public-key",
            "response": response,
            "clientExtensionResults": {},
            "authenticatorAttachment": "cross-platform",
        }

    def _flags(self) -> Flag:
        flags = Flag.UP
        if self.verifies:
            flags |= Flag.UV
        if self.synced:
            flags |= Flag.BE | Flag.BS
        return flags

    def _count(self) -> int:
        self.counter += self.counts
        return self.counter

    def _client_data(self, kind: str, challenge: str) -> bytes:
        assert websafe_decode(challenge)
        data = {"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": False}
        return json.dumps(data).encode()
