"""uvicorn's HTTP protocol, with a shorter way for requests that need none of its detours.

A POST to a batch endpoint is answered without a task, a scope's state, an event and a cycle,
and its answer is one write. Everything else goes uvicorn's way: long bodies in pieces, chunked
ones, pipelined requests, `Expect`, upgrades, HTTP/1.0, `Connection: close`, an app with
middleware, the access log.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.server import ServerState

from spanserve.server.access.guard import OPEN, Guard, Verdict
from spanserve.server.app import App
from spanserve.server.connections.limits import MAX_HEADERS
from spanserve.server.connections.phases import BODY, HEAD, NOTHING
from spanserve.server.connections.refusals import NO_HOST, is_host
from spanserve.server.direct.answers import DirectAnswers
from spanserve.server.direct.dependent import DependentRequest
from spanserve.server.direct.head_cache import Known, sent_head
from spanserve.server.direct.plain import PlainRequest
from spanserve.server.direct.request import DirectRequest
from spanserve.server.endpoint import Endpoint
from spanserve.server.http.answer import RequestError
from spanserve.server.http.front_door import FrontDoor
from spanserve.server.http.headers import COMMONEST, HeadersRead, is_json, read_fields
from spanserve.server.process.starting import Entrance
from spanserve.tracing.admission.client import Client
from spanserve.tracing.admission.head import Head

_MOST_TRIES: Final = 4
"""Of a connection's heads, one after the other, that are kept and do not come again."""

_NO_GUARD: Final = Guard(None, None, routes=())


