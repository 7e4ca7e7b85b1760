"""Clients that leave while their request runs: 499 and `client_left`, by every door."""

import asyncio
import io
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

import numpy as np
import pytest
from fastapi import Depends, FastAPI
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import Response

from spanserve import Array, Span, api, hookimpl, service
from spanserve.tracing.model import names
from support.serving import DEADLINE_S, Serving, serving, until

Row = Annotated[np.ndarray, Array("float64", (2,))]


class Kept:
    """A tracer that keeps all spans."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    @hookimpl
    def export_spans(self, spans: list[Span]) -> None:
        self.spans.extend(spans)


class Gate:
    """Where methods wait; opened once a client has left."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()
        self.ended: list[str] = []

    def wait(self) -> None:
        self.entered.set()
        assert self.opened.wait(DEADLINE_S)

    async def await_it(self) -> None:
        self.entered.set()
        try:
            while not self.opened.is_set():  # noqa: ASYNC110  # a test's thread opens it
                await asyncio.sleep(0.002)
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        self.ended.append("went on")


class _Slow:
    gate: Gate

    @api(batch=True)
    def batch(self, numbers: list[int]) -> list[int]:
        self.gate.wait()
        return numbers

    @api(batch=True)
    def raises(self, numbers: list[int]) -> list[int]:
        self.gate.wait()
        raise ValueError(len(numbers))

    @api(batch=True)
    def rows(self, rows: Row) -> Row:
        self.gate.wait()
        return rows

    @api
    def plain(self, number: int) -> int:
        self.gate.wait()
        return number

    @api(threads=2)
    def wide(self, number: int) -> int:
        self.gate.wait()
        return number

    @api
    async def patient(self, number: int) -> int:
        await self.gate.await_it()
        return number

    @api(cancel=True)
    async def hasty(self, number: int) -> int:
        await self.gate.await_it()
        return number

    @api
    async def before(self, number: int) -> AsyncIterator[int]:
        """Be left before the first value."""
        await self.gate.await_it()
        yield number

    @api
    async def between(self, number: int) -> AsyncIterator[int]:
        """Be left after the first value."""
        yield number
        await self.gate.await_it()
        yield number


@service
class Direct(_Slow):
    """Its batches take the short way, where there is one."""


async def _nobody() -> None:
    pass


@service
class Dependent(_Slow):
    """FastAPI handles its requests."""

    @classmethod
    def configure_app(cls, app: FastAPI) -> None:
        app.router.dependencies.append(Depends(_nobody))


@service
class Behind(_Slow):
    """Its requests come through a middleware that stands between them and the client."""

    @classmethod
    def configure_app(cls, app: FastAPI) -> None:
        class Passes(BaseHTTPMiddleware):
            async def dispatch(
                self, request: Request, call_next: RequestResponseEndpoint
            ) -> Response:
                return await call_next(request)

        app.add_middleware(Passes)


def _npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


OIP = {"name": "rows", "datatype": "FP64", "shape": [1, 2], "data": [1, 2]}
REQUESTS: dict[str, tuple[str, str, bytes]] = {
    "batch": ("/batch", "application/json", b"1"),
    "a batch that raises": ("/raises", "application/json", b"1"),
    "NDJSON": ("/batch", "application/x-ndjson", b"1\n2\n"),
    "npy": ("/rows", "application/x-npy", _npy(np.ones((2, 2)))),
    "OIP": ("/v2/models/rows/infer", "application/json", json.dumps({"inputs": [OIP]}).encode()),
    "plain": ("/plain", "application/json", b"1"),
    "threads": ("/wide", "application/json", b"1"),
    "async": ("/patient", "application/json", b"1"),
    "async, cancelled": ("/hasty", "application/json", b"1"),
    "a stream's first value": ("/before", "application/json", b"1"),
    "a stream": ("/between", "application/json", b"1"),
}
DEPENDENT = [each for each in REQUESTS if each not in {"NDJSON", "npy"}]
CASES = [
    *((Direct, each) for each in REQUESTS),
    *((Dependent, each) for each in DEPENDENT),
    *((Behind, each) for each in ("batch", "async, cancelled", "a stream")),
]


