"""The processor time that goes into sending, of whatever library sends by Python's sockets."""

import socket
import time
from typing import Any, Self


class SocketTime:
    """Adds up, in `ns`, what this thread uses in `send` and `sendall`."""

    def __init__(self) -> None:
        self.ns = 0

    def __enter__(self) -> Self:
        """Begin to look."""
        for name in ("send", "sendall"):
            setattr(socket.socket, name, self._timed(getattr(socket.socket, name)))
        return self

    def _timed(self, method: Any) -> Any:
        def timed(*arguments: Any) -> Any:
            start_ns = time.thread_time_ns()
            try:
                return method(*arguments)
            finally:
                self.ns += time.thread_time_ns() - start_ns

        return timed

    def __exit__(self, *_: object) -> None:
        """End: the methods are those of the base class again."""
        for name in ("send", "sendall"):
            delattr(socket.socket, name)
