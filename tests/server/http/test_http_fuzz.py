"""Strange conversations with uvicorn's own protocol over h11 and with ours: what differs is meant.

h11 and httptools share no line of code. A few thousand conversations of one seed run always; more,
or those of another seed, by `SPANSERVE_FUZZ_CASES` and `SPANSERVE_FUZZ_SEED`.
"""

import asyncio
import os
import random
import re
from collections.abc import Callable
from itertools import zip_longest
from typing import Any, Final, NamedTuple

import h11
import pytest
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from spanserve.server.connections.limited_h11 import LimitedH11
from spanserve.server.connections.limited_httptools import LimitedHttpTools
from spanserve.server.direct.protocol import DirectProtocol

CASES: Final = int(os.environ.get("SPANSERVE_FUZZ_CASES", "3000"))
SEED: Final = int(os.environ.get("SPANSERVE_FUZZ_SEED", "1"))


class Seen(NamedTuple):
    """What came of a conversation: the bodies that reached the app whole, and the statuses."""

    bodies: list[bytes]
    statuses: list[int]


class Wire(asyncio.Transport):
    """A transport that keeps what is written, and gives what is read as reading goes on."""

    def __init__(self, pieces: list[bytes]) -> None:
        super().__init__({"peername": ("127.0.0.1", 5000), "sockname": ("127.0.0.1", 80)})
        self.pieces = pieces
        self.written = b""
        self.is_closed = self.is_paused = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False


async def converse(kind: Any, pieces: list[bytes]) -> Seen:
    """Have pieces read by a protocol, each once the app had its turn; return what came of it."""
    bodies: list[bytes] = []

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message["body"], message["more_body"]
        bodies.append(body)
        await send({"type": "http.response.start", "status": 200, "headers": LENGTH})
        await send({"type": "http.response.body", "body": b"ok"})

    async def refusing(scope: Any, receive: Any, send: Any) -> None:
        try:
            await app(scope, receive, send)
        except Exception as error:  # noqa: BLE001  # why a body does not come
            status = getattr(error, "status", 500)
            headers = [(b"content-length", b"0"), (b"connection", b"close")]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": b""})

    config = uvicorn.Config(
        refusing, log_config=None, access_log=False, proxy_headers=False, lifespan="off", ws="none"
    )
    config.load()
    protocol = kind(config, ServerState(), {}, asyncio.get_running_loop())
    wire = Wire(pieces)
    protocol.connection_made(wire)
    for piece in pieces:
        await _turns(lambda: not wire.is_paused or wire.is_closed)
        if wire.is_closed:
            break
        try:
            protocol.data_received(piece)
        except h11.LocalProtocolError:  # it refuses in the middle of an answer
            assert kind is H11Protocol
            break
    await _turns(lambda: False)
    protocol.connection_lost(None)
    await _turns(lambda: False)
    return Seen(bodies, _statuses(wire.written))


LENGTH: Final = [(b"content-length", b"2")]


async def _turns(done: Callable[[], bool]) -> None:
    for _ in range(12):
        await asyncio.sleep(0)
        if done():
            return


def _statuses(written: bytes) -> list[int]:
    found = []
    while written:
        head, _, written = written.partition(b"\r\n\r\n")
        status = int(head.split()[1])
        if status == 100:
            continue
        found.append(status)
        length = head.lower().partition(b"content-length: ")[2].split()
        if not length:  # h11's own 400 says none
            break
        written = written[int(length[0]) :]
    return found


