"""Authenticator apps of another service go on here: the same codes, asked for at the first sign-in."""

import hashlib
import json
import secrets
from pathlib import Path
from typing import Any

import argon2
import pyotp
import pytest

from cli.support import idp
from factories import PASSWORD, Service
from factors.phone import prove
from importing.import_support import codes, do_import, numbers, user, write
from secret_scan import secrets_seen

_HASH = argon2.PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(PASSWORD)


def import_with_secret(service: Service, file: Path, *options: str, code: int = 0) -> dict[str, Any]:
    """Import with the root secret of the service."""
    root = service.loaded.settings.secrets.secret_key
    assert root is not None
    environ = {"DATABASE_URL": service.database_url, "IDP_SECRET_KEY": root.reveal()}
    done = idp("import", str(file), "-o", "json", *options, **environ)
    assert done.returncode == code, done
    return dict(json.loads(done.stdout))


def new_user(**totp: Any) -> dict[str, Any]:
    tag = secrets.token_hex(8)
    known = {"email": f"{tag}@example.com", "email_verified": True, "password_hash": _HASH}
    return user(f"u-{tag}", **known, totp=totp)


@pytest.mark.parametrize(
    ("more", "app"),
    [
        ({}, {}),
        ({"algorithm": "SHA256", "digits": 8, "period": 60}, {"digest": hashlib.sha256, "digits": 8, "interval": 60}),
    ],
)
async def test_a_user_signs_in_with_the_codes_of_the_app_that_they_had(
    service: Service, tmp_path: Path, more: dict[str, Any], app: dict[str, Any]
) -> None:
    secret = pyotp.random_base32()
    secrets_seen.add(secret, "TOTP secret")
    grouped = " ".join(secret[at : at + 4].lower() for at in range(0, len(secret), 4))
    person = new_user(secret=grouped, **more)
    report = import_with_secret(service, write(tmp_path / "a", person))
    assert numbers(report) == (1, 0, 0, 0)
    body = {"email": person["email"], "password": PASSWORD}
    answer = await service.client.post("/auth/login", json=body)
    assert answer.json()["methods"] == ["totp"], answer.text
    code = pyotp.TOTP(secret, **app).now()
    assert (await prove(service, answer.json()["pending_token"], code)).status_code == 200


async def test_nobody_is_imported_without_the_second_factor_that_they_have(service: Service, tmp_path: Path) -> None:
    person = new_user(secret=pyotp.random_base32())
    report = do_import(service, write(tmp_path / "a", person), "--on-conflict", "skip")
    assert codes(report) == [(2, "totp_refused")]
    short = new_user(secret="JBSWY3DP")
    report = import_with_secret(service, write(tmp_path / "b", short), "--on-conflict", "skip")
    assert codes(report) == [(2, "totp_refused")]
    assert await service.sql("SELECT 1 FROM idp.users WHERE id = ANY($1)", [person["id"], short["id"]]) == []


async def test_another_import_brings_back_no_app_that_was_removed_here(service: Service, tmp_path: Path) -> None:
    person = new_user(secret=pyotp.random_base32())
    import_with_secret(service, write(tmp_path / "a", person))
    await service.sql("DELETE FROM idp.totp_secrets WHERE user_id = $1", person["id"])
    import_with_secret(service, write(tmp_path / "b", person | {"name": "Other", "updated_at": "2026-02-02T00:00:00Z"}))
    assert await service.sql("SELECT 1 FROM idp.totp_secrets WHERE user_id = $1", person["id"]) == []
