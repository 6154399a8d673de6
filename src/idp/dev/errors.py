"""The one error of the embedded servers."""


class EmbeddedError(Exception):
    """An embedded server cannot run. The message is for a person: what was seen, and what to do."""


class FolderInUse(EmbeddedError):
    """Another process has locked the data folder."""
