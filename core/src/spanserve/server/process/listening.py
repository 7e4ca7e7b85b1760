"""The address that a server listens on, and the file that says so."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from spanserve.config.model import ServerConfig
from spanserve.errors import SpanserveError

log = logging.getLogger(__name__)

INHERITED: Final = "SPANSERVE_LISTENER"
"""The environment variable with the number of a socket on which a parent listens for this one."""

BACKLOG: Final = 2048
"""Clients that may wait to be accepted."""

CLIENTS_A_TURN: Final = 16
"""How many one turn of a lone worker's event loop accepts; each costs a failed call when idle."""


def given_listener(server: ServerConfig) -> socket.socket:
    """Return the socket that a parent holds for this process, or listen; raises ListenError."""
    number = os.environ.pop(INHERITED, "")
    return socket.socket(fileno=int(number)) if number else listening_socket(server)


class ListenError(SpanserveError):
    """The server cannot have the address that it was told to listen on."""


def listening_socket(server: ServerConfig) -> socket.socket:
    """Listen on the server's address; raises ListenError.

    Two sockets may be bound to one port as long as neither listens: only now is it ours.
    """
    family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
    # asyncio sets TCP_NODELAY on connections of this very protocol, not of 0, which is the same:
    # without it an answer in two writes waits 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((server.host, server.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        place = f"{server.host}:{server.port}"
        raise ListenError(
            f"cannot listen on {place}: {error.strerror}; choose another with --host and --port"
        ) from None
    return listener


def more_of(listener: socket.socket) -> list[socket.socket]:
    """Return the listener some more times, so that a turn of the event loop takes as many clients.

    libuv accepts one client for each listener and turn. Of a thousand that come at once, the last
    would wait for a thousand batches: with a model of a millisecond, for more than a second. Of
    several workers, though, one that is quick would take them all (measured).
    """
    return [listener.dup() for _ in range(CLIENTS_A_TURN - 1)]


def url_of(server: ServerConfig, listener: socket.socket) -> str:
    """Return where the server is reached."""
    host, port = listener.getsockname()[:2]
    scheme = "https" if server.ssl_certfile else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


class UrlFile:
    """The file of `server.url_file`, if there is one: it has the URL of a server that is ready."""

    def __init__(self, name: str | None, url: str) -> None:
        self._file = Path(name) if name else None
        self._url = url

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Make sure that it can be written; it is gone now and afterwards. Raises ListenError."""
        if self._file is None:
            yield
            return
        try:
            self._file.write_text("", encoding="utf-8")
            self._file.unlink()
        except OSError as error:
            raise ListenError(
                f"cannot write server.url_file {self._file}: {error.strerror}"
            ) from None
        try:
            yield
        finally:
            self._file.unlink(missing_ok=True)

    def write(self) -> None:
        """Say where the server is: it is ready. Who reads finds all of the URL, or no file."""
        if self._file is None:
            return
        draft = self._file.with_name(f"{self._file.name}.new")
        try:
            draft.write_text(f"{self._url}\n", encoding="utf-8")
            draft.replace(self._file)
        except OSError as error:  # it could be written before
            log.error("cannot write server.url_file %s: %s", self._file, error.strerror)  # noqa: TRY400  # a stack says no more
