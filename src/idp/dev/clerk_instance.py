"""A stand-in for a Clerk instance: its users, its events and its session tokens, as Clerk makes them.

Development and tests use it instead of an account and a tunnel. It signs with keys of its own, which only `idp dev`
trusts.
"""

import base64
import copy
import json
import secrets
import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from msgspec import Struct, field

from idp.signing import base64url, raw_signature

INSTANCE_ID = "ins_dev"
SESSION_CATEGORY = "cl_B7d4PD111AAA"
_LIFE = 60  # seconds, of a session token
Json = dict[str, Any]


class InstanceState(Struct):
    """What `idp dev` keeps of the stand-in between commands.

    Attributes:
        private_key: PEM.
        webhook_secret: `whsec_…`.
        secret_key: `sk_test_…`, for the list API.
        users: by id, as the list API returns them, oldest first.
        last_ms: the time of the last change; the next one is later.
    """

    private_key: str
    webhook_secret: str
    secret_key: str
    users: dict[str, Json] = field(default_factory=dict)
    last_ms: int = 0


def new_state() -> InstanceState:
    """Return an instance without users, with new keys."""
    key = generate_private_key(public_exponent=65537, key_size=2048)
    return InstanceState(
        private_key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        webhook_secret=f"whsec_{base64.b64encode(secrets.token_bytes(24)).decode()}",
        secret_key=f"sk_test_{secrets.token_urlsafe(30)}",
    )


class ClerkInstance:
    """A Clerk instance.

    Args:
        issuer: its frontend API URL.
        state: its keys and users, changed in place.
    """

    def __init__(self, issuer: str, state: InstanceState) -> None:
        self.issuer = issuer
        self.state = state
        key = load_pem_private_key(state.private_key.encode(), password=None)
        assert isinstance(key, RSAPrivateKey)
        self._key = key

    # --- users -------------------------------------------------------------------------------------------------------

    def create(self, *, user_id: str | None = None, email: str | None = None, **members: Any) -> Json:
        """Create a user, and return the event.

        Args:
            user_id: the id; random by default.
            email: the verified primary address; None for a user with a phone number only.
            members: of the user, such as `first_name`, `public_metadata` or `banned`.
        """
        user = _new_user(user_id or f"user_{secrets.token_hex(13)}", self._now())
        user |= _with_email(email, user["created_at"]) | members
        self.state.users[user["id"]] = user
        return self._event("user.created", user)

    def update(self, user_id: str, *, email: str | None = None, **members: Any) -> Json:
        """Change a user, and return the event.

        Raises:
            KeyError: there is no such user.
        """
        user = self.state.users[user_id]
        now = self._now()
        user |= (_with_email(email, now) if email is not None else {}) | members | {"updated_at": now}
        return self._event("user.updated", user)

    def delete(self, user_id: str) -> Json:
        """Delete a user, and return the event.

        Raises:
            KeyError: there is no such user.
        """
        del self.state.users[user_id]
        self._now()
        return self._event("user.deleted", {"deleted": True, "id": user_id, "object": "user"})

    def listed(self, *, limit: int, offset: int) -> list[Json]:
        """Return a page of users, oldest first."""
        return list(self.state.users.values())[offset : offset + limit]

    def _event(self, kind: str, data: Json) -> Json:
        return {
            "data": copy.deepcopy(data),
            "event_attributes": {"http_request": {"client_ip": "127.0.0.1", "user_agent": "idp dev"}},
            "instance_id": INSTANCE_ID,
            "object": "event",
            "timestamp": self.state.last_ms,
            "type": kind,
        }

    def _now(self) -> int:
        self.state.last_ms = max(int(time.time() * 1000), self.state.last_ms + 1)
        return self.state.last_ms

    # --- tokens ------------------------------------------------------------------------------------------------------

    def session_token(self, user_id: str, *, header: Json | None = None, **claims: Any) -> str:
        """Return a session token of version 2.

        Args:
            user_id: whose session.
            header: further members of the header; None leaves one out.
            claims: further claims; None leaves one out.
        """
        now = int(time.time())
        usual = {
            "azp": "http://localhost:5173",
            "exp": now + _LIFE,
            "fva": [0, -1],
            "iat": now,
            "iss": self.issuer,
            "jti": secrets.token_hex(10),
            "nbf": now - 10,
            "sid": f"sess_{secrets.token_hex(13)}",
            "sts": "active",
            "sub": user_id,
            "v": 2,
        }
        head = {"alg": "RS256", "cat": SESSION_CATEGORY, "kid": INSTANCE_ID, "typ": "JWT"} | (header or {})
        signed = f"{_encoded(head)}.{_encoded(usual | claims)}"
        signature = raw_signature.sign(signed.encode(), self._key, "RS256")
        return f"{signed}.{base64url.encode(signature)}"

    @property
    def public_key(self) -> str:
        """The public key in PEM, as Clerk's dashboard shows it."""
        public = self._key.public_key()
        return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def jwks(self) -> Json:
        """Return the published keys (RFC 7517)."""
        numbers = self._key.public_key().public_numbers()
        return {
            "keys": [
                {
                    "use": "sig",
                    "kty": "RSA",
                    "kid": INSTANCE_ID,
                    "alg": "RS256",
                    "n": _encoded_number(numbers.n),
                    "e": _encoded_number(numbers.e),
                }
            ]
        }


def _encoded(members: Json) -> str:
    given = {name: value for name, value in members.items() if value is not None}
    return base64url.encode(json.dumps(given).encode())


def _encoded_number(number: int) -> str:
    return base64url.encode(number.to_bytes((number.bit_length() + 7) // 8))


def _new_user(user_id: str, now: int) -> Json:
    absent: tuple[str, ...] = (
        "primary_phone_number_id",
        "primary_web3_wallet_id",
        "mfa_enabled_at",
        "mfa_disabled_at",
        "locale",
    )
    absent += ("lockout_expires_in_seconds", "verification_attempts_remaining", "legal_accepted_at", "last_active_at")
    empty = ("web3_wallets", "passkeys", "saml_accounts", "enterprise_accounts", "organization_memberships")
    off = ("totp_enabled", "backup_code_enabled", "delete_self_enabled", "create_organization_enabled")
    return {
        **dict.fromkeys(absent),
        **{name: [] for name in empty},
        **dict.fromkeys(off, False),
        "id": user_id,
        "object": "user",
        "username": None,
        "first_name": None,
        "last_name": None,
        "image_url": "https://img.clerk.com/default",
        "has_image": False,
        "primary_email_address_id": None,
        "email_addresses": [],
        "phone_numbers": [],
        "external_accounts": [],
        "external_id": None,
        "password_enabled": True,
        "two_factor_enabled": False,
        "public_metadata": {},
        "private_metadata": {},
        "unsafe_metadata": {},
        "banned": False,
        "locked": False,
        "last_sign_in_at": None,
        "created_at": now,
        "updated_at": now,
    }


def _with_email(email: str | None, now: int) -> Json:
    if email is None:
        return {"email_addresses": [], "primary_email_address_id": None}
    address_id = f"idn_{secrets.token_hex(13)}"
    address = {
        "id": address_id,
        "object": "email_address",
        "email_address": email,
        "linked_to": [],
        "reserved": False,
        "created_at": now,
        "updated_at": now,
        "verification": {
            "object": "verification_otp",
            "status": "verified",
            "strategy": "email_code",
            "attempts": 1,
            "expire_at": None,
        },
    }
    return {"email_addresses": [address], "primary_email_address_id": address_id}
