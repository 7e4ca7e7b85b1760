"""What a failed request leaves behind: nothing, and without the help of the collector."""

import asyncio
import gc
import linecache
import logging
import socket
import threading
import tracemalloc
from collections.abc import AsyncIterator, Iterator, Sequence
from http.client import HTTPConnection, HTTPException
from io import BytesIO
from typing import Annotated, Any, ClassVar

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from fastapi import HTTPException as Refusal
from pydantic_core import to_json

from spanserve import Array, Span, api, hookimpl, service
from support.serving import DEADLINE_S, Serving, serving, until

LARGE = 1_000_000
"""Bytes of a body."""

FLOATS = LARGE // 4

KEPT = ValueError("one for all requests")
NDJSON = {"content-type": "application/x-ndjson"}
NPY = {"content-type": "application/x-npy"}
JSON = {"content-type": "application/json"}
Row = Annotated[np.ndarray, Array("float32", (FLOATS,))]


class Takes:
    """A tracer that takes all spans."""

    @hookimpl
    def export_spans(self, spans: Sequence[Span]) -> None:
        """Take them."""


def raises(text: str) -> object:
    raise ValueError(text[:10])


def raises_from(text: str) -> object:
    try:
        return raises(text)
    except ValueError as error:
        raise KeyError(text[:10]) from error


def raises_a_group(text: str) -> object:
    try:
        return raises(text)
    except ValueError as error:
        raise ExceptionGroup(text[:10], [error]) from None


def raises_what_it_holds(text: str) -> object:
    error = ValueError(text[:10])
    raise error


def raises_one_for_all(_text: str) -> object:
    raise KEPT


def exits(text: str) -> object:
    raise SystemExit(text[:10])


def stops(text: str) -> object:
    raise StopIteration(text[:10])


def refuses(text: str) -> object:
    raise Refusal(404, text[:10])


def gives_what_has_no_json(_text: str) -> object:
    return object()


WAYS = (
    raises,
    raises_from,
    raises_a_group,
    raises_what_it_holds,
    raises_one_for_all,
    exits,
    stops,
    refuses,
    gives_what_has_no_json,
)

BATCHED = ("batched", "together", "inline", "entry", "short")


@service
class Failing:
    """Fails as `way` does, or waits until `gate` is opened."""

    way: ClassVar[Any]
    gate: ClassVar[threading.Event]
    entered: ClassVar[threading.Semaphore]

    def fail(self, text: str) -> Any:
        return type(self).way(text)

    @api(batch=True)
    def batched(self, texts: list[str]) -> list[Any]:
        return [self.fail(text) for text in texts]

    @api(batch=True, isolate=False)
    def together(self, texts: list[str]) -> list[Any]:
        return [self.fail(text) for text in texts]

    @api(batch=True, inline=True)
    def inline(self, texts: list[str]) -> list[Any]:
        return [self.fail(text) for text in texts]

    @api(batch=True)
    def entry(self, texts: list[str]) -> list[Any]:
        found: list[Any] = []
        for text in texts:
            try:
                found.append(self.fail(text))
            except Exception as error:  # noqa: BLE001  # as documented
                found.append(error)
        return found

    @api(batch=True)
    def short(self, texts: list[str]) -> list[str]:
        return texts[1:]

    @api(batch=True)
    def row(self, rows: Row) -> np.ndarray:
        raise ValueError(str(rows[0, 0]))

    @api
    def plain(self, text: str) -> Any:
        return self.fail(text)

    @api(threads=2)
    def pooled(self, text: str) -> Any:
        return self.fail(text)

    @api
    async def soon(self, text: str) -> Any:
        await asyncio.sleep(0)
        return self.fail(text)

    @api
    async def stream(self, text: str) -> AsyncIterator[str]:
        await asyncio.sleep(0)
        yield self.fail(text)

    @api
    async def broken_off(self, text: str) -> AsyncIterator[str]:
        yield "first"
        yield self.fail(text)

    @api(batch=True)
    def held(self, texts: list[str]) -> list[str]:
        self.entered.release()
        self.gate.wait(DEADLINE_S)
        return texts

    @api
    def held_plain(self, text: str) -> str:
        self.entered.release()
        self.gate.wait(DEADLINE_S)
        return text

    @api
    async def held_soon(self, text: str) -> str:
        self.entered.release()
        await asyncio.to_thread(self.gate.wait, DEADLINE_S)
        return text

    @api
    async def held_stream(self, text: str) -> AsyncIterator[str]:
        yield "first"
        self.entered.release()
        await asyncio.to_thread(self.gate.wait, DEADLINE_S)
        yield text


@service
class Guarded(Failing):
    """The same behind a middleware, that keeps requests from the short way."""

    @classmethod
    def configure_app(cls, app: FastAPI) -> None:
        @app.middleware("http")
        async def _guard(request: Any, call_next: Any) -> Any:
            return await call_next(request)

        @app.post("/own")
        async def _own(text: str) -> Any:
            return cls.way(text)


@pytest.fixture(scope="module", params=[Failing, Guarded])
def server(request: pytest.FixtureRequest) -> Iterator[Serving]:
    config = {"server": {"max_request_bytes": 4 * LARGE}}
    logging.disable(logging.CRITICAL)  # pytest keeps what is logged, and the errors with it
    tracemalloc.start()
    try:
        with serving(request.param, config, tracers=[("takes", Takes(), {})]) as started:
            Failing.way = gives_what_has_no_json
            post(started, "/batched", b'"what is imported late"', JSON)
            yield started
    finally:
        tracemalloc.stop()
        logging.disable(logging.NOTSET)