@pytest.fixture(scope="module")
def servers() -> Iterator[Callable[[type[_Slow]], tuple[Serving, Kept]]]:
    """A server for each service, with the spans that it made."""
    contexts: dict[type[_Slow], Any] = {}
    found: dict[type[_Slow], tuple[Serving, Kept]] = {}

    def server_of(cls: type[_Slow]) -> tuple[Serving, Kept]:
        if cls not in found:
            kept = Kept()
            config = {"tracing": {"type": "kept", "queue": {"flush_interval_ms": 5}}}
            contexts[cls] = serving(cls, config, tracers=[("kept", kept, {})])
            found[cls] = contexts[cls].__enter__(), kept
        return found[cls]

    yield server_of
    for context in contexts.values():
        context.__exit__(None, None, None)


def opened(server: Serving, name: str, *, as_chunks: bool = False) -> socket.socket:
    """Send a request, all of it."""
    path, media_type, body = REQUESTS[name]
    client = socket.create_connection(("127.0.0.1", server.port), DEADLINE_S)
    length = "Transfer-Encoding: chunked" if as_chunks else f"Content-Length: {len(body)}"
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {media_type}\r\n{length}\r\n\r\n"
    sent = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if as_chunks else body
    client.sendall(head.encode() + sent)
    return client


def counted(server: Serving) -> dict[str, float]:
    """Return the answers that were counted, by endpoint and status."""
    prefix = "spanserve_requests_total"
    return {k: v for k, v in server.metrics().items() if k.startswith(prefix)}


@pytest.mark.parametrize(("cls", "name"), CASES, ids=[f"{c.__name__}: {n}" for c, n in CASES])
def test_a_client_that_leaves_during_the_run_is_499_and_the_trace_says_so(
    cls: type[_Slow], name: str, servers: Callable[[type[_Slow]], tuple[Serving, Kept]]
) -> None:
    check(*servers(cls), cls, name)


@pytest.mark.parametrize("name", ["batch", "npy", "plain"])
def test_so_is_one_that_sent_its_body_in_chunks(
    name: str, servers: Callable[[type[_Slow]], tuple[Serving, Kept]]
) -> None:
    check(*servers(Direct), Direct, name, as_chunks=True)


def posted(spans: list[Span]) -> list[Span]:
    return [each for each in spans if not each.parent_id and each.name.startswith("POST ")]


def check(
    server: Serving, kept: Kept, cls: type[_Slow], name: str, *, as_chunks: bool = False
) -> None:
    cls.gate = gate = Gate()
    before = counted(server)
    del kept.spans[:]
    route = REQUESTS[name][0]
    with opened(server, name, as_chunks=as_chunks) as client:
        if name == "a stream":
            assert client.recv(1)
        assert gate.entered.wait(DEADLINE_S)
    ends_at_once = name in {"async, cancelled", "a stream", "a stream's first value", "NDJSON"}
    if not ends_at_once:
        # The server hears of the leaving in a turn of its loop before the one with the result.
        assert server.metrics()
        gate.opened.set()
    endpoint = "/rows" if name == "OIP" else route
    left = f'spanserve_requests_total{{endpoint="{endpoint}",status="499"}}'
    assert until(lambda: counted(server) == {**before, left: before.get(left, 0) + 1})
    gate.opened.set()
    assert until(lambda: posted(kept.spans))
    (root,) = posted(kept.spans)
    assert root.attributes[names.CLIENT_LEFT] is True
    assert root.attributes["http.response.status_code"] == 499
    if name == "async":
        assert until(lambda: gate.ended == ["went on"])
    if name in {"async, cancelled", "a stream", "a stream's first value"}:
        assert gate.ended == ["cancelled"]


def test_a_client_that_stays_is_answered_by_a_method_that_may_be_cancelled(
    servers: Callable[[type[_Slow]], tuple[Serving, Kept]],
) -> None:
    server, _ = servers(Direct)
    Direct.gate = gate = Gate()
    gate.opened.set()
    with opened(server, "async, cancelled") as client:
        assert client.recv(12) == b"HTTP/1.1 200"
    assert gate.ended == ["went on"]
