"""How the demo's clients send: a request in one piece, on a connection that is kept.

httpx's own transport sends the body after the head, and what other clients of the process do
comes in between. The server waits for that body, and the traces would show little else.
"""

import asyncio
from typing import Self

import httpx

HEAD_END = b"\r\n\r\n"


class Connection(httpx.AsyncBaseTransport):
    """One connection to one server, for requests with a body at hand and sized answers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, url: httpx.URL) -> Self:
        """Connect to the server of a URL; raises OSError."""
        return cls(*await asyncio.open_connection(url.host, url.port))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send and receive; httpx.TransportError where the connection or the answer breaks."""
        try:
            self._writer.write(_encoded(request))
            head = _head(await self._reader.readuntil(HEAD_END))
            length = int(head.headers["Content-Length"])
            content = await self._reader.readexactly(length)
        except (OSError, EOFError, LookupError, ValueError) as error:
            raise httpx.ReadError(f"{type(error).__name__}: {error}", request=request) from error
        return httpx.Response(head.status_code, headers=head.headers, content=content)

    async def aclose(self) -> None:
        """Close the connection."""
        self._writer.close()


def _encoded(request: httpx.Request) -> bytes:
    start = b"%s %s HTTP/1.1" % (request.method.encode(), request.url.raw_path)
    fields = (b"%s: %s" % field for field in request.headers.raw)
    return b"\r\n".join((start, *fields, b"", request.content))


def _head(head: bytes) -> httpx.Response:
    """Read an answer's status and headers; ValueError or LookupError for what is none."""
    start, *fields = head.removesuffix(HEAD_END).split(b"\r\n")
    status = int(start.split(b" ", 2)[1])
    pairs = [(name, value.strip()) for name, _, value in (each.partition(b":") for each in fields)]
    return httpx.Response(status, headers=pairs)