class DirectProtocol(DirectAnswers):
    """One connection."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        app = config.loaded_app  # not ours where uvicorn has put something around it
        # By what was asked for: a logger may have handlers that nobody wanted lines for.
        plain = not config.access_log and self.limit_concurrency is None
        self._app = app if isinstance(app, (App, Entrance)) and plain else None
        self._front: FrontDoor | None = None
        self._routes: Mapping[bytes, Endpoint] | None = None if self._app else {}
        self._short_bytes = 0
        self._held: Endpoint | None = None
        self._open: DirectRequest | None = None
        self._data = b""
        self._known: Known | None = None
        self._tries = _MOST_TRIES
        self._chunks: list[bytes] = []
        self._fields: dict[bytes, bytes] = {}
        self._is_bare = True
        self._is_usual = False
        self._guard = _NO_GUARD
        self._verdict = OPEN

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Know the client."""
        super().connection_made(transport)
        self._peer = Client(self.scheme or "http", self.client)

    def data_received(self, data: bytes) -> None:
        """Read; where the head is the last one again, what it says is known."""
        if (known := self._known) is not None:
            text, length, endpoint, head, read, verdict, changes = known
            if (
                len(data) == length
                and data.startswith(text)
                and self.cycle.response_complete
                and (not verdict.asked or changes == self._guard.changes)
            ):
                self.idle_since_s = None
                self._tries = _MOST_TRIES
                self._begun(endpoint, head, read, verdict).start(data[len(text) :])
                return
            self._known = None
        if self.phase == NOTHING:
            self.discard(len(data))
            return
        self.idle_since_s = None
        self._data = data
        self._fed = len(data)
        self._feed(data)
        self._data = b""

    def data_read(self, size: int) -> None:
        """Note how much was read; many clients send a head, and its body after it."""
        if self._held is not None and self._open is None:
            self._open = self._opened(self._held, None)
            self._open.await_body()
        super().data_read(size)

    def _is_short(self) -> bool:
        """Say whether the body is no longer than what uvicorn, too, reads without a pause."""
        length = self._fields.get(b"content-length")
        return length is not None and int(length) <= self._short_bytes  # the parser took it

    def on_message_begin(self) -> None:
        """Begin a request; its scope is made once it is known to be needed."""
        self.phase = HEAD
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self._fields = {}
        self._is_bare = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        known = COMMONEST.get(name)
        if known is None:
            known = name.lower()
            self._is_bare = False
        self.headers.append((known, value))
        self._fields[known] = value

    def on_headers_complete(self) -> None:
        """Check a head, and begin its request; raises RequestError."""
        fields = self._fields
        self._is_usual = (
            len(fields) == len(self.headers) <= MAX_HEADERS
            and self._head_bytes + self._fed <= self.limits.max_header_bytes
            and b"transfer-encoding" not in fields
            and is_host(fields.get(b"host", NO_HOST))
            and not self.parser.should_upgrade()
            and self.parser.get_http_version() == "1.1"
        )
        if self._is_usual:
            self.version = "1.1"
            self._is_chunked = False
        else:
            self.check_head()
        self.phase = BODY
        self._head_bytes = 0
        self._ended += 1
        self.begin_request()

    def begin_request(self) -> None:
        """Hold a request that may turn out to be whole; start the others."""
        if self._routes is None:
            self._look_for_routes()
        endpoint = self._routes.get(self.url) if self._routes else None
        if endpoint is not None and self._is_simple() and self._is_let_in():
            self._held = endpoint
        else:
            self._begin_as_usual()

    def _is_let_in(self) -> bool:
        """Ask the guard; whoever is not let in hears it by the usual way."""
        guard = self._guard
        self._verdict = OPEN if guard.is_open else guard.verdict_on("inference", self._fields)
        return self._verdict.refusal is None

    def _look_for_routes(self) -> None:
        """Learn which endpoints have the short way, once the service is there."""
        assert self._app is not None  # noqa: S101  # else there are no routes
        self._front = front = self._app.front
        if front is not None:
            self._guard = front.guard
            self._routes = front.short()
            self._short_bytes = min(HIGH_WATER_LIMIT, front.max_request_bytes)

    def _is_simple(self) -> bool:
        return (
            self._is_usual
            and self.parser.get_method() == b"POST"
            and self.parser.should_keep_alive()
            and b"expect" not in self._fields
            and b"content-encoding" not in self._fields
            and self._is_short()
            and is_json(self._fields)
            and (self.last is None or self.last.response_complete)
        )

    def _begin_as_usual(self) -> None:
        """Begin uvicorn's way, with what was read so far."""
        url, headers, expect = self.url, self.headers, self._fields.get(b"expect", b"")
        super().on_message_begin()
        self.url, self.headers = url, headers
        self.expect_100_continue = expect.lower() == b"100-continue"
        self.scope["headers"] = headers
        self.phase = BODY
        super().begin_request()

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body."""
        if self._held is None:
            super().on_body(body)
        else:
            self._chunks.append(body)

    def on_message_complete(self) -> None:
        """Answer a request that is whole."""
        endpoint = self._held
        if endpoint is None:
            super().on_message_complete()
            return
        body = b"".join(self._chunks)
        self._chunks.clear()
        request = self._open or self._opened(endpoint, body)
        self._held = self._open = None
        self.body_read()
        request.start(body)

    def _opened(self, endpoint: Endpoint, body: bytes | None) -> DirectRequest:
        """Begin a request by the head that was parsed, and keep that if it may be known again."""
        fields, is_bare, verdict = self._fields, self._is_bare, self._verdict
        route = endpoint.spec.route
        head = Head(route, self._peer, fields, is_bare, self.root_path, verdict.owner)
        read = read_fields(fields, are_bare=is_bare)
        if body is not None and self._tries:
            self._tries -= 1
            text = sent_head(self._data, self.url, len(fields), body)
            if text is not None:  # then the parser is at the end of a request
                changes = self._guard.changes
                self._known = Known(text, len(self._data), endpoint, head, read, verdict, changes)
        return self._begun(endpoint, head, read, verdict)

    def _begun(
        self, endpoint: Endpoint, head: Head, read: HeadersRead, verdict: Verdict
    ) -> DirectRequest:
        front = self._front
        assert front is not None  # noqa: S101  # else there were no endpoints
        request: DirectRequest
        if not endpoint.spec.batch:
            request = PlainRequest(self, front, endpoint, head, read)
        elif (resolver := front.resolvers.get(endpoint) if front.resolvers else None) is None:
            request = DirectRequest(self, front, endpoint, head, read)
        else:
            request = DependentRequest(self, front, endpoint, head, read, resolver)
        if verdict is not OPEN:
            request.verdict = verdict
        # To uvicorn it is a cycle, and a task to cancel: it has what is used of either.
        self.cycle = request  # type: ignore[assignment]
        self.tasks.add(request)  # type: ignore[arg-type]
        return request

    def fail_body(self, error: RequestError) -> None:
        """End a request whose body does not come, or not in time."""
        request, self._open = self._open, None
        if request is None:
            super().fail_body(error)
            return
        self._held = None
        self._chunks.clear()
        self.end_reading(error)
        request.refuse(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a request whose body did not come."""
        super().connection_lost(exc)
        if self._open is not None:
            self._open.abandoned()
            self._held = self._open = None
            self._chunks.clear()
