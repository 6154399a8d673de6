"""Robust standard streams: encoding errors, closed pipes and full disks never cause a traceback."""

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_BROKEN_PIPE = 141  # exit code of a program ended by SIGPIPE


class _Closed(io.TextIOBase):
    """Replaces a closed standard stream, and records whether output was lost."""

    encoding = "utf-8"
    lost = False

    def write(self, text: str) -> int:
        self.lost = self.lost or bool(text)
        return len(text)

    def fileno(self) -> int:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))


@contextmanager
def lasting_streams() -> Iterator[None]:
    """Run a command with writable streams, and exit cleanly if the output cannot be written.

    Characters outside the terminal's encoding are escaped; a closed pipe (`… | head -1`) ends the command silently; a
    full disk or a closed stream is one sentence and exit code 1.
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
        print(f"idp: The output cannot be written ({why}): redirect it, for example to a file.", file=sys.stderr)
    sys.exit(1)


def _drop_output() -> None:
    """Prevent Python from flushing the remaining output at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError, ValueError):
        os.dup2(nowhere, sys.stdout.fileno())


def _occupy_closed_descriptors() -> None:
    """Keep new files and sockets from getting the descriptor of a closed standard stream."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
