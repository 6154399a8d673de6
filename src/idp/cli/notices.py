"""Notices on stderr, printed only on a terminal."""

import sys


def remark(sentence: str) -> None:
    """Print which service or database a command uses, if it may not be the expected one."""
    if sys.stderr is not None and sys.stderr.isatty():
        print(f"idp: {sentence}", file=sys.stderr)
