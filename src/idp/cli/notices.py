"""Remarks on stderr for the person at the terminal; a script that pipes the output does not get them."""

import sys


def remark(sentence: str) -> None:
    """Say which service or database a command uses, where that may not be the expected one."""
    if sys.stderr is not None and sys.stderr.isatty():
        print(f"idp: {sentence}", file=sys.stderr)
