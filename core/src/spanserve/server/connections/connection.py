"""What holds on every connection, whichever of uvicorn's protocols reads it.

A head is bounded in bytes and time, a body in what comes of it and in what others leave of the
memory for bodies. What is refused is answered in JSON, after what was asked before, and then the
connection is closed so that the client sees the answer although it still sends.
"""

import asyncio
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from spanserve.server.connections.phases import BODY, HEAD, NEXT, NOTHING
from spanserve.server.connections.refusals import (
    body_too_slow,
    framing_too_large,
    head_too_large,
    head_too_slow,
    no_room,
)
from spanserve.server.connections.shared import connections_of
from spanserve.server.connections.transport import ClosingTransport, StoppableFlow
from spanserve.server.http.answer import Answer, RequestError
from spanserve.server.http.exchange import Message, Receive, Scope, Send

_MOST_DISCARDED: Final = 256 * 1024 * 1024
_LONGEST_DISCARD_S: Final = 5.0
_TOO_FEW_TO_COUNT: Final = 4096
"""Bytes of a body that take less memory than the connection itself."""
_FRAMING_OF_A_BYTE: Final = 16
"""Bytes of a chunked body that may stand around one of its own."""

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as Base
else:
    Base = object


class LimitedConnection(Base):
    """Stands before one of uvicorn's protocols, whose callbacks say where in a request it is."""

    counts_heads = True
    """Whether a head that is not whole is bounded here, and not by the parser."""
    phase = HEAD
    progress = 0
    buffered_bytes = 0
    _uncounted_bytes = 0
    _head_bytes = 0
    """Of a head that is not whole, what came in reads before this one."""
    _framing_bytes = 0
    _delivered = 0
    """Bytes of the body in this read."""
    _ended = 0
    """Heads and bodies that became whole in this read."""
    _is_chunked = False
    _discarded = 0
    _watched = False
    _due: RequestError | None = None
    """A refusal that waits for the answers that come before it."""
    _body_error: Exception | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.shared = connections_of(self.config.loaded_app)
        self.limits = self.shared.limits

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Wait for a head."""
        super().connection_made(transport)
        self.flow = StoppableFlow(transport)
        self._wire = transport
        self.answers: Any = ClosingTransport(transport, self.close_softly)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it, and leave no circle of references."""
        super().connection_lost(exc)
        self.answers.close = self._wire.close
        self.phase = NOTHING
        self._unwatch()
        self.shared.bodies.give_back(self)
        self._due = self._body_error = None

    @property
    def answering(self) -> bool:
        """Whether a request that was read has not all of its answer."""
        cycle: Any = self.cycle  # None before the first
        return cycle is not None and not cycle.response_complete

    # Where it is in a request.

    def head_read(self) -> None:
        """Note that a head is whole."""
        self.phase = BODY
        self._head_bytes = 0
        self._ended += 1

    def body_read(self) -> None:
        """Note that a body is whole."""
        self.phase = NEXT
        self._ended += 1
        if self._uncounted_bytes or self.buffered_bytes or self._framing_bytes:
            self._framing_bytes = self._uncounted_bytes = 0
            self.shared.bodies.give_back(self)

    def data_read(self, size: int) -> None:
        """Note that so many bytes were read, and what is still owed after them."""
        phase = self.phase
        if phase == NEXT and (self._ended or not size):
            pass  # if it is watched, the next look finds that it owes nothing
        elif phase == BODY:
            self._body_goes_on(size)
        elif phase != NOTHING:
            self._head_goes_on(size)
        self._ended = self._delivered = 0

    def _head_goes_on(self, size: int) -> None:
        """Bound a head that is not whole; of one that began in this read, by the next."""
        if self.phase == NEXT:
            self.progress += 1
        self.phase = HEAD
        self._watch()
        if self._ended:
            self.progress += 1
            self._head_bytes = 1  # at least
        else:
            self._head_bytes += size
            if self.counts_heads and self._head_bytes > self.limits.max_header_bytes:
                self.refuse(self.head_too_large())

    def _body_goes_on(self, size: int) -> None:
        """Bound a body that is not whole."""
        self._watch()
        self.progress += 1
        self._uncounted_bytes += size
        if self._uncounted_bytes > _TOO_FEW_TO_COUNT:
            bodies = self.shared.bodies
            bodies.take(self, self._uncounted_bytes)
            self._uncounted_bytes = 0
            if bodies.is_too_much(self):
                self.fail_body(no_room(self.limits.max_buffered_bytes))
                return
        if self._is_chunked:
            head = self.limits.max_header_bytes if self._ended else 0  # it is no longer
            framing = size - head - self._delivered * (1 + _FRAMING_OF_A_BYTE)
            self._framing_bytes = max(0, self._framing_bytes + framing)
            if self._framing_bytes > self.limits.max_header_bytes:
                self.fail_body(framing_too_large(self.limits.max_header_bytes))

    def head_too_large(self) -> RequestError:
        """Return the error of a head that is longer than it may be."""
        return head_too_large(self.limits.max_header_bytes)

    # Who waits.

    def _watch(self) -> None:
        if not self._watched:
            self._watched = True
            self.shared.watch.add(self)

    def _unwatch(self) -> None:
        self._watched = False
        self.shared.watch.discard(self)

    def waited(self, waited_s: float) -> None:
        """End what the client does not go on with, unless it is not its turn."""
        if self.phase == NOTHING:
            if waited_s >= _LONGEST_DISCARD_S and not self.answering:
                self._wire.close()
        elif self.phase == HEAD:
            self._waited_for_head(waited_s)
        elif self.phase == BODY:
            self._waited_for_body(waited_s)
        else:
            self._unwatch()

    def _waited_for_head(self, waited_s: float) -> None:
        if self.answering:
            self.progress += 1
        elif waited_s >= self.limits.header_timeout_s:
            if self._head_bytes:
                self.refuse(head_too_slow(self.limits.header_timeout_s))
            else:
                self._wire.close()

    def _waited_for_body(self, waited_s: float) -> None:
        stopped = self.shared.bodies.is_stopped(self)
        if self.flow.read_paused and not stopped:
            self.progress += 1  # the app is slow, not the client
        elif waited_s >= self.limits.body_timeout_s:
            if stopped:
                self.fail_body(no_room(self.limits.max_buffered_bytes))
            else:
                self.fail_body(body_too_slow(self.limits.body_timeout_s))

    def stop_reading(self) -> None:
        """Leave in the socket what comes: others' bodies fill the memory."""
        self.flow.pause_reading()
        self.flow.is_stopped = True  # type: ignore[attr-defined]  # it is ours

    def go_on_reading(self) -> None:
        """Read on."""
        self.progress += 1
        self.flow.is_stopped = False  # type: ignore[attr-defined]  # it is ours
        self.flow.resume_reading()

    # What is refused.

    def refuse(self, error: RequestError) -> None:
        """Answer what is no request, or none that is taken, and end the connection."""
        self._read_no_more()
        self._due = error
        if not self.answering:
            self._send_refusal()

    def fail_body(self, error: RequestError) -> None:
        """End a request whose body does not come: the app answers, if it wants the body."""
        self.end_reading(error)
        cycle = self.cycle
        if cycle.response_complete:
            self.close_softly()
            return
        self._body_error = error
        cycle.keep_alive = False
        cycle.message_event.set()

    def end_reading(self, error: RequestError) -> None:
        """Read no more of a connection, for this reason."""
        self._read_no_more()
        self._count(error)

    def _read_no_more(self) -> None:
        self.phase = NOTHING
        self._unwatch()
        self.shared.bodies.give_back(self)

    def _count(self, error: RequestError) -> None:
        self.shared.refused[error.status, error.code] += 1

    def on_response_complete(self) -> None:
        """Go on; a refusal that waited is next."""
        super().on_response_complete()
        if self._due is not None and not self.answering:
            self._send_refusal()

    def _send_refusal(self) -> None:
        error, self._due = self._due, None
        if error is None or self._wire.is_closing():
            return
        self._count(error)
        request_id = self.shared.new_id()
        answer = error.answer(request_id, None)
        if self.shared.access is not None:
            self.shared.access.refused(self.client, answer.status, request_id)
        self._wire.write(self._whole(answer, request_id))
        self.close_softly()

    def _whole(self, answer: Answer, request_id: str) -> bytes:
        headers = [
            *self.server_state.default_headers,
            (b"x-request-id", request_id.encode()),
            *answer.headers,
            (b"content-length", b"%d" % len(answer.body)),
        ]
        phrase = HTTPStatus(answer.status).phrase.encode()
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        return b"HTTP/1.1 %d %b\r\n%b\r\n%b" % (answer.status, phrase, lines, answer.body)

    # How it ends.

    def close_softly(self) -> None:
        """Close; where the client may still send, once it stops: else its answer might be lost.

        A socket that is closed with bytes unread resets the connection, and the client's system
        forgets what it has received.
        """
        if self.phase == NEXT or self._wire.is_closing():
            self._wire.close()
            return
        self._read_no_more()
        # Nothing comes after an answer that says that it is the last.
        self._due = None
        getattr(self, "pipeline", []).clear()
        self.progress += 1
        self.flow.resume_reading()
        if self._wire.can_write_eof():
            with suppress(OSError, RuntimeError):
                self._wire.write_eof()
        self._watch()

    def discard(self, size: int) -> None:
        """Drop what a client sends to a connection that ends."""
        self._discarded += size
        if self._discarded > _MOST_DISCARDED:
            self._wire.close()

    def shutdown(self) -> None:
        """End as the server stops: after the answer that is due."""
        if self.answering:
            super().shutdown()
        else:
            self._wire.close()

    # What the app is told.

    def watched_app(self, app: Any) -> Any:
        """Return the app with a `receive` that raises why a body does not come."""
        return partial(self._run, app)

    async def _run(self, app: Any, scope: Scope, receive: Receive, send: Send) -> None:
        cycle = receive.__self__  # type: ignore[attr-defined]  # uvicorn's

        async def received() -> Message:
            message = await receive()
            if self._body_error is not None and cycle is self.cycle:
                raise self._body_error
            return message

        await app(scope, received, send)
