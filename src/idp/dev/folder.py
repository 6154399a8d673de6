"""The data folder of `idp dev`: its root secret, the personas' passwords and tokens, and `dev.json`."""

import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from idp.dev.embedded import remove_data
from idp.dev.personas import Persona
from idp.settings import Secret


class DevFolder:
    """Everything that `idp dev` keeps between two starts, readable by its owner alone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._facts = path / "dev.json"
        self._tokens = path / "tokens"

    def clear(self) -> None:
        """Forget everything (`--fresh`)."""
        remove_data(self.path)
        self.announce_nothing()
        for name in ("secret_key", "passwords.json"):
            (self.path / name).unlink(missing_ok=True)

    def secret_key(self) -> Secret:
        """Return this folder's root secret; make it the first time."""
        file = self.path / "secret_key"
        if not file.exists():
            _write(file, secrets.token_urlsafe(48))
        return Secret(file.read_text("utf-8").strip())

    def passwords(self) -> dict[str, str]:
        """Return the personas' passwords of earlier starts, by e-mail."""
        try:
            return msgspec.json.decode((self.path / "passwords.json").read_bytes(), type=dict[str, str])
        except (OSError, msgspec.DecodeError):
            return {}

    def keep_passwords(self, personas: Sequence[Persona]) -> None:
        """Keep them for the next start."""
        _write(self.path / "passwords.json", _json({persona.email: persona.password for persona in personas}))

    def token_file(self, persona: Persona) -> Path:
        """Return where a persona's token is, to be read by `$(cat …)`."""
        return self._tokens / persona.email.partition("@")[0]

    def announce(self, facts: Mapping[str, Any], personas: Sequence[Persona]) -> None:
        """Write the tokens and `dev.json`; whoever waits for that file finds a service that answers."""
        self._tokens.mkdir(mode=0o700, exist_ok=True)
        for persona in personas:
            _write(self.token_file(persona), persona.access_token)
        _write(self._facts, _json({**facts, "personas": personas}))

    def announce_nothing(self) -> None:
        """Take `dev.json` and the tokens away: nothing answers at those addresses any more."""
        self._facts.unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            shutil.rmtree(self._tokens)


def _json(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"


def _write(file: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
    draft.replace(file)
