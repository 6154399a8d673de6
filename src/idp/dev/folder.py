"""The data folder of `idp dev`: secrets, passwords and tokens of personas, and `dev.json`."""

import os
import secrets
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from idp.dev.cluster import find_home, locked
from idp.dev.embedded import EmbeddedError, remove_data
from idp.dev.kept_password import KeptPassword
from idp.dev.server_user import ServerUser
from idp.settings import Secret

if TYPE_CHECKING:  # a heavy import that `--fresh` does not need
    from idp.dev.personas import Persona


class DevFolder:
    """Data that `idp dev` keeps between starts, readable only by its owner."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._facts = path / "dev.json"
        self._tokens = path / "tokens"

    def clear(self) -> None:
        """Delete everything (`--fresh`)."""
        remove_data(self.path)
        self.clear_discovery()
        for name in (
            "secret_key",
            "admin_token",
            "passwords.json",
            "clerk.json",
            "upstream_key.pem",
            "upstream_client_secret",
        ):
            (self.path / name).unlink(missing_ok=True)

    def remove_stale_discovery(self) -> None:
        """Remove `dev.json` of a killed run.

        Raises:
            EmbeddedError: another process uses the folder, or it cannot be written.
        """
        with locked(find_home(self.path, ServerUser.for_servers())):
            self.clear_discovery()

    def secret_key(self) -> Secret:
        """Return this folder's root secret; generate it the first time."""
        return self._secret("secret_key")

    def admin_token(self) -> Secret:
        """Return this folder's ADMIN_TOKEN, used if the environment has none; generate it the first time."""
        return self._secret("admin_token")

    def upstream_client_secret(self) -> Secret:
        """Return our client secret at Example Corp; generate it the first time."""
        return self._secret("upstream_client_secret")

    def kept_admin_token(self, token: Secret) -> Path | None:
        """Return the file of this ADMIN_TOKEN, None if it comes from the environment."""
        file = self.path / "admin_token"
        return file if file.exists() and self._secret("admin_token") == token else None

    def _secret(self, name: str) -> Secret:
        file = self.path / name
        if not file.exists():
            _write(file, secrets.token_urlsafe(48))
        try:
            return Secret(file.read_text("utf-8").strip())
        except OSError as error:
            raise EmbeddedError(f"{file} cannot be read ({error.strerror}): run as its owner.") from None

    def passwords(self) -> dict[str, KeptPassword]:
        """Return the personas' passwords of earlier starts, by e-mail."""
        try:
            return msgspec.json.decode((self.path / "passwords.json").read_bytes(), type=dict[str, KeptPassword])
        except (OSError, msgspec.DecodeError):
            return {}

    def keep_passwords(self, personas: "Sequence[Persona]", known: Mapping[str, KeptPassword]) -> None:
        """Store the passwords for the next start, including those of personas missing in this one."""
        kept = {**known, **{each.email: KeptPassword(each.password, each.password_version) for each in personas}}
        _write(self.path / "passwords.json", _json(kept))

    def token_files(self, personas: "Sequence[Persona]") -> dict[str, Path]:
        """Return the token file of each persona by e-mail, with short names if unique."""
        short = Counter(_file_name(persona.email.partition("@")[0]) for persona in personas)
        names = {}
        for persona in personas:
            name = _file_name(persona.email.partition("@")[0])
            names[persona.email] = self._tokens / (name if short[name] == 1 else _file_name(persona.email))
        return names

    def write_discovery(self, facts: Mapping[str, Any], personas: "Sequence[Persona]") -> None:
        """Write the tokens and `dev.json`; the service already answers then."""
        self._tokens.mkdir(mode=0o700, exist_ok=True)
        files = self.token_files(personas)
        for persona in personas:
            _write(files[persona.email], persona.access_token)
        _write(self._facts, _json({**facts, "personas": [_shown(persona) for persona in personas]}))

    def clear_discovery(self) -> None:
        """Remove `dev.json` and the tokens after the service stopped."""
        self._facts.unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            shutil.rmtree(self._tokens)


def _shown(persona: "Persona") -> dict[str, Any]:
    shown = msgspec.structs.asdict(persona)
    for name in ("leads", "password_version", "restored"):  # not for `dev.json`
        del shown[name]
    return shown


def _file_name(text: str) -> str:
    return text.replace("/", "_").lstrip(".") or "_"


def _json(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"


def _write(file: Path, text: str) -> None:
    """Write a private file atomically.

    Raises:
        EmbeddedError: it cannot be written.
    """
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        draft.unlink(missing_ok=True)  # left by a killed process with the same pid
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
        draft.replace(file)
    except OSError as error:
        raise EmbeddedError(
            f"{file} cannot be written ({error.strerror}): free disk space, or choose another folder with --data-dir."
        ) from None
