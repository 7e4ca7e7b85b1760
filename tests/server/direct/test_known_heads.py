"""A head that comes again is not read again, and nothing else is taken for one."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
import uvicorn
from hypothesis import example, given, settings
from hypothesis import strategies as st
from uvicorn.server import ServerState

from spanserve import api, service
from spanserve.config.model import Config
from spanserve.server.app import create_app
from spanserve.server.direct.head_cache import sent_head
from spanserve.server.direct.protocol import DirectProtocol
from spanserve.tracing.model.span import Resource
from spanserve.tracing.tracing import Tracing
from support.serving import DEADLINE_S, service_of


@service
class Doubler:
    """Doubles."""

    @api(batch=True, inline=True)
    def double(self, items: list[int]) -> list[int]:
        """Double each."""
        return [2 * item for item in items]


class Wire(asyncio.Transport):
    """What a protocol writes to, and what it is told of its client."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 5000), "sockname": ("127.0.0.1", 80)})
        self.written = b""
        self.wrote = asyncio.Event()
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data
        self.wrote.set()

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        """Go on: the test sends what it has."""

    def resume_reading(self) -> None:
        """Go on."""


class Counted(DirectProtocol):
    """A connection that counts the requests that its parser saw."""

    parsed = 0

    def on_url(self, url: bytes) -> None:
        self.parsed += 1
        super().on_url(url)