@pytest.fixture(autouse=True)
def _gate() -> Iterator[None]:
    Failing.gate, Failing.entered = threading.Event(), threading.Semaphore(0)
    gc.collect()
    gc.disable()
    yield
    Failing.gate.set()
    gc.enable()


class Kept:
    """How much memory is taken that was not as it was made."""

    def __init__(self) -> None:
        self._before = self._traced()

    def bodies(self) -> int:
        """Wait until nothing is kept, and return how many bodies still are."""
        until(lambda: not self._bodies(), 5.0)
        return self._bodies()

    def _bodies(self) -> int:
        return round((self._traced() - self._before) / LARGE)

    def _traced(self) -> int:
        linecache.clearcache()  # of all files that a stack was ever in
        return tracemalloc.get_traced_memory()[0]


def array() -> bytes:
    buffer = BytesIO()
    np.save(buffer, np.zeros((3, FLOATS), "float32"))
    return buffer.getvalue()


def tensor(length: int, name: str = "rows") -> bytes:
    tensor = {"name": name, "datatype": "FP32", "shape": [1, length], "data": [1.5] * length}
    return to_json({"inputs": [tensor]})


# Made before anything is traced: clients keep for a while what they sent.
TEXT = b'"%b"' % (b"x" * LARGE)
TOO_LONG = b'"%b"' % (b"x" * 5 * LARGE)
LINES = (TEXT + b"\n") * 3


def post(server: Serving, path: str, body: bytes, headers: dict[str, str]) -> int:
    """Send a request on a connection of its own; 0 stands for an answer that is broken off."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE_S)
    try:
        connection.request("POST", path, body, headers)
        with connection.getresponse() as response:
            response.read()
            return response.status
    except HTTPException:
        return 0
    finally:
        connection.close()


@pytest.mark.parametrize("path", [*BATCHED, "plain", "pooled", "soon", "stream", "broken_off"])
def test_whatever_a_service_fails_with_keeps_nothing(server: Serving, path: str) -> None:
    for way in WAYS:
        Failing.way, kept = way, Kept()
        statuses = {post(server, f"/{path}", TEXT, JSON) for _ in range(2)}
        assert (way.__name__, kept.bodies()) == (way.__name__, 0)
        assert path in {"stream", "broken_off"} or statuses <= {404, 500}


@pytest.mark.parametrize("path", BATCHED)
def test_a_batch_that_is_run_again_in_parts_keeps_nothing(server: Serving, path: str) -> None:
    for way in WAYS:
        Failing.way, kept = way, Kept()
        assert post(server, f"/{path}", LINES, NDJSON) == 200
        assert (way.__name__, kept.bodies()) == (way.__name__, 0)


@pytest.mark.parametrize(
    ("status", "path", "body", "headers"),
    [
        (400, "/batched", TEXT[:-1], JSON),
        (400, "/plain", TEXT[:-1], JSON),
        (422, "/batched", b"[%b]" % TEXT, JSON),
        (422, "/stream", b"[%b]" % TEXT, JSON),
        (413, "/batched", TOO_LONG, JSON),
        (413, "/plain", TOO_LONG, JSON),
        (413, "/batched", TOO_LONG, NDJSON),
        (415, "/batched", TEXT, {"content-type": "text/plain"}),
        (200, "/batched", b"[%b]\n" % TEXT * 2, NDJSON),
        (500, "/row", array(), NPY),
        (400, "/row", array()[:-8], NPY),
        (500, "/v2/models/row/infer", tensor(FLOATS), JSON),
        (422, "/v2/models/row/infer", tensor(FLOATS - 1), JSON),
        (404, "/v2/models/other/infer", tensor(FLOATS), JSON),
    ],
    ids=lambda value: None if isinstance(value, (int, str)) else "",
)
def test_what_is_refused_is_not_kept(
    server: Serving, status: int, path: str, body: bytes, headers: dict[str, str]
) -> None:
    Failing.way, kept = raises, Kept()
    assert [post(server, path, body, headers) for _ in range(3)] == [status] * 3
    assert kept.bodies() == 0


@pytest.mark.parametrize("path", ["/held", "/held_plain", "/held_soon"])
def test_one_whose_time_is_over_is_kept_no_longer_than_its_run(server: Serving, path: str) -> None:
    kept = Kept()
    headers = {**JSON, "x-request-timeout-ms": "40"}
    assert [post(server, path, TEXT, headers) for _ in range(3)] == [504] * 3
    Failing.gate.set()
    assert kept.bodies() == 0


@pytest.mark.parametrize("path", ["/held", "/held_plain", "/held_soon", "/held_stream"])
def test_one_whose_client_left_is_kept_no_longer_than_its_run(server: Serving, path: str) -> None:
    kept = Kept()
    for _ in range(3):
        leave(server.port, path)
    Failing.gate.set()
    assert kept.bodies() == 0


def leave(port: int, path: str) -> None:
    """Send a request, and close the connection once it runs, or waits for the one that does."""
    with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as connection:
        head = f"POST {path} HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\n"
        connection.sendall(f"{head}content-length: {len(TEXT)}\r\n\r\n".encode())
        connection.sendall(TEXT)
        Failing.entered.acquire(timeout=0.2)


def test_an_error_of_the_users_own_route_keeps_no_frame(server: Serving) -> None:
    Failing.way = raises_one_for_all
    has_routes = "/own" in server.app.openapi()["paths"]
    statuses = [httpx.post(f"{server.url}/own?text=x").status_code for _ in range(3)]
    assert statuses == [500 if has_routes else 404] * 3
    assert until(lambda: KEPT.__traceback__ is None), KEPT.__traceback__
