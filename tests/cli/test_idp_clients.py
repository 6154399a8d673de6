"""`idp clients`, against the real service."""

import json
import re
import shutil
import subprocess
from pathlib import Path

from joserfc.jwk import ECKey

from cli.conftest import Served
from cli.support import ROOT, idp


def run(served: Served, *arguments: str) -> subprocess.CompletedProcess[str]:
    return idp("clients", *arguments, **served.environ)


def printed(served: Served, *arguments: str) -> str:
    done = run(served, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_client_is_created_listed_changed_rotated_and_deleted(served: Served) -> None:
    shown = printed(served, "create", "Nightly export", "read", "write")
    found = re.search(r"ID +(\S+)\nSecret +(idp_cs_\S+)\nScopes +read write", shown)
    assert found is not None, shown
    client_id, secret = found.groups()
    assert "not shown again" in shown
    assert client_id in printed(served, "list")
    assert secret not in printed(served, "show", client_id)
    assert json.loads(printed(served, "update", client_id, "--scope", "read", "-o", "json"))["scope"] == "read"
    assert json.loads(printed(served, "rotate-secret", client_id, "-o", "json"))["client_secret"] != secret
    assert "is deleted" in printed(served, "delete", client_id)
    gone = run(served, "show", client_id)
    assert (gone.returncode, gone.stderr.strip()) == (3, "idp: There is no client with this id.")


def test_an_app_is_described_by_options(served: Served, tmp_path: Path) -> None:
    """RFC 7591: what is shown is what was given; `update` keeps the rest."""
    uri, bye = "http://localhost:5173/callback", "http://localhost:5173/"
    made = json.loads(
        printed(
            served, "create", "Spa", "--public", "--redirect-uri", uri, "--post-logout-redirect-uri", bye,
            "--skip-consent", "--id-token-alg", "ES256", "--resource", "https://api.example.com", "-o", "json",
        )
    )  # fmt: skip
    assert made["grant_types"] == ["authorization_code", "refresh_token"]
    assert made["scope"] == "openid profile email offline_access"
    assert (made["token_endpoint_auth_method"], made["skip_consent"]) == ("none", True)
    assert "client_secret" not in made
    shown = printed(served, "show", made["client_id"])
    for fact in ("web, public", uri, bye, "not asked", "https://api.example.com"):
        assert fact in shown
    native = ("--native", "--redirect-uri", "com.example.app:/cb", "--ask-consent", "--grant", "authorization_code")
    changed = json.loads(printed(served, "update", made["client_id"], *native, "-o", "json"))
    assert (changed["application_type"], changed["redirect_uris"]) == ("native", ["com.example.app:/cb"])
    assert (changed["grant_types"], changed["skip_consent"]) == (["authorization_code"], False)
    assert (changed["resources"], changed["post_logout_redirect_uris"]) == (["https://api.example.com"], [bye])
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"keys": [ECKey.generate_key("P-256").as_dict(private=False)]}))
    signing = json.loads(
        printed(served, "create", "Job", "read", "--private-key-jwt", "--jwks", str(keys), "-o", "json")
    )
    assert (signing["token_endpoint_auth_method"], signing["grant_types"]) == (
        "private_key_jwt",
        ["client_credentials"],
    )
    moved = ("update", signing["client_id"], "--jwks-uri", "https://app.example.com/jwks", "-o", "json")
    assert "jwks" not in json.loads(printed(served, *moved))


def test_options_that_do_not_fit_are_refused_in_a_sentence(served: Served, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text("[]")
    for options, sentence in (
        (("--public", "--private-key-jwt"), "exclude each other"),
        (("--public",), "--public and --native need --redirect-uri"),
        (("--jwks", str(file)), "is not a JSON object"),
        (("--redirect-uri", "javascript:alert(1)"), "The scheme javascript is not allowed."),
    ):
        done = run(served, "create", "Odd", *options)
        assert done.returncode != 0
        assert sentence in " ".join(done.stderr.replace("│", " ").split())


def test_a_reserved_scope_is_explained(served: Served) -> None:
    done = run(served, "create", "Greedy", "idp:manage")
    assert done.returncode != 0
    assert "Only service tokens can have idp:manage." in done.stderr


def test_the_difference_from_the_declared_clients_is_shown(served: Served, tmp_path: Path) -> None:
    """Exit code 1, as for `idp clerk diff`; without a difference a sentence."""
    folder = tmp_path / "config"
    shutil.copytree(ROOT / "config", folder)
    environ = {**served.environ, "IDP_CONFIG_DIR": str(folder)}
    same = idp("clients", "diff", **environ)
    assert (same.returncode, same.stderr) == (0, "")
    assert "clients.toml declares no clients" in same.stdout
    (folder / "clients.toml").write_text("[clients.shop]\nscope = 'read'\nclient_secret_env = 'NOT_SET_HERE'\n")
    differs = idp("clients", "diff", "-o", "json", **environ)
    assert differs.returncode == 1
    assert json.loads(differs.stdout) == [{"client_id": "shop", "member": None, "declared": "shop", "actual": None}]
    (folder / "clients.toml").write_text("[clients.shop]\nscop = 'read'\n")
    wrong = idp("clients", "diff", **environ)
    assert (wrong.returncode, "did you mean scope?" in wrong.stderr) == (1, True)