class Connection:
    """One connection to an app that runs on this loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        loaded = service_of(Doubler)
        config = Config.model_validate({})
        tracing = Tracing([], config.tracing, Resource("test", {"service.name": "test"}))
        self.app = create_app(config, loaded, tracing)
        options: dict[str, Any] = {"server_header": False, "proxy_headers": False}
        own = uvicorn.Config(self.app, log_config=None, access_log=False, **options)
        own.load()
        self.wire = Wire()
        self.protocol = Counted(own, ServerState(), {}, loop)
        self.protocol.connection_made(self.wire)

    async def send(self, pieces: Sequence[tuple[bytes, int]]) -> list[tuple[int, bytes]]:
        """Send each piece once there are as many answers; return all, status and body."""
        for piece, answers in pieces:
            async with asyncio.timeout(DEADLINE_S):
                while len(self.answers) < answers:
                    await self.wire.wrote.wait()
                    self.wire.wrote.clear()
            self.protocol.data_received(piece)
        return self.answers

    @property
    def answers(self) -> list[tuple[int, bytes]]:
        found, rest = [], self.wire.written
        while rest:
            head, _, rest = rest.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split()[0])
            found.append((int(head.split()[1]), rest[:length]))
            rest = rest[length:]
        return found


@contextmanager
def running() -> Iterator[Any]:
    with asyncio.Runner() as runner:

        async def talk(*pieces: tuple[bytes, int], then: int) -> tuple[list[Any], int]:
            connection = Connection(asyncio.get_running_loop())
            async with connection.app.router.lifespan_context(connection.app):
                await connection.send([*pieces, (b"", then)])
                connection.protocol.connection_lost(None)
            return connection.answers, connection.protocol.parsed

        yield lambda *pieces, then: runner.run(talk(*pieces, then=then))


def post(body: bytes, *headers: bytes, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    lines = [b"POST /double HTTP/1.1", b"Host: x", b"Content-Length: %d" % size, *headers]
    return b"\r\n".join([*lines, b"", b""]) + body


FOUR, FIVE = post(b"4"), post(b"5")


def test_the_same_head_is_read_once_and_each_body() -> None:
    with running() as talk:
        answers, parsed = talk((FOUR, 0), (FIVE, 1), (FOUR, 2), then=3)
    assert answers == [(200, b"8"), (200, b"10"), (200, b"8")]
    assert parsed == 1


def test_another_head_is_read_and_then_known() -> None:
    other = post(b"40"), post(b"50")
    with running() as talk:
        answers, parsed = talk((FOUR, 0), (other[0], 1), (other[1], 2), (FOUR, 3), then=4)
    assert [body for _, body in answers] == [b"8", b"80", b"100", b"8"]
    assert parsed == 3


def test_a_connection_whose_heads_never_come_again_is_asked_no_more() -> None:
    heads = [post(b"4", b"Cookie: %d" % number) for number in range(4)]
    with running() as talk:
        pieces = [*heads, FOUR, FOUR]
        answers, parsed = talk(*((each, at) for at, each in enumerate(pieces)), then=6)
    assert answers == [(200, b"8")] * 6
    assert parsed == 6


def test_a_connection_whose_heads_come_again_at_times_is_asked_on() -> None:
    heads = [post(b"4", b"Cookie: %d" % number) for number in range(6) for _ in range(2)]
    with running() as talk:
        answers, parsed = talk(*((each, at) for at, each in enumerate(heads)), then=12)
    assert answers == [(200, b"8")] * 12
    assert parsed == 6


def test_a_body_is_no_request_even_if_it_is_one_to_the_last_byte() -> None:
    long = post(b"", length=len(FOUR))
    with running() as talk:
        answers, parsed = talk((FOUR, 0), (FOUR, 1), (long, 2), (FOUR, 2), (FIVE, 3), then=4)
    assert [status for status, _ in answers] == [200, 200, 400, 200]
    assert parsed == 3


def test_a_head_without_its_body_waits_for_it() -> None:
    with running() as talk:
        answers, _ = talk((FOUR, 0), (FOUR[:-1], 1), (b"7", 1), (FOUR, 2), then=3)
    assert [body for _, body in answers] == [b"8", b"14", b"8"]


def test_one_that_does_not_wait_for_its_answer_is_answered_in_order() -> None:
    with running() as talk:
        answers, _ = talk((FOUR, 0), (FIVE, 0), (FOUR + FIVE, 0), (FOUR, 4), then=5)
    assert [body for _, body in answers] == [b"8", b"10", b"8", b"10", b"8"]


def test_a_refusal_does_not_come_before_the_answer_that_is_due() -> None:
    with running() as talk:
        answers, _ = talk((FOUR, 0), (FOUR, 1), (post(b"x"), 1), (FOUR, 3), then=4)
    assert [status for status, _ in answers] == [200, 200, 400, 200]


ODD = [
    FOUR,
    FIVE,
    post(b"44"),
    post(b"4", b"X-Request-Id: mine"),
    b"\r\n" + FOUR,
    post(FOUR),
    post(b"4", b"Cookie: \t 1; 2"),
    b"POST /double HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n4\r\n0\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /double?a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n4",
]


class Cut(NamedTuple):
    """Where a request is cut in pieces, and whether it waits for the answers before."""

    at: frozenset[int]
    waits: bool


@given(
    st.lists(
        st.tuples(
            st.sampled_from(ODD),
            st.builds(Cut, st.frozensets(st.integers(0, 120), max_size=2), st.booleans()),
        ),
        min_size=1,
        max_size=8,
    )
)
@settings(deadline=None)  # a server answers
@example([(FOUR, Cut(frozenset(), True)), (FOUR, Cut(frozenset({60}), True))])
@example([(FOUR, Cut(frozenset(), True)), (b"\r\n" + FOUR, Cut(frozenset({2}), True))])
def test_however_it_is_cut_each_request_has_its_own_answer(
    requests: list[tuple[bytes, Cut]],
) -> None:
    pieces = []
    for number, (request, cut) in enumerate(requests):
        ends = sorted({each for each in cut.at if each < len(request)} | {0, len(request)})
        wait = number if cut.waits else 0
        pieces += [(request[start:end], wait) for start, end in pairwise(ends)]
    with running() as talk:
        expected = [_told(talk((request, 0), then=1)[0][0]) for request, _ in requests]
        answers, _ = talk(*pieces, then=len(requests))
    assert list(map(_told, answers)) == expected


def _told(answer: tuple[int, bytes]) -> tuple[int, bytes]:
    """Return what an answer says but for its request's id."""
    status, body = answer
    return status, body if status == 200 else b""


@pytest.mark.parametrize(
    ("data", "headers"),
    [
        pytest.param(b"\r\n" + FOUR, 2, id="a blank line before"),
        pytest.param(FOUR + b"\r\n", 2, id="a blank line behind"),
        pytest.param(FOUR + FOUR, 2, id="two"),
        pytest.param(FOUR.replace(b"\r\n", b"\n"), 2, id="no carriage returns"),
        pytest.param(FOUR.replace(b"Host: x", b"Host:\r\n x"), 2, id="a header in two lines"),
        pytest.param(b"rest" + FOUR, 2, id="the rest of another"),
        pytest.param(FOUR, 3, id="a header less"),
        pytest.param(FOUR[:-1], 2, id="no body yet"),
        pytest.param(FOUR[1:], 2, id="no whole head"),
        pytest.param(post(b"4", b"Cookie: " + b"1" * 5000), 3, id="a long head"),
    ],
)
def test_only_a_plain_whole_request_shows_its_head(data: bytes, headers: int) -> None:
    assert sent_head(FOUR, b"/double", 2, b"4") == FOUR[:-1]
    assert sent_head(data, b"/double", headers, b"4") is None
