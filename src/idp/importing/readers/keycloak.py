"""Keycloak: the JSON of a realm export with users (`kc.sh export --users realm_file`, or `same_file`).

Passwords: PBKDF2 with SHA-256 or SHA-512, and Argon2. Clients, groups and the realm's keys are not read.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from idp.importing.readers import KNOWN_ISSUERS, BadExport, Row, Warn, joined, record
from idp.importing.readers.hashes import argon2, pbkdf2

_BUILT_IN_ROLES = {"offline_access", "uma_authorization"}
_VERSIONS = {"1.0": 16, "1.3": 19}


def records(paths: Sequence[Path], warn: Warn) -> Iterator[Row]:
    """Yield users and identities of realm exports."""
    for path in paths:
        try:
            realm = json.loads(path.read_bytes())
        except ValueError as error:
            raise BadExport(f"{path} is not JSON: {error}") from None
        if not isinstance(realm, dict) or not isinstance(realm.get("users"), list):
            raise BadExport(f"{path} has no `users`: export the realm with its users.")
        for name in ("groups", "clients"):
            if left_out := realm.get(name):
                warn(f"{len(left_out)} {name} are not read")
        for user in realm["users"]:
            if "serviceAccountClientId" in user:
                continue
            if not user.get("email"):
                warn(f"user {user['id']} ({user.get('username')}) has no e-mail address, and cannot sign in here")
            yield _user(user, warn)
            yield from _identities(user, warn)


def _user(user: Row, warn: Warn) -> Row:
    created = user.get("createdTimestamp")
    roles = [role for role in user.get("realmRoles", []) if not _is_built_in(role)]
    return record(
        "user",
        id=user["id"],
        email=user.get("email"),
        name=joined(user.get("firstName"), user.get("lastName")) or user.get("username"),
        password_hash=_password_hash(user, warn),
        email_verified=bool(user.get("emailVerified")),
        roles=roles or None,
        is_active=user.get("enabled", True),
        created_at=datetime.fromtimestamp(created / 1000, UTC).isoformat() if created else None,
    )


def _is_built_in(role: str) -> bool:
    return role in _BUILT_IN_ROLES or role.startswith("default-roles-")


def _password_hash(user: Row, warn: Warn) -> str | None:
    credential = next((each for each in user.get("credentials", []) if each.get("type") == "password"), None)
    if credential is None:
        return None
    try:
        return _hash(json.loads(credential["credentialData"]), json.loads(credential["secretData"]))
    except (KeyError, ValueError, TypeError, IndexError) as error:
        warn(f"{user['id']}: the password is left out: {error}")
        return None


def _hash(facts: Row, secret: Row) -> str:
    algorithm, passes = facts["algorithm"], int(facts["hashIterations"])
    if algorithm in {"pbkdf2-sha256", "pbkdf2-sha512"}:
        return pbkdf2(algorithm.removeprefix("pbkdf2-"), passes, secret["salt"], secret["value"])
    if algorithm != "argon2":
        raise ValueError(f"the algorithm {algorithm} is not supported")
    more: dict[str, Any] = facts["additionalParameters"]
    return argon2(
        more["type"][0],
        version=_VERSIONS[more["version"][0]],
        memory=int(more["memory"][0]),
        passes=passes,
        lanes=int(more["parallelism"][0]),
        salt=secret["salt"],
        value=secret["value"],
    )


def _identities(user: Row, warn: Warn) -> Iterator[Row]:
    for each in user.get("federatedIdentities", []):
        issuer = KNOWN_ISSUERS.get(each["identityProvider"])
        if issuer is None:
            warn(f"{user['id']}: the identity at {each['identityProvider']} is left out: its issuer is not known")
        else:
            yield record("identity", user_id=user["id"], provider=issuer, subject=each["userId"])
