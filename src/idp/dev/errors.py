"""Errors of the embedded servers."""


class EmbeddedError(Exception):
    """An embedded server cannot run. The message states the problem and the remedy."""


class FolderInUse(EmbeddedError):
    """Another process has locked the data folder."""
