"""What production refuses beside secrets: see tests/test_settings.py for those."""

import secrets

import pytest

from idp.settings import SettingsError, load
from idp.settings_safety import refuse_unsafe

KEY = secrets.token_urlsafe(48)


def refused(**environ: str) -> str:
    safe = {"DATABASE_URL": "postgresql://db/idp", "IDP_SECRET_KEY": secrets.token_urlsafe(48)}
    with pytest.raises(SettingsError) as caught:
        refuse_unsafe(load("production", environ=safe | environ).settings)
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize("network", ["*", "0.0.0.0/0", "::/0", "10.0.0.1/8", "foo"])
def test_trusting_everybody_or_nobody_as_a_proxy_is_refused(network: str) -> None:
    """SEC-8: whoever is trusted chooses the address they are counted by."""
    problem = refused(IDP_TRUSTED_PROXIES=f"10.1.0.0/16,{network}")
    assert problem.startswith("IDP_TRUSTED_PROXIES holds ")
    assert network in problem


@pytest.mark.parametrize("origin", ["*", "https://*.example.com", "null", "example.com", "https://a.example/path"])
def test_only_exact_origins_are_accepted(origin: str) -> None:
    """S3-50 SEC-78 C-22."""
    assert "AUTH_API_CORS_ORIGINS holds" in refused(AUTH_API_CORS_ORIGINS=f"https://app.example.com,{origin}")


@pytest.mark.parametrize("name", ["IDP_SECRET_KEY", "ADMIN_TOKEN"])
def test_a_secret_that_siblings_hold_is_no_key_to_this_service(name: str) -> None:
    """C-06 C-09."""
    assert refused(**{"AUTH_JWT_SECRET_KEY": KEY, name: KEY}).startswith(f"{name} is also a shared JWT secret")


@pytest.mark.parametrize("value", ["abcdeghijk" * 4, "Zx9" * 14])
def test_a_piece_over_and_over_is_no_secret(value: str) -> None:
    """SEC-11."""
    assert "looks like a placeholder or a pattern" in refused(ADMIN_TOKEN=value)


def test_what_is_safe_is_accepted() -> None:
    environ = {
        "DATABASE_URL": "postgresql://db/idp",
        "IDP_SECRET_KEY": KEY,
        "AUTH_JWT_SECRET_KEY": secrets.token_hex(32),
        "IDP_TRUSTED_PROXIES": "10.0.0.0/8,192.0.2.1",
        "AUTH_API_CORS_ORIGINS": "https://app.example.com,http://localhost:5173",
    }
    assert refuse_unsafe(load("production", environ=environ).settings) is None
