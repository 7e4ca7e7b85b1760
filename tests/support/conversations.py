"""Whole conversations with a server over real sockets, by each of our HTTP protocols."""

import json
import re
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Self

import uvicorn
from fastapi import FastAPI

from spanserve.config.model import Config
from spanserve.server.app import App, create_app
from spanserve.server.connections.limited_h11 import LimitedH11
from spanserve.server.connections.limited_httptools import LimitedHttpTools
from spanserve.server.direct.protocol import DirectProtocol
from spanserve.tracing.model.span import Resource
from spanserve.tracing.tracing import Tracing
from support.serving import DEADLINE_S, service_of

PROTOCOLS: Final[dict[Any, str]] = {
    LimitedHttpTools: "httptools",
    LimitedH11: "h11",
    DirectProtocol: "ours",
}


def app_of(cls: type[Any], config: Mapping[str, Any] | None = None) -> App:
    """Return the app of a service, without tracers."""
    checked = Config.model_validate(config or {})
    tracing = Tracing([], checked.tracing, Resource("test", {"service.name": "test"}))
    app = create_app(checked, service_of(cls), tracing)
    assert isinstance(app, App)
    return app


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()


@contextmanager
def served(
    http: Any, app: FastAPI, **options: Any
) -> Iterator[tuple[uvicorn.Server, tuple[str, int]]]:
    """Serve an app in a thread by this HTTP protocol; the server, and where it is reached."""
    options.setdefault("timeout_graceful_shutdown", 10)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = listener.getsockname()
        server = _Server(
            uvicorn.Config(
                app,
                http=http,
                log_config=None,
                lifespan="on",
                server_header=False,
                proxy_headers=False,
                **{"access_log": False, "ws": "auto", **options},
            )
        )
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            assert server.up.wait(DEADLINE_S)
            yield server, place
        finally:
            server.should_exit = True
            thread.join(DEADLINE_S)
            assert not thread.is_alive()


def post(body: bytes, *headers: str, path: str = "/double", version: str = "1.1") -> bytes:
    lines = [f"POST {path} HTTP/{version}", "Host: x", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Talk:
    """One connection, read an answer at a time."""

    def __init__(self, place: tuple[str, int]) -> None:
        self.socket = socket.create_connection(place, DEADLINE_S)
        self.file = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.socket.close()

    def ask(self, *pieces: bytes) -> tuple[int, dict[str, str], Any]:
        for piece in pieces:
            self.socket.sendall(piece)
        return self.answer()

    def answer(self) -> tuple[int, dict[str, str], Any]:
        status = int(self.file.readline().split()[1])
        headers = {}
        while line := self.file.readline().strip():
            name, _, value = line.decode().partition(": ")
            headers[name.lower()] = value
        body = json.loads(self.file.read(int(headers["content-length"])) or b"null")
        if isinstance(body, dict):
            body = {key: body[key] for key in body if key != "request_id"}
        return status, _plain(headers), body

    def closed(self) -> bool:
        return self.file.read(1) == b""


def _plain(headers: dict[str, str]) -> dict[str, str]:
    changing = {"date": r"\w{3}, .* GMT", "x-request-id": r"[0-9a-f]{32}|mine"}
    number = r"\d+\.\d{3}"
    changing["server-timing"] = f"(queue;dur={number}, run;dur={number}, )?total;dur={number}"
    for name, form in changing.items():
        if name in headers and headers[name] != "mine":
            assert re.fullmatch(form, headers[name]), headers
            only_total = headers[name].startswith("total")
            headers[name] = "total" if only_total else "..."
    return headers
