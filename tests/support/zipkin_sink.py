"""A Zipkin server for tests: real sockets, strict, and misbehaving on demand."""

import json
import socket
import ssl
import struct
import sys
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from support.zipkin_rules import JsonObject, RefusedError, read_spans, violations

PATH = "/api/v2/spans"
_TRACE_PATH = "/api/v2/trace/"
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Request:
    """A post as it arrived: lower-case header names, and the body after gzip was undone."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    status: int | None


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


_Script = Callable[["_Handler"], _Answer | None]


class ZipkinSink:
    """Takes spans at `url`, as strictly as Zipkin 3.6; use it as a context manager.

    `spans` holds what was accepted, in order. `violations` says what of it a server takes
    but must never be sent; span ids that came twice are among it, and `debug` unless
    `allow_debug`. `requests` holds every post, `connections` counts the clients' sockets. With
    `tls` it is an https server.
    Behaviour can be changed at any time: `answer`, `hang`, `reset`, `refuse_if`, and
    `accept` to be good again. A trace can be asked for as at Zipkin, too, under
    `/api/v2/trace/`; `queries` holds the ids that were, and `store_late` hides traces at first.
    """

    def __init__(self, *, allow_debug: bool = False, tls: ssl.SSLContext | None = None) -> None:
        self.spans: list[JsonObject] = []
        self.violations: list[str] = []
        self.requests: list[Request] = []
        self.queries: list[str] = []
        self.connections = 0
        self._allow_debug = allow_debug
        self._ids: Counter[tuple[str, str]] = Counter()
        self._changed = threading.Condition()
        self._hidden_times = 0
        self._script: _Script | None = None
        self._refuse: Callable[[bytes], bool] = lambda _body: False
        self._refusal = _Answer(400)
        self._released = threading.Event()
        self._server = _Server(self)
        self._scheme = "https" if tls else "http"
        if tls:
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.close_clients()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        """The port on 127.0.0.1."""
        return self._server.server_port

    @property
    def url(self) -> str:
        """Where to post."""
        return f"{self._scheme}://127.0.0.1:{self.port}{PATH}"

    def traces(self) -> dict[str, list[JsonObject]]:
        """Return the accepted spans by trace id."""
        traces: dict[str, list[JsonObject]] = {}
        with self._changed:
            for span in self.spans:
                traces.setdefault(span["traceId"], []).append(span)
        return traces

    def wait_for_spans(self, count: int, timeout_s: float = 10) -> list[JsonObject]:
        """Return the accepted spans once there are `count`; fail if that takes too long."""
        self._wait(lambda: len(self.spans) >= count, timeout_s, f"{count} spans")
        return list(self.spans)

    def wait_for_requests(self, count: int, timeout_s: float = 10) -> list[Request]:
        """Return the posts once there are `count`, hanging ones included."""
        self._wait(lambda: len(self.requests) >= count, timeout_s, f"{count} posts")
        return list(self.requests)

    def accept(self) -> None:
        """Be a good server from now on; hanging posts get no answer still, but end."""
        self._set_script(None)
        self._refuse = lambda _body: False

    def answer(
        self,
        status: int,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        *,
        times: int | None = None,
    ) -> None:
        """Answer so, without taking spans, to the next `times` posts (None: to all)."""
        self._set_script(lambda _handler: _Answer(status, headers or {}, body), times)

    def hang(self, *, times: int | None = None) -> None:
        """Read posts, and never answer: the connection is cut when the sink changes or closes."""
        self._set_script(_Handler.hang, times)

    def reset(self, *, times: int | None = None) -> None:
        """Read posts, and reset the connection."""
        self._set_script(_Handler.reset, times)

    def refuse_if(
        self, predicate: Callable[[bytes], bool], status: int = 400, body: bytes = b"refused"
    ) -> None:
        """Refuse every post for whose plain body the predicate holds."""
        self._refusal = _Answer(status, body=body)
        self._refuse = predicate

    def store_late(self, times: int) -> None:
        """Answer the next so many questions as if what was accepted were not there yet."""
        self._hidden_times = times

    def _set_script(self, script: _Script | None, times: int | None = None) -> None:
        left = [times]

        def counted(handler: "_Handler") -> _Answer | None:
            if left[0] is not None:
                left[0] -= 1
                if left[0] <= 0:
                    self._script = None
            return script(handler) if script else None

        with self._changed:
            self._released.set()
            self._released = threading.Event()
            self._script = counted if script else None

    def _wait(self, condition: Callable[[], bool], timeout_s: float, what: str) -> None:
        with self._changed:
            if not self._changed.wait_for(condition, timeout_s):
                raise AssertionError(
                    f"no {what} within {timeout_s} s: {len(self.spans)} spans in "
                    f"{len(self.requests)} posts"
                )

    def _take(self, body: bytes) -> _Answer:
        if self._refuse(body):
            return self._refusal
        try:
            spans = read_spans(body)
        except RefusedError as error:
            return _Answer(400, body=str(error).encode("utf-8", "replace"))
        for span in spans:
            self._record(span)
        return _Answer(202)

    def _record(self, span: JsonObject) -> None:
        self.spans.append(span)
        self.violations += violations(span)
        self._ids[span["traceId"], span["id"]] += 1
        if self._ids[span["traceId"], span["id"]] == 2:
            self.violations.append(f"sent twice: {span}")
        if span.get("debug") is not None and not self._allow_debug:
            self.violations.append(f"debug without cause: {span}")

    def respond(self, handler: "_Handler", body: bytes) -> _Answer | None:
        """Decide on a post; None ends the connection without an answer."""
        with self._changed:
            script, released = self._script, self._released
            answer = script(handler) if script else self._answer_to(handler, body)
            status = answer.status if answer else None
            self.requests.append(Request(handler.path, handler.lower_headers(), body, status))
            self._changed.notify_all()
        if handler.is_hanging:
            released.wait()
        return answer

    def respond_to_query(self, path: str) -> _Answer:
        """Answer a GET as Zipkin does."""
        if not path.startswith(_TRACE_PATH):
            return _Answer(404, body=b"404 Not Found")
        trace_id = path.removeprefix(_TRACE_PATH)
        spans = self.traces().get(trace_id)
        with self._changed:
            self.queries.append(trace_id)
            self._hidden_times -= 1
            if spans is None or self._hidden_times >= 0:
                return _Answer(404, body=f"{trace_id} not found".encode())
        return _Answer(200, body=json.dumps(spans, separators=(",", ":")).encode())

    def _answer_to(self, handler: "_Handler", body: bytes) -> _Answer:
        if handler.path != PATH:
            return _Answer(404, body=b"no such path")
        return self._take(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128

    def __init__(self, sink: ZipkinSink) -> None:
        self.sink = sink
        self._clients: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._clients.add(request)
            self.sink.connections += 1
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._clients.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(
            sys.exception(), ConnectionError | ssl.SSLError
        ):  # clients may leave when they like
            super().handle_error(request, client_address)

    def close_clients(self) -> None:
        """Wake the threads that wait for the next post on a kept-alive connection."""
        with self._lock:
            for client in self._clients:
                try:
                    client.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server
    is_hanging = False

    def do_GET(self) -> None:
        self._send(self.server.sink.respond_to_query(self.path))

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            body = _plain(raw, self.headers.get("Content-Encoding", ""))
        except zlib.error:
            self._send(_Answer(400, body=b"Malformed gzip"))
            return
        answer = self.server.sink.respond(self, body)
        if answer is None:
            self.close_connection = True
        else:
            self._send(answer)

    def hang(self) -> None:
        self.is_hanging = True

    def reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.connection.close()

    def lower_headers(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.headers.items()}

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base's name
        """Say nothing."""

    def _send(self, answer: _Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)


def _plain(body: bytes, encoding: str) -> bytes:
    return zlib.decompress(body, wbits=31) if "gzip" in encoding else body
