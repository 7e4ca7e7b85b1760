"""A Zipkin that counts what it takes, and misbehaves as it is told."""

import json
import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class Sink:
    """Answers 202 and counts spans; in other moods it answers 500, resets, or is slow."""

    def __init__(self) -> None:
        self.mood = "well"
        self.spans = 0
        self._lock = threading.Lock()
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                sink.answer(self, body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # as the base's
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # connections end in every way here

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/api/v2/spans"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        """Answer a post according to the mood."""
        if self.mood == "resets":
            handler.connection.close()
            handler.close_connection = True
            return
        if self.mood == "hangs":
            threading.Event().wait(2.0)
        status = 500 if self.mood == "fails" else 202
        if status == 202:
            if handler.headers.get("content-encoding") == "gzip":
                body = zlib.decompress(body, wbits=31)
            count = len(json.loads(body))
            with self._lock:
                self.spans += count
        handler.send_response(status)
        handler.send_header("content-length", "0")
        handler.end_headers()