class Writer:
    """Writes conversations: mostly right, with something odd here and there."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def conversation(self) -> list[bytes]:
        """Return some requests in a row, cut anywhere."""
        text = b"".join(self.request() for _ in range(self.random.choice([1, 1, 2, 3])))
        if self.odd(0.05):
            text = text[: self.random.randrange(2, len(text))]
        if self.odd(0.05):
            at = self.random.randrange(len(text))
            text = (
                text[:at]
                + self.random.choice([b"\r", b"\n", b"\0", b" ", b"\xff", b":"])
                + text[at:]
            )
        cuts = sorted(
            self.random.sample(
                range(1, len(text)), min(len(text) - 1, self.random.choice([0, 1, 2, 5]))
            )
        )
        return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]

    def odd(self, share: float) -> bool:
        return self.random.random() < share

    def request(self) -> bytes:
        pick = self.random.choice
        body = bytes(self.random.randrange(256) for _ in range(pick([0, 1, 3, 20])))
        if self.odd(0.1):
            body = b"GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"
        headers = [b"Host: x"]
        method = b"POST"
        if self.odd(0.2):
            method = pick([b"GET", b"PUT", b"DELETE", b"OPTIONS", b"HEAD"])
        if self.odd(0.4):
            headers.append(b"Transfer-Encoding: chunked")
            body = self.chunked(body)
        elif body or self.odd(0.5):
            headers.append(b"Content-Length: %d" % len(body))
        if self.odd(0.3):
            headers += pick(ODD_HEADERS)
        if self.odd(0.1):
            headers[0] = pick(
                [b"Host: a b", b"Host:", b"Host: y:80", b"X: y", b"host: z", b"Host : x"]
            )
        self.random.shuffle(headers)
        target = pick([b"/", b"/a?b=c", b"/%41", b"/a/b;c"])
        version = b"HTTP/1.1" if self.odd(0.95) else pick([b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.2"])
        return b"%b %b %b\r\n%b\r\n\r\n%b" % (method, target, version, b"\r\n".join(headers), body)

    def chunked(self, body: bytes) -> bytes:
        pieces, at = [], 0
        while at < len(body):
            size = self.random.randrange(1, len(body) - at + 1)
            extension = self.random.choice([b"", b"", b";a=b", b";a"])
            pieces.append(b"%x%b\r\n%b\r\n" % (size, extension, body[at : at + size]))
            at += size
        if self.odd(0.05):
            pieces.append(
                self.random.choice([b"x\r\n", b"-1\r\n", b"1\r\nab\r\n", b"ffffffffffffffffff\r\n"])
            )
        trailer = b"X-Trailer: y\r\n" if self.odd(0.1) else b""
        return b"".join(pieces) + b"0\r\n" + trailer + b"\r\n"


ODD_HEADERS: Final = [
    [b"Connection: Upgrade", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"],
    [b"Connection: upgrade, keep-alive", b"Upgrade: foo"],
    [b"Upgrade: websocket", b"Connection: Upgrade"],
    [b"Connection: close"],
    [b"Connection: keep-alive"],
    [b"Expect: 100-continue"],
    [b"X-Odd:   spaced \t "],
    [b"X-Odd:"],
    [b"X-Twice: a", b"X-Twice: b"],
    [b"Content-Length: 3"],
    [b"Content-Length: x"],
    [b"Transfer-Encoding: chunked"],
    [b"Transfer-Encoding: gzip"],
    [b"X Odd: y"],
    [b": y"],
    [b"X-Odd: a\xffb"],
    [b"Host: again"],
    [b"X-Long: " + 300 * b"y"],
]


class Difference(NamedTuple):
    """A difference that is meant: the statuses of uvicorn over h11 and ours; 0 is none."""

    theirs: set[int]
    ours: set[int]
    text: bytes
    why: str


MEANT: Final = [
    Difference({0, 200, 400}, {400}, rb"(?i)host: ?[a-z]*[ \0\xff:]", "a Host that is none; any"),
    Difference({0, 200, 400}, {505}, rb"HTTP/(?!1\.[01]\r\n)", "h11 takes 2.0 and 1.2 for 1.1"),
    Difference({0, 400}, {501}, rb"Transfer-", "codings other than chunked, once"),
    Difference({200}, {400}, rb"(?s)Content-L.*Transf|Transf.*Content-L", "a length beside chunks"),
    Difference({0, 200}, {400}, rb"(?<!\r)\n|\r(?!\n)", "a line ends in CRLF; h11 takes LF alone"),
    Difference({400}, {0, 200}, rb"(^|[^\n])[\r\n]+([A-Z]+ |$)", "a line end beside a request"),
    Difference({400}, {0}, rb"\n$", "a line end after a request"),
    Difference({400}, {0, 200}, rb"^[\r\n]| {2}", "line ends before it, and spaces in its line"),
    Difference({0}, {400}, rb"f{18}", "a length of 18 digits; h11 takes 20, and waits"),
    Difference({400}, {0, 200}, rb"HTTP/1\.0|ction: close", "what follows the last request"),
    Difference({0}, {400}, rb"", "uvicorn over h11 fails where it refuses during an answer"),
]


def meant(text: bytes, theirs: Seen, ours: Seen) -> bool:
    """Say whether the first difference is one of those."""
    both = zip_longest(theirs.statuses, ours.statuses, fillvalue=0)
    first = next((pair for pair in both if pair[0] // 100 != pair[1] // 100), None)
    same = all(a == b for a, b in zip(theirs.bodies, ours.bodies, strict=False))
    return (
        same
        and first is not None
        and any(
            first[0] in each.theirs and first[1] in each.ours and re.search(each.text, text)
            for each in MEANT
        )
    )


def kinds(statuses: list[int]) -> list[int]:
    return [status // 100 for status in statuses]


@pytest.mark.parametrize("kind", [LimitedHttpTools, LimitedH11, DirectProtocol])
async def test_strange_conversations_end_as_over_h11(kind: Any) -> None:
    writer = Writer(SEED)
    unexplained = []
    for number in range(CASES):
        pieces = writer.conversation()
        theirs, ours = await converse(H11Protocol, pieces), await converse(kind, pieces)
        same = theirs.bodies == ours.bodies and kinds(theirs.statuses) == kinds(ours.statuses)
        if not same and not meant(b"".join(pieces), theirs, ours):
            unexplained.append((number, pieces, theirs, ours))
    assert not unexplained, "\n".join(map(str, unexplained[:12])) + f"\n{len(unexplained)} in all"
