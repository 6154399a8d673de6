"""An authenticator plugin as installed: a wheel, an entry point, a setting, and `idp serve`."""

import hashlib
import hmac
import json
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path

import httpx2
import pytest

import idp
from authn.gateway_plugin import EXAMPLE, Gateway, build_wheel, config_with_gateway
from factories import root_secret
from idp.authn.plugins import GROUP, load_plugins
from idp.dev.embedded import EmbeddedPostgres
from idp.settings import SettingsError
from idp.settings_schema import Authn

ISSUER = "https://id.example.com"
START_SECONDS = 60


def assertion(gateway: Gateway, user_id: str, *, seconds: int = 30, issuer: str = ISSUER) -> str:
    """Return what the gateway would send."""
    expiry = int(time.time()) + seconds
    said = f"{issuer}\n{user_id}\n{expiry}".encode()
    return f"{user_id}.{expiry}.{hmac.new(gateway.secret.encode(), said, hashlib.sha256).hexdigest()}"


@pytest.fixture(scope="module")
def environ(postgres: EmbeddedPostgres, gateway: Gateway) -> dict[str, str]:
    """What one deployment's environment holds; `idp` is importable, the plugin is not."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(idp.__file__).parents[1]),
        "DATABASE_URL": postgres.create_database("plugin"),
        "IDP_SECRET_KEY": root_secret(),
        "IDP_PUBLIC_URL": ISSUER,
        "IDP_CONFIG_DIR": str(gateway.config),
        "RUN_MIGRATIONS": "true",
    }


def installed(environ: Mapping[str, str], site: Path) -> dict[str, str]:
    return {**environ, "PYTHONPATH": os.pathsep.join([environ["PYTHONPATH"], str(site)])}


def serve(environ: Mapping[str, str]) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "idp.cli.main", "serve", "--host", "127.0.0.1", "--port", "0"]
    return subprocess.Popen(command, env=dict(environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@contextmanager
def serving(environ: Mapping[str, str]) -> Iterator[httpx2.Client]:
    """Run `idp serve` and talk to it."""
    process = serve(environ)
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line.startswith("{") and json.loads(line)["event"] == "serving":
                break
        else:
            pytest.fail(f"it did not start: {process.communicate()[1]}")
        with httpx2.Client(base_url=json.loads(line)["address"], timeout=20) as client:
            yield client
    finally:
        process.terminate()
        process.communicate(timeout=20)


def refusal(environ: Mapping[str, str]) -> str:
    """Run `idp serve`, which must exit by itself with code 1, and return what it said."""
    process = serve(environ)
    try:
        _, said = process.communicate(timeout=START_SECONDS)
    finally:
        process.kill()
    assert process.returncode == 1, said
    assert "Traceback" not in said
    assert len(said.strip().splitlines()) == 1, "one sentence"
    return said


def me(client: httpx2.Client, text: str | None, **headers: str) -> tuple[int, str]:
    """Ask who I am with this assertion, and return the status with the id or the code."""
    sent = headers if text is None else {"X-Gateway-Assertion": text, **headers}
    answer = client.get("/auth/me", headers=sent)
    return answer.status_code, answer.json()["id" if answer.status_code == 200 else "code"]


def register(client: httpx2.Client, email: str) -> tuple[str, str]:
    """Return the id and a token of a new user."""
    body = {"email": email, "password": "correct horse battery", "name": "Pat Person"}
    answer = client.post("/auth/register", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["user_id"], answer.json()["access_token"]


def test_an_installed_package_alone_changes_nothing(environ: Mapping[str, str], gateway: Gateway) -> None:
    """`authn.plugins` does not name it: it is not even loaded, and its header means nothing."""
    with serving(installed(environ, gateway.site)) as client:
        user_id, token = register(client, "not-named@example.com")
        assert me(client, assertion(gateway, user_id)) == (401, "unauthenticated")
        assert me(client, "rubbish") == (401, "unauthenticated")
        assert me(client, "rubbish", Authorization=f"Bearer {token}") == (200, user_id)


def test_a_configured_plugin_package_authenticates(environ: Mapping[str, str], gateway: Gateway) -> None:
    """The whole life of an assertion over HTTP: good, tampered with, expired, foreign, beside a credential."""
    named = installed(environ, gateway.site) | {"IDP_AUTHN__PLUGINS": "gateway"}
    with serving(named) as client:
        user_id, _ = register(client, "named@example.com")
        other_id, other_token = register(client, "other@example.com")
        good = assertion(gateway, user_id)
        assert me(client, good) == (200, user_id)

        signature = good.rsplit(".", 1)[1]
        changed = signature[:-1] + ("0" if signature[-1] != "0" else "1")
        assert me(client, good.replace(user_id, other_id)) == (401, "token_invalid")
        assert me(client, good.replace(signature, changed)) == (401, "token_invalid")
        assert me(client, "rubbish") == (401, "token_invalid")
        assert me(client, assertion(gateway, user_id, seconds=-1)) == (401, "token_expired")
        assert me(client, assertion(gateway, user_id, seconds=3600)) == (401, "token_invalid")
        assert me(client, assertion(gateway, user_id, issuer="https://staging.example.com")) == (401, "token_invalid")
        assert me(client, assertion(gateway, "nobody")) == (401, "token_not_found")

        assert me(client, good, Authorization=f"Bearer {other_token}") == (200, other_id)
        assert me(client, good, Authorization="Bearer rubbish") == (401, "credential_unrecognised")
        assert me(client, None) == (401, "unauthenticated")

        refused = client.post("/teams", headers={"X-Gateway-Assertion": good}, json={"name": "Mine"})
        assert (refused.status_code, refused.json()["code"]) == (403, "admin_required")


def test_a_package_that_is_named_and_not_installed_stops_the_start(environ: Mapping[str, str]) -> None:
    """Exit code 1 and one sentence that says what to do: never a service with an authenticator fewer."""
    said = refusal({**environ, "IDP_AUTHN__PLUGINS": "gateway"})
    assert "authn.plugins lists 'gateway'" in said
    assert "no installed package provides" in said


def test_the_error_for_a_misspelt_name_lists_the_known_ones(environ: Mapping[str, str], gateway: Gateway) -> None:
    said = refusal(installed(environ, gateway.site) | {"IDP_AUTHN__PLUGINS": "gatway"})
    assert "authn.plugins lists 'gatway'" in said
    assert "(available: gateway)" in said


def test_a_package_that_cannot_be_built_stops_the_start_with_its_own_words(
    environ: Mapping[str, str], gateway: Gateway, tmp_path: Path
) -> None:
    """Its secret is too short: the plugin's own sentence reaches the operator, and the secret does not."""
    config = config_with_gateway(tmp_path, "too short")
    named = installed(environ, gateway.site) | {"IDP_AUTHN__PLUGINS": "gateway", "IDP_CONFIG_DIR": str(config)}
    said = refusal(named)
    assert "The authenticator 'gateway' cannot be built: secret_file must name a file" in said
    assert "too short" not in said


