"""The head of a direct request, to be known again when it comes again.

Many clients send the same head with all requests of a connection, byte by byte: the same path and
headers, and a body of the same length. What the parser would tell of it is known by then, and to
have it tell that costs a sixth of all that the server does for a small request (measured).
"""

from typing import Final, NamedTuple

from spanserve.server.access.guard import Verdict
from spanserve.server.endpoint import Endpoint
from spanserve.server.http.headers import HeadersRead
from spanserve.tracing.admission.head import Head

_END: Final = b"\r\n\r\n"
_LONGEST: Final = 4096
"""Bytes of a head that is worth being kept for as long as its connection lives."""


class Known(NamedTuple):
    """The head of a POST to this endpoint, without a query, that has each header once.

    `text` is how it was sent, and `length` that of a whole request with it: how long the body is,
    it says itself. `read` is what the server itself needs of it. `verdict` is the guard's, after so
    many changes of its keys.
    """

    text: bytes
    length: int
    endpoint: Endpoint
    head: Head
    read: HeadersRead
    verdict: Verdict
    changes: int


def sent_head(data: bytes, path: bytes, headers: int, body: bytes) -> bytes | None:
    """Return the head of a POST of so many headers, where `data` is that, `body` and nothing else.

    The parser takes more: blank lines before a request, a header in several lines. Where there is
    anything but the request's line, a line for each header, a blank one and the body: None.
    """
    end = data.find(_END, 0, _LONGEST) + len(_END)
    if end + len(body) != len(data) or not data.endswith(body):
        return None
    lines = data.count(b"\r\n", 0, end)
    as_said = lines == headers + 2 and data.startswith(b"POST %b HTTP/1.1\r\n" % path)
    return data[:end] if as_said else None
