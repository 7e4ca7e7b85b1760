"""Jaeger's query API for tests: what v2, v1 and strangers answer when asked for a trace.

The bodies and content types are those of Jaeger 2.13 and 1.48, cut short.
"""

import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, NamedTuple, Self


class Answer(NamedTuple):
    """A status, a content type and a body."""

    status: int
    content_type: str
    body: str


_PLAIN: Final = "text/plain; charset=utf-8"
_JSON: Final = "application/json"
V3_FOUND: Final = Answer(200, _JSON, '{"result":{"resourceSpans":[{"resource":{}}]}}\n')
V3_ABSENT: Final = Answer(404, _PLAIN, '{"error":{"httpCode":404,"message":"No traces found"}}\n')
V1_FAILED: Final = Answer(500, _JSON, '{"error":{"grpcCode":2,"message":"trace not found"}}')
OLD_FOUND: Final = Answer(200, _JSON, '{"data":[{"traceID":"1","spans":[]}],"total":0}')
OLD_EMPTY: Final = Answer(200, _JSON, '{"data":[],"total":0,"errors":null}')
OLD_ABSENT: Final = Answer(
    404, _PLAIN, '{"data":null,"errors":[{"code":404,"msg":"trace not found"}]}\n'
)
PAGE: Final = Answer(200, "text/html; charset=utf-8", "<!doctype html><html></html>")
NO_PAGE: Final = Answer(404, _PLAIN, "404 page not found\n")


class JaegerQuery:
    """Answers on 127.0.0.1 at `port`; a context manager.

    `v3` and `old` are the answers to /api/v3/traces/ and /api/traces/;
    `asked` holds the paths, in order.
    """

    def __init__(self, v3: Answer, old: Answer = NO_PAGE) -> None:
        self.answers: dict[str, Answer] = {"/api/v3/traces/": v3, "/api/traces/": old}
        self.asked: list[str] = []
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.port: int = self._server.server_port

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def answer_to(path: str, answers: Mapping[str, Answer]) -> Answer:
    """Return the answer to the path without its trace id."""
    return answers.get(path.rpartition("/")[0] + "/", NO_PAGE)


class _Server(ThreadingHTTPServer):
    daemon_threads = False

    def __init__(self, sink: JaegerQuery) -> None:
        self.sink = sink
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self.server.sink.asked.append(self.path)
        answer = answer_to(self.path, self.server.sink.answers)
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.end_headers()
        self.wfile.write(answer.body.encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base's name
        """Say nothing."""