def test_the_wheel_holds_one_module_and_the_entry_point(installed_gateway: Gateway) -> None:
    names = zipfile.ZipFile(installed_gateway.wheel).namelist()
    assert [name for name in names if ".dist-info/" not in name] == ["idp_gateway_authenticator.py"]
    assert "idp_gateway_authenticator-1.0.0.dist-info/entry_points.txt" in names
    (point,) = entry_points(group=GROUP, name="gateway")
    assert point.value == "idp_gateway_authenticator:build"


def test_two_packages_that_offer_one_name_stop_the_start(
    installed_gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the order of folders on a path would choose who answers for who is calling."""
    impostor = tmp_path / "impostor-1.0.dist-info"
    impostor.mkdir()
    (impostor / "METADATA").write_text("Metadata-Version: 2.1\nName: impostor\nVersion: 1.0\n")
    (impostor / "entry_points.txt").write_text(f"[{GROUP}]\ngateway = impostor:build\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SettingsError, match=r"idp-gateway-authenticator, impostor\): uninstall all but one"):
        load_plugins(Authn(plugins=("gateway",)), issuer=ISSUER)
    assert load_plugins(Authn(), issuer=ISSUER) == [], "not named: not even looked at"


def test_the_readmes_shell_lines_make_an_assertion_that_is_accepted(
    environ: Mapping[str, str], gateway: Gateway, tmp_path: Path
) -> None:
    """The README is true: its own `openssl` lines, run by a shell."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed here")
    (block,) = re.findall(r"```sh\n(.*?)```", (EXAMPLE / "README.md").read_text(), re.DOTALL)
    named = installed(environ, gateway.site) | {"IDP_AUTHN__PLUGINS": "gateway"}
    with serving(named) as client:
        user_id, _ = register(client, "readme@example.com")
        script = re.sub(r"user=\S+", f"user={user_id}", block)
        script = script.replace("/run/secrets/gateway", str(gateway.config / "gateway.secret"))
        script = re.sub(r'curl -H "X-Gateway-Assertion: (.*)" ".*"', r'printf %s "\1"', script)
        made = subprocess.check_output(["sh", "-c", script], env={**os.environ, "ISSUER": ISSUER}, text=True)
        assert me(client, made) == (200, user_id)


def test_the_example_stays_small() -> None:
    """It is there to be read."""
    lines = (EXAMPLE / "idp_gateway_authenticator.py").read_text().splitlines()
    assert len(lines) <= 70
    assert len((EXAMPLE / "README.md").read_text().splitlines()) <= 45


def test_the_wheel_can_be_built_again_and_is_the_same(gateway: Gateway, tmp_path: Path) -> None:
    """Reproducible: what is reviewed is what is installed."""
    assert build_wheel(tmp_path).read_bytes() == gateway.wheel.read_bytes()
