"""Where a command writes: whatever the terminal can show and whoever stops reading, it ends in a sentence at most."""

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_BROKEN_PIPE = 141  # what a shell says of a program that SIGPIPE ended


class _Closed(io.TextIOBase):
    """Takes the place of a standard stream that was closed, and remembers whether anything got lost."""

    encoding = "utf-8"
    lost = False

    def write(self, text: str) -> int:
        self.lost = self.lost or bool(text)
        return len(text)

    def fileno(self) -> int:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))


@contextmanager
def lasting_streams() -> Iterator[None]:
    """Run a command with streams that it can write to, and end it properly where nobody takes what it writes.

    A character that the terminal's encoding lacks is escaped; a reader that went away (`… | head -1`) ends the command
    without a word; a full disk or a closed stream is one sentence and exit code 1.
    """
    _occupy_closed_descriptors()
    closed = _Closed()
    if sys.stdout is None:
        sys.stdout = closed
    if sys.stderr is None:
        sys.stderr = _Closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        sys.exit(_BROKEN_PIPE)
    except SystemExit:
        _flush()
        if closed.lost:
            _complain(os.strerror(errno.EBADF))
        raise
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EBADF}:
            raise
        _drop_output()
        _complain(error.strerror or "")
    if closed.lost:
        _complain(os.strerror(errno.EBADF))


def _flush() -> None:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        sys.exit(_BROKEN_PIPE)
    except OSError as error:
        _drop_output()
        _complain(error.strerror or "")


def _complain(why: str) -> None:
    with suppress(OSError, ValueError):
        print(f"idp: The output cannot be written ({why}): give it a place, such as a file.", file=sys.stderr)
    sys.exit(1)


def _drop_output() -> None:
    """Let Python end without trying once more to write what is left."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError, ValueError):
        os.dup2(nowhere, sys.stdout.fileno())


def _occupy_closed_descriptors() -> None:
    """Keep the next file or socket from taking the number of a standard stream that was closed."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
