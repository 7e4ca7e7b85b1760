"""A request to a batch endpoint that is answered without a task.

A task is made, stepped twice by the loop, and woken by a future. A request whose body is there
needs none: it is queued at once, and the batcher tells it its result. What it does is the
endpoint's and the front door's, as on the way through ASGI.
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, Final, Protocol

from spanserve.batching.batcher import ExpiredError
from spanserve.batching.item import Item
from spanserve.server.access.access_log import AccessLog, Entry
from spanserve.server.endpoint import BatchEndpoint, Endpoint
from spanserve.server.http.answer import NOBODY, Answer, RequestError, given_up
from spanserve.server.http.deadlines import Deadlines
from spanserve.server.http.exchange import ClientLeftError, Exchange
from spanserve.server.http.front_door import FrontDoor
from spanserve.server.http.headers import HeadersRead
from spanserve.tracing.admission.head import Head
from spanserve.tracing.recording.record import RequestRecord

log = logging.getLogger(__name__)

_NOBODY_WAITS: Final = asyncio.Event()


class Connection(Protocol):
    """Where the answers of direct requests go."""

    loop: asyncio.AbstractEventLoop

    def send_answer(self, request: "DirectRequest", answer: Answer, now_ns: int) -> None:
        """Send a whole answer with the headers that every answer carries."""

    def fail_body(self, error: RequestError) -> None:
        """End the request whose body is awaited."""

    def request_done(self, request: "DirectRequest") -> None:
        """Forget a request that was answered, or whose client left."""

    def broken(self) -> None:
        """Close the connection: its request has no answer."""


class DirectRequest(Exchange):
    """One request from its first byte to its last, and the waiter of its item.

    To the connection it is what a cycle of uvicorn's is, and to the server, that cancels those
    that take too long to drain, a task.
    """

    __slots__ = (
        "_connection",
        "_deadlines",
        "_decoded_ns",
        "_done",
        "_endpoint",
        "_front",
        "disconnected",
        "keep_alive",
        "response_complete",
    )

    item: Item | None
    _endpoint: BatchEndpoint

    message_event = _NOBODY_WAITS
    """What uvicorn sets when the client leaves."""

    def __init__(
        self,
        connection: Connection,
        front: FrontDoor,
        endpoint: Endpoint,
        head: Head,
        read: HeadersRead,
    ) -> None:
        front.begin_direct(self, endpoint, read)
        self.head = head
        self._connection = connection
        self._front = front
        self._endpoint = endpoint  # type: ignore[assignment]  # a plain one's takes none as below
        self.item = None
        self._decoded_ns = self.encode_ns = self.encoded_ns = 0
        self._done = False
        self._deadlines: Deadlines | None = None
        self.disconnected = False
        self.keep_alive = True
        self.response_complete = False

    @property
    def full_record(self) -> RequestRecord:
        """Return the request's record, which is made when it is first asked for."""
        if self.record is None:
            self.record = self._endpoint.tracing.record_of(self)
        return self.record

    def start(self, body: bytes) -> None:
        """Queue the request's item, or answer why not."""
        endpoint = self._endpoint
        try:
            self.item = item = endpoint.begin(self, body, waiter=self, gone=self._client_left)
        except Exception as error:  # noqa: BLE001  # every error has an answer
            self._decoded_ns = endpoint.tracing.now_ns()
            self._refuse(error)
            return
        if item.deadline_ns and self._deadlines is None:
            self._watch_time()

    def await_body(self) -> None:
        """Wait for the body, as long as the answer may take."""
        if self._endpoint.timeout_ms is not None or self.limit_ms is not None:
            self._watch_time()

    def _watch_time(self) -> None:
        limit_ms = self._endpoint.limit_ms(self)
        if limit_ms is not None:
            self._deadlines = self._front.deadlines.of(limit_ms)
            self._deadlines.add(self, self._connection.loop)

    def _let_time_pass(self) -> None:
        if self._deadlines is not None:
            self._deadlines.discard(self)
            self._deadlines = None

    def time_is_over(self) -> None:
        """Answer that it took too long, or have it refused that the body is not there."""
        if self._done:
            return
        if self.item is None:
            self._connection.fail_body(self._endpoint.body_timed_out(self))
            return
        self._done = True  # so that its item goes without a word
        self._endpoint.give_up(self.item)
        self._refuse(self._endpoint.timed_out(self))

    def refuse(self, error: Exception) -> None:
        """Answer why the body is not read."""
        if not self._done:
            self._refuse(error)

    def abandoned(self) -> None:
        """End: the client left before its body was whole."""
        self._refuse(ClientLeftError())

    def done(self) -> bool:
        """Whether the request has its answer."""
        return self._done

    def set_result(self, result: Any) -> None:
        """Answer with the item's result."""
        endpoint, item = self._endpoint, self.item
        assert item is not None  # noqa: S101  # it is queued, else it had no result
        now_ns = endpoint.tracing.now_ns
        try:
            endpoint.is_done(self, item)
            if self.disconnected:
                raise ClientLeftError  # noqa: TRY301  # as every error
            self.encode_ns = now_ns()
            answer = Answer(200, endpoint.codec.encode(result))
            self.encoded_ns = encoded_ns = now_ns()
        except Exception as error:  # noqa: BLE001  # as in `start`
            self._refuse(error)
        else:
            self._end(answer, encoded_ns)

    def set_exception(self, error: Exception) -> None:
        """Answer with the reason why there is no result."""
        if self.item is not None:
            self._endpoint.is_done(self, self.item)
        if isinstance(error, ExpiredError):
            error = self._endpoint.timed_out(self)
        self._refuse(error)

    def cancel(self, msg: str | None = None) -> None:  # noqa: ARG002  # as a task is cancelled
        """Give the request up soon: the server goes through all its tasks as it calls this."""
        if not self._done:
            self._connection.loop.call_soon(self._give_up)

    def _give_up(self) -> None:
        if self._done:
            return
        self._done = True
        if self.item is not None:
            self._endpoint.give_up(self.item)
        self._refuse(given_up())

    def _refuse(self, error: Exception) -> None:
        """Answer with an error, and see the request out."""
        self._front.admit_direct(self, self._endpoint)
        self._end(self._endpoint.refused(self, error))

    def _end(self, answer: Answer, encoded_ns: int = 0) -> None:
        """Send the answer, of a result encoded at `encoded_ns`, and see the request out."""
        self._done = True
        if self._deadlines is not None:
            self._let_time_pass()
        connection, front = self._connection, self._front
        try:
            if self.client_left or self.disconnected:
                self.client_left, answer = True, NOBODY
            front.count(self, self._endpoint, answer.status)
            if not self.client_left:
                now_ns = encoded_ns or self._endpoint.tracing.now_ns()
                connection.send_answer(self, answer, now_ns)
        except Exception:
            log.exception("request %s could not be answered", self.request_id)
            connection.broken()
        finally:
            if not encoded_ns and self.recording:  # else its batch ends it
                front.end_direct(self, self._decoded_ns, answer.status)
                self.record = None
            if front.access is not None:
                self._note(front.access, answer.status, encoded_ns)
            connection.request_done(self)
            # The connection keeps its last request: the rest of it must not live as long.
            del self._connection, self.item

    def _note(self, access: AccessLog, status: int, encoded_ns: int) -> None:
        """Have a line of the access log written."""
        head = self.head
        access.note(
            Entry(
                head.client.source.address,
                "POST",
                head.root_path + head.path,
                status,
                self.started_ns,
                encoded_ns or self._endpoint.tracing.now_ns(),
                self.request_id,
                self.trace_id,
                head.key_name,
            )
        )

    def head_lines(self, now_ns: int) -> bytes:
        """Return the headers that every answer carries, as they go out."""
        return self.lines(now_ns, tracing=self._front.trace_headers)

    def header_list(self, now_ns: int) -> list[tuple[bytes, bytes]]:
        """Return them one by one."""
        return self.headers(now_ns, tracing=self._front.trace_headers)

    def header_fields(self) -> Iterable[tuple[bytes, bytes]]:
        """Return the request's headers."""
        return self.head.fields.items()

    def reached(self) -> bool:
        """Say whether the client is still there to be answered."""
        self.client_left = self.client_left or self.disconnected
        return not self.client_left

    def _client_left(self) -> bool:
        return self.disconnected
