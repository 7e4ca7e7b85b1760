"""Upgrades to other protocols: websockets, and all those that are not spoken here.

RFC 9110 lets a server ignore an upgrade: it reads the request and answers it as any other. The
parser, though, stops at the end of a head that asks for one, and takes what follows for the other
protocol. Another parser then goes on with the body, where it is told how long that is.
"""

from contextlib import suppress
from typing import Any

import httptools

from spanserve.server.access.websocket_request import FRAMING


class BodyParser:
    """A parser that goes on behind a head that a connection has read.

    It is told a head with the same body, without a word of it to the connection; then all goes on.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._in_head = True
        self.on_body = connection.on_body
        self.on_message_complete = connection.on_message_complete
        self.parser = httptools.HttpRequestParser(self)
        with suppress(AttributeError):  # httptools before 0.6.3
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        headers = connection.cycle.scope["headers"]
        lines = [b"%b: %b\r\n" % header for header in headers if header[0] in FRAMING]
        version = connection.version.encode()
        self.parser.feed_data(b"POST / HTTP/%b\r\n%b\r\n" % (version, b"".join(lines)))

    def on_message_begin(self) -> None:
        """Begin another request."""
        if not self._in_head:
            self._connection.on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Read a piece of its target."""
        if not self._in_head:
            self._connection.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Read one of its headers, or a trailer."""
        if not self._in_head:
            self._connection.on_header(name, value)

    def on_headers_complete(self) -> None:
        """End its head; the first is known."""
        if not self._in_head:
            self._connection.on_headers_complete()
        self._in_head = False
