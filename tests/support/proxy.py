"""An HTTP proxy for tests: forwards requests, and opens tunnels; notes what it was asked."""

import base64
import select
import socket
import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit


class Proxy:
    """Listens at `url`; `asked` holds methods and targets. Who lacks the `password` gets 407.

    With `to`, an address, it reaches that whoever was asked for.
    """

    def __init__(self, password: str = "", *, to: str = "") -> None:
        self.asked: list[str] = []
        self.to = to
        self.expected = base64.b64encode(f"me:{password}".encode()).decode() if password else ""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.proxy = self  # type: ignore[attr-defined]  # for the handlers
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.address = f"127.0.0.1:{self._server.server_port}"
        self.url = f"http://{self.address}"

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


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 5

    def do_POST(self) -> None:
        if not self._admitted():
            return
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {k: v for k, v in self.headers.items() if not k.lower().startswith("proxy")}
        onward = HTTPConnection(self._proxy.to or url.netloc, timeout=5)
        onward.request("POST", url.path, body, headers)
        answer = onward.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        onward.close()

    def do_CONNECT(self) -> None:
        if not self._admitted():
            return
        host, _, port = self.path.partition(":")
        with socket.create_connection((host, int(port))) as onward:
            self.send_response(200)
            self.end_headers()
            ends = {self.connection: onward, onward: self.connection}
            while True:
                for ready in select.select([*ends], [], [], 5)[0]:
                    content = ready.recv(65536)
                    if not content:
                        self.close_connection = True
                        return
                    ends[ready].sendall(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base's name
        """Say nothing."""

    @property
    def _proxy(self) -> Proxy:
        proxy: Proxy = self.server.proxy  # type: ignore[attr-defined]  # as above
        return proxy

    def _admitted(self) -> bool:
        proxy = self._proxy
        proxy.asked.append(f"{self.command} {self.path}")
        given = self.headers.get("Proxy-Authorization", "").removeprefix("Basic ")
        if proxy.expected in {"", given}:
            return True
        self.send_response(407)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.close_connection = True
        return False
