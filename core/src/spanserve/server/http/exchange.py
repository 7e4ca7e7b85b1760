"""One HTTP request on its way through the server, and its answer's common headers."""

import asyncio
from collections.abc import (
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Mapping,
    MutableMapping,
    Sequence,
)
from types import MappingProxyType
from typing import Any, Final, TypeVar

from spanserve.server.access.guard import OPEN
from spanserve.server.http.answer import WITHOUT_BODY, Answer, too_large
from spanserve.server.http.headers import HeadersRead
from spanserve.server.http.inflating import Inflater, codings_of
from spanserve.server.http.pacing import Pace
from spanserve.tracing.model.failure import Failure
from spanserve.tracing.propagation.passing import PassingRecord
from spanserve.tracing.recording.base import Record
from spanserve.tracing.recording.record import RequestRecord
from spanserve.tracing.recording.request_trace import UNDECIDED, RequestTrace

T = TypeVar("T")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

SCOPE_KEY: Final = "spanserve"
_ENCODING: Final = b"content-encoding"
TIMING: Final = b"queue;dur=%.3f, run;dur=%.3f, total;dur=%.3f"
TOTAL: Final = b"total;dur=%.3f"
_HEAD: Final = b"x-request-id: %b\r\nserver-timing: " + TIMING + b"\r\n%b"
_TRACED_HEAD: Final = b"x-request-id: %b\r\nx-trace-id: %b\r\nserver-timing: " + TIMING + b"\r\n%b"
NOTHING_INJECTED: Final[Mapping[str, Any]] = MappingProxyType({})


async def nothing_left() -> Message:
    """Return what is left to receive of a request whose body is there."""
    return {"type": "http.disconnect"}


class ClientLeftError(Exception):
    """The client closed the connection before it had its answer."""


