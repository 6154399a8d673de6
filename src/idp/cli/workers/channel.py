"""Messages between processes: JSON objects, one a line, over a socket that never blocks."""

import contextlib
import json
import socket
from typing import Any

_PIECE = 1 << 16
_MAX_DESCRIPTORS = 8
Message = dict[str, Any]


class Channel:
    """One end of a connection to another process.

    Attributes:
        closed: whether the other process has closed its end, or has ended.
        descriptors: open files that came with messages, in their order.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._connection = connection
        self._received = b""
        self._unsent = bytearray()
        self.closed = False
        self.descriptors: list[int] = []

    def fileno(self) -> int:
        return self._connection.fileno()

    @property
    def has_unsent(self) -> bool:
        """Whether `flush` has something to send once the socket can take it."""
        return bool(self._unsent) and not self.closed

    def send(self, kind: str, **facts: Any) -> None:
        """Send a message; what the socket does not take now, `flush` sends."""
        self._unsent += json.dumps({"kind": kind, **facts}, separators=(",", ":")).encode() + b"\n"
        self.flush()

    def send_with(self, connection: socket.socket, kind: str, **facts: Any) -> None:
        """Send a message with an open socket, waiting until it is sent."""
        self._connection.setblocking(True)
        self.flush()
        line = json.dumps({"kind": kind, **facts}).encode() + b"\n"
        with contextlib.suppress(OSError):  # the other process has ended, which `receive` notices
            socket.send_fds(self._connection, [line], [connection.fileno()])
        self._connection.setblocking(False)

    def flush(self) -> None:
        """Send what the socket takes."""
        try:
            while self._unsent:
                del self._unsent[: self._connection.send(self._unsent)]
        except BlockingIOError:
            return
        except OSError:
            self._unsent.clear()

    def receive(self) -> list[Message]:
        """Return the messages that have arrived."""
        try:
            while True:
                data, descriptors, _, _ = socket.recv_fds(self._connection, _PIECE, _MAX_DESCRIPTORS)
                self.descriptors += descriptors
                if not data:
                    self.closed = True
                    break
                self._received += data
        except BlockingIOError:
            pass
        except OSError:
            self.closed = True
        *lines, self._received = self._received.split(b"\n")
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        self.closed = True
        self._connection.close()
        for descriptor in self.descriptors:
            with contextlib.suppress(OSError):
                socket.close(descriptor)
