"""How the answers of direct requests go out: most in one write, the others uvicorn's way."""

import asyncio
from collections.abc import Awaitable
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from spanserve.server.connections.keep_alive import KeepAlive
from spanserve.server.connections.limited_httptools import LimitedHttpTools
from spanserve.server.direct.request import DirectRequest
from spanserve.server.http.answer import JSON_ONLY, Answer
from spanserve.server.http.exchange import Scope, send_answer
from spanserve.server.http.through_app import App
from spanserve.tracing.admission.head import Head


class DirectAnswers(KeepAlive, LimitedHttpTools):
    """The answering half of a connection."""

    _default_headers: list[tuple[bytes, bytes]] | None = None
    _head = b""

    @property
    def last(self) -> RequestResponseCycle | DirectRequest | None:
        """The request that came last."""
        return self.cycle

    def send_answer(self, request: DirectRequest, answer: Answer, now_ns: int) -> None:
        """Send an answer in one write, where it is an ordinary one."""
        if answer.headers is not JSON_ONLY or self.flow.write_paused:
            self._send_as_usual(request, answer, now_ns)
            return
        headers = self.server_state.default_headers
        if headers is not self._default_headers:  # once a second: the date is among them
            self._default_headers = headers
            self._head = b"".join(b"%b: %b\r\n" % each for each in (*headers, *JSON_ONLY))
        # Unlike uvicorn's, without a look at each header: these are our own words.
        self.transport.write(
            b"%b%b%b%bcontent-length: %d\r\n\r\n%b"
            % (
                STATUS_LINE[answer.status],
                self._head,
                request.head_lines(now_ns),
                b"" if request.keep_alive else b"connection: close\r\n",
                len(answer.body),
                answer.body,
            )
        )
        request.response_complete = True
        if not request.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _send_as_usual(self, request: DirectRequest, answer: Answer, now_ns: int) -> None:
        """Send an answer uvicorn's way: it minds a slow client, and the answer's own headers."""
        common = request.header_list(now_ns)

        async def app(_scope: Any, _receive: Any, send: Any) -> None:
            await send_answer(send, answer, common)

        self._start_asgi_task(self._cycle_of(request), app)

    def answer_by(self, app: App, request: DirectRequest, body: bytes) -> Awaitable[None]:
        """Have a request answered by an app, which gets its body."""
        cycle = self._cycle_of(request)
        cycle.body += body
        cycle.more_body = False
        cycle.message_event.set()
        return cycle.run_asgi(self.watched_app(app))

    def _cycle_of(self, request: DirectRequest) -> RequestResponseCycle:
        cycle = RequestResponseCycle(
            scope={"method": "POST"},  # type: ignore[typeddict-item]  # all that it reads
            transport=self.answers,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=request.keep_alive,
            on_response=self.on_response_complete,
        )
        cycle.disconnected = request.disconnected
        if self.last is request:
            self.cycle = cycle
        return cycle

    def scope_of(self, head: Head) -> Scope:
        """Return ASGI's scope of a POST with this head, as uvicorn makes one."""
        path = head.path
        return {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": "1.1",
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": self.root_path,
            "headers": list(head.fields.items()),
            "state": self.app_state.copy(),
            "method": "POST",
            "path": self.root_path + path,
            "raw_path": (self.root_path + path).encode(),
            "query_string": b"",
        }

    def request_done(self, request: DirectRequest) -> None:
        """Forget a request."""
        self.tasks.discard(request)

    def broken(self) -> None:
        """Close the connection."""
        self.transport.close()

    def on_response_complete(self) -> None:
        """Go on with the next request, or wait for it; a refusal that waited is last."""
        self.server_state.total_requests += 1
        if self._due is not None and not self.answering:
            self._send_refusal()
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
            return
        self.idle()
