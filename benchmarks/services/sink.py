"""Backends: one that takes what is posted, one that takes packets, one that never answers."""

import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """Reads the body, answers 202."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:  # http.server's name
        """Take it."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Be quiet."""


def http(port: int) -> None:
    """Take posts."""
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


def udp(port: int) -> None:
    """Take packets."""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", port))
    while True:
        receiver.recv(65_536)


def hanging(port: int) -> None:
    """Accept, and never answer."""
    listener = socket.create_server(("127.0.0.1", port), backlog=128)
    accepted = []
    while True:
        accepted.append(listener.accept())
        time.sleep(0)


if __name__ == "__main__":
    *kind, port = sys.argv[1:]
    {"http": http, "udp": udp, "hanging": hanging}["".join(kind) or "http"](int(port))
