"""Settings of Clerk: what `idp config check` refuses and remarks (SEC-18, S3-47)."""

import asyncio
import json

from authn.issuer_support import Issuer, http, running_issuer
from clerk.clerk_support import ISSUER
from cli.support import idp
from idp.dev.clerk_instance import ClerkInstance, new_state
from table_tests import table

GOOD = {"DATABASE_URL": "postgresql://idp:secret@127.0.0.1:1/idp", "IDP_SECRET_KEY": "Xq3vR8nL2pT6wZ9kB4mH7cJ5dF1gS0aY"}


def test_config_check_refuses_what_cannot_be_used() -> None:
    """One sentence each, with the variable; the start says the same."""
    refused = {
        "CLERK_WEBHOOK_SECRET is not a signing secret": {"CLERK_WEBHOOK_SECRET": "whsec_short"},
        "CLERK_JWT_KEY is not a public key in PEM": {"CLERK_ISSUER": ISSUER, "CLERK_JWT_KEY": "no key"},
        "CLERK_PUBLISHABLE_KEY is not a publishable key": {"CLERK_PUBLISHABLE_KEY": "pk_test_…"},
        "CLERK_ISSUER is 'http://clerk.example.com'": {"CLERK_ISSUER": "http://clerk.example.com"},
        "the secret key of the Clerk instance would travel unencrypted": {"CLERK_API_URL": "http://api.example.com"},
    }
    with table() as row:
        for sentence, environ in refused.items():
            with row(sentence):
                done = idp("config", "check", **GOOD, **environ)
                assert done.returncode == 1
                assert sentence in done.stderr


def test_config_check_names_every_setting_that_cannot_be_used() -> None:
    done = idp("config", "check", **GOOD, CLERK_PUBLISHABLE_KEY="pk_test_…", CLERK_WEBHOOK_SECRET="whsec_short")
    for name in ("CLERK_PUBLISHABLE_KEY", "CLERK_WEBHOOK_SECRET"):
        assert f"{name} is not" in done.stderr, done.stderr


def test_config_check_remarks_what_may_not_be_meant() -> None:
    """Roles of administrators by Clerk, tokens of every origin, and no webhook."""
    environ = {"CLERK_ISSUER": ISSUER, "IDP_CLERK__METADATA_ROLES": "admin,analyst"}
    done = idp("config", "check", **GOOD, **environ)
    assert done.returncode == 0, done.stderr
    for words in ("clerk.metadata_roles contains admin", "CLERK_AUTHORIZED_PARTIES is not set", "CLERK_WEBHOOK_SECRET"):
        assert words in done.stderr, words
    no_origin = {"CLERK_ISSUER": ISSUER, "CLERK_AUTHORIZED_PARTIES": "app.example.com"}
    assert "app.example.com, which is not an origin" in idp("config", "check", **GOOD, **no_origin).stderr
    quiet = {"CLERK_AUTHORIZED_PARTIES": "https://app.example.com", "CLERK_WEBHOOK_SECRET": new_state().webhook_secret}
    done = idp("config", "check", **GOOD, **quiet, CLERK_ISSUER=ISSUER)
    assert (done.returncode, "CLERK" in done.stderr) == (0, False)


async def test_config_check_online_fetches_the_keys_of_the_instance() -> None:
    async with running_issuer() as server:
        instance = ClerkInstance(server.url, new_state())
        environ = {"CLERK_ISSUER": server.url, "DATABASE_URL": "postgresql://u:p@127.0.0.1:1/x"}

        async def answer(_issuer: Issuer, path: str) -> bytes:
            return http(json.dumps(instance.jwks()).encode()) if path == "/.well-known/jwks.json" else http(b"no")

        server.answer = answer
        check = ("config", "check", "--online", "--profile", "development")
        assert (await asyncio.to_thread(idp, *check, **environ)).returncode == 0
        instance.jwks = lambda: {"keys": []}  # type: ignore[method-assign]
        done = await asyncio.to_thread(idp, *check, **environ)
        assert (done.returncode, f"The issuer {server.url} cannot be used" in done.stderr) == (1, True)