class Exchange(RequestTrace):
    """A request and what is known of it; the server's own view, one for each request."""

    __slots__ = (
        "_ask",
        "body_length",
        "client_left",
        "failure",
        "failures",
        "injected",
        "is_read",
        "limit_ms",
        "receive",
        "scope",
        "status",
        "timing",
        "verdict",
    )

    def __init__(self, scope: Scope, receive: Receive, read: HeadersRead, started_ns: int) -> None:
        self.scope = scope
        self._ask = receive
        self.receive = receive
        """Where the body comes from: the server, or the middleware that read it before."""
        self.request_id, self.body_length, self.limit_ms = read
        self.started_ns = started_ns
        self.record = None
        self.trace_id = ""
        self.decision = UNDECIDED
        self.failure: Failure | None = None
        """What went wrong in the server, or in the user's code outside a batch."""
        self.failures: list[tuple[Exception, Answer]] | None = None
        """What its endpoint failed with and would answer, where someone else is to hear of it."""
        self.client_left = False
        self.is_read = False
        """Whether the body was read, so that what can be received next is the client's leaving."""
        self.injected = NOTHING_INJECTED
        """What FastAPI resolved for the method, beside the body."""
        self.status = 0
        """Of its answer, once that began."""
        self.verdict = OPEN
        """What the guard said of its head."""
        self.timing: tuple[int, int] | None = None
        """Nanoseconds in the queue and in the run."""

    def answer_to(self, error: Exception) -> Answer | None:
        """Return what its endpoint would answer to what it failed with; None: it did not."""
        return next((answer for each, answer in self.failures or () if each is error), None)

    @property
    def full_record(self) -> RequestRecord:
        """Return the request's record."""
        assert self.record is not None  # noqa: S101  # else nobody was told of it
        return self.record

    @property
    def context(self) -> Record:
        """Return where the request's code runs: its record, or what stands for one."""
        return PassingRecord(self) if self.record is None else self.record

    def header_fields(self) -> Iterable[tuple[bytes, bytes]]:
        """Return the request's headers."""
        headers: Iterable[tuple[bytes, bytes]] = self.scope["headers"]
        return headers

    def header(self, name: bytes) -> str:
        """Return the first value of a header, by its name in lower case; empty where none is."""
        for each, value in self.scope["headers"]:
            if each == name:
                return str(value, "latin-1")
        return ""

    def headers(self, now_ns: int, *, tracing: bool) -> list[tuple[bytes, bytes]]:
        """Return the headers that every response carries.

        Of one that is streamed, the total is the time until it began.
        """
        headers = [(b"x-request-id", self.request_id.encode("latin-1"))]
        if tracing:
            if self.trace_id:
                headers.append((b"x-trace-id", self.trace_id.encode("latin-1")))
            total_ms = (now_ns - self.started_ns) / 1e6
            if self.timing is not None:
                queue_ns, run_ns = self.timing
                timing = TIMING % (queue_ns / 1e6, run_ns / 1e6, total_ms)
            else:
                timing = TOTAL % total_ms
            headers.append((b"server-timing", timing))
        headers.extend(self.verdict.headers)
        return headers

    def lines(self, now_ns: int, *, tracing: bool) -> bytes:
        """Return the same headers as they go out."""
        if self.timing is None:
            lines = self.headers(now_ns, tracing=tracing)
            return b"".join([b"%b: %b\r\n" % line for line in lines])
        request_id, more = self.request_id.encode("latin-1"), self.verdict.lines
        if not tracing:
            return b"x-request-id: %b\r\n%b" % (request_id, more)
        queue_ns, run_ns = self.timing
        times = queue_ns / 1e6, run_ns / 1e6, (now_ns - self.started_ns) / 1e6
        trace_id = self.trace_id
        if not trace_id:
            return _HEAD % (request_id, *times, more)
        if trace_id is self.request_id:  # nearly always
            return _TRACED_HEAD % (request_id, request_id, *times, more)
        return _TRACED_HEAD % (request_id, trace_id.encode("latin-1"), *times, more)

    async def body(self, limit: int) -> bytes:
        """Read the whole body, up to `limit` bytes, and inflate it where it is compressed.

        Raises RequestError (413, 415), InvalidBody and ClientLeftError.
        """
        receive = self.receive
        encodings = [value for name, value in self.scope["headers"] if name == _ENCODING]
        if encodings and (codings := codings_of(encodings)):
            body = await self._inflated(codings, limit)
            self.is_read = True
            return body
        chunks: list[bytes] = []
        length = self.body_length if self.body_length > limit else 0  # by its own word
        more = True
        while more and length <= limit:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientLeftError
            chunk: bytes = message.get("body", b"")
            more = message.get("more_body", False)
            if not more and not chunks:
                self.is_read = True
                return within(chunk, limit)
            chunks.append(chunk)
            length += len(chunk)
        if length <= limit:
            self.is_read = True
            return b"".join(chunks)
        raise too_large(limit)

    async def _inflated(self, codings: Sequence[str], limit: int) -> bytes:
        """Read a body that is compressed; it has at most `limit` bytes before and after."""
        if self.body_length > limit:
            raise too_large(limit)
        inflater, pace = Inflater(codings, limit), Pace()
        pieces: list[bytes] = []
        more = True
        while more:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientLeftError
            more = message.get("more_body", False)
            for piece in inflater.feed(message.get("body", b"")):
                pieces.append(piece)
                await pace.checkpoint()
        inflater.end()
        return b"".join(pieces)

    def reached(self) -> bool:
        """Say whether the client is still there to be answered, as far as can be known."""
        if self.is_read and not self.client_left:
            self.client_left = self.asks_if_client_left()
        return not self.client_left

    def asks_if_client_left(self) -> bool:
        """Ask, without waiting, whether the client closed the connection.

        ASGI tells it by `receive` alone, which waits where there is nothing to tell. So one
        step of it is taken and the rest is thrown away; only meaningful after the body. It is
        the server's own: a middleware's may need a task, and there is none here.
        """
        step = self._ask().__await__()
        try:
            next(step)
        except StopIteration as told:
            return bool(told.value["type"] == "http.disconnect")
        step.close()
        return False


def within(body: bytes, limit: int) -> bytes:
    """Return the body, unless it has more than `limit` bytes: raises RequestError (413)."""
    if len(body) > limit:
        raise too_large(limit)
    return body


async def left(receive: Receive) -> None:
    """Wait until the client leaves; only after the body."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def unless_left(exchange: Exchange, working: Coroutine[Any, Any, T]) -> T:
    """Do some work as long as the client is there; only after the body.

    Raises ClientLeftError once the work has ended that was cancelled, and what it raises.
    """
    task = asyncio.create_task(working)
    leaving = asyncio.create_task(left(exchange.receive))
    try:
        await asyncio.wait((task, leaving), return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
        gone = not task.done()
        if gone:
            task.cancel()
            await asyncio.wait((task,))
    if gone:
        raise ClientLeftError
    return task.result()


async def send_answer(send: Send, answer: Answer, common: list[tuple[bytes, bytes]]) -> None:
    """Send a whole response."""
    if answer.status not in WITHOUT_BODY:
        common.append((b"content-length", b"%d" % len(answer.body)))
    common.extend(answer.headers)
    await send({"type": "http.response.start", "status": answer.status, "headers": common})
    await send({"type": "http.response.body", "body": answer.body})


def path_below_root(scope: Scope) -> str:
    """Return a request's path without the prefix that a proxy in front stripped."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    below = path[len(root) :]
    return below if root and path.startswith(root) and below.startswith("/") else path
