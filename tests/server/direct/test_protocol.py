"""The same requests over uvicorn's own HTTP protocol and over ours: the same answers.

Whole conversations over real sockets, byte by byte but for dates, ids and times.
"""

import asyncio
import gc
import logging
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from spanserve import api, service
from spanserve.batching.item import Item
from spanserve.server.connections.limited_httptools import LimitedHttpTools
from spanserve.server.direct import upstream
from spanserve.server.direct.protocol import DirectProtocol
from spanserve.server.http.exchange import Exchange
from support.conversations import PROTOCOLS, Talk, app_of, post
from support.conversations import served as served_app
from support.serving import DEADLINE_S, metrics_of

OPEN = threading.Event()


@service
class Doubler:
    """Doubles; some numbers mean more."""

    @api(batch=True, inline=True)
    def double(self, items: list[int]) -> list[Any]:
        """Double each."""
        return [_doubled(item) for item in items]

    @api(batch=True, max_batch_size=1)
    def slow(self, items: list[int]) -> list[int]:
        """Answer when the test says so."""
        assert OPEN.wait(DEADLINE_S)
        return [2 * item for item in items]


def _doubled(item: int) -> Any:
    if item == 13:
        return HTTPException(418, "unlucky", {"X-Luck": "none"})
    if item == 14:
        return HTTPException(418, "unlucky", {"Connection": "close"})
    if item == 15:
        return ValueError("no such double")
    if item == 16:
        return object()
    return 2 * item if item >= 0 else "x" * -item


@pytest.fixture(params=PROTOCOLS, ids=PROTOCOLS.get)
def http(request: pytest.FixtureRequest) -> Any:
    """Return an HTTP protocol."""
    return request.param


def own_app(config: Mapping[str, Any]) -> FastAPI:
    return app_of(Doubler, config)


@contextmanager
def served(http: Any, app: FastAPI | None = None, **options: Any) -> Iterator[Any]:
    """Serve the doubler, or another app; whatever waits ends with it."""
    OPEN.clear()
    with served_app(http, app or own_app({}), **options) as (server, place):
        try:
            yield server, place
        finally:
            OPEN.set()


def answered(status: int, body: Any, *, length: int, **headers: str) -> Any:
    common = {
        "date": "...",
        "content-type": "application/json",
        "content-length": str(length),
        "x-request-id": "...",
        "server-timing": "...",
    }
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return status, {**common, **named}, body


EIGHT = answered(200, 8, length=1)


def test_a_connection_is_kept_for_the_next_request(http: Any) -> None:
    with served(http) as (server, place), Talk(place) as talk:
        assert [talk.ask(post(b"4")) for _ in range(3)] == [EIGHT] * 3
        assert server.server_state.total_requests == 3


def test_a_request_may_come_in_pieces(http: Any) -> None:
    with served(http) as (_, place), Talk(place) as talk:
        talk.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request = post(b"  4 ")
        for cut in range(1, len(request), 7):
            assert talk.ask(request[:cut], request[cut:]) == EIGHT


def test_pipelined_requests_are_answered_in_order(http: Any) -> None:
    with served(http) as (_, place), Talk(place) as talk:
        talk.socket.sendall(b"".join(post(b"%d" % number) for number in range(1, 5)))
        assert [talk.answer()[2] for _ in range(4)] == [2, 4, 6, 8]


def test_the_clients_own_request_id_comes_back(http: Any) -> None:
    with served(http) as (_, place), Talk(place) as talk:
        expected = answered(200, 8, length=1, x_request_id="mine")
        assert talk.ask(post(b"4", "X-Request-Id: mine")) == expected


def test_a_chunked_body_is_a_body(http: Any) -> None:
    with served(http) as (_, place), Talk(place) as talk:
        head = b"POST /double HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert talk.ask(head + b"1\r\n1\r\n2\r\n23\r\n0\r\n\r\n")[2] == 246


@pytest.mark.parametrize(
    "request_bytes", [post(b"4", "Connection: close"), post(b"4", version="1.0")]
)
def test_a_connection_that_is_not_kept_is_closed_and_said_so(
    http: Any, request_bytes: bytes
) -> None:
    with served(http) as (_, place), Talk(place) as talk:
        expected = answered(200, 8, length=1, connection="close")
        assert talk.ask(request_bytes) == expected
        assert talk.closed()


def test_a_client_that_expects_100_is_told_to_go_on(http: Any) -> None:
    with served(http) as (_, place), Talk(place) as talk:
        whole = post(b"4", "Expect: 100-continue")
        talk.socket.sendall(whole[:-1])
        assert talk.file.readline() + talk.file.readline() == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert talk.ask(whole[-1:]) == EIGHT


@pytest.mark.parametrize(
    ("body", "status", "headers", "code"),
    [
        (b"4,", 400, {}, "malformed_body"),
        (b'"x"', 422, {}, "invalid_item"),
        (b"13", 418, {"x-luck": "none"}, "http_418"),
        (b"14", 418, {"connection": "close"}, "http_418"),
        (b"15", 500, {}, "service_failed"),
        (b"16", 500, {}, "service_failed"),
        (b" " * 200, 413, {"connection": "close"}, "body_too_large"),
    ],
)
def test_errors_have_the_same_answers(
    http: Any, body: bytes, status: int, headers: dict[str, str], code: str
) -> None:
    app = own_app({"server": {"max_request_bytes": 100}})
    with served(http, app) as (_, place), Talk(place) as talk:
        given, sent, answer = talk.ask(post(body))
        common = {"date", "content-type", "content-length", "x-request-id", "server-timing"}
        assert (given, answer["code"]) == (status, code)
        assert {key: sent[key] for key in sent if key not in common} == headers
        if headers.get("connection") == "close":
            assert talk.closed()
        else:
            assert talk.ask(post(b"4")) == EIGHT


def test_other_methods_and_paths_go_their_way(http: Any) -> None:
    with served(http) as (_, place), Talk(place) as talk:
        assert talk.ask(b"GET /double HTTP/1.1\r\nHost: x\r\n\r\n")[0] == 405
        assert talk.ask(post(b"4", path="/nowhere"))[0] == 404
        assert talk.ask(post(b"4", path="/double?x=1")) == EIGHT
        assert talk.ask(post(b"4", path="/%64ouble")) == EIGHT


def test_middleware_sees_every_request(http: Any) -> None:
    seen: list[str] = []

    class Watching:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                seen.append(scope["path"])
            await self.app(scope, receive, send)

    app = own_app({})
    app.add_middleware(Watching)
    with served(http, app) as (_, place), Talk(place) as talk:
        assert talk.ask(post(b"4"))[2] == 8
    assert seen == ["/double"]


def test_a_malformed_request_after_a_good_one_is_refused(http: Any) -> None:
    with served(http) as (_, place), Talk(place) as talk:
        assert talk.ask(post(b"4")) == EIGHT
        talk.socket.sendall(b"not http\r\n\r\n")
        assert talk.file.readline() == b"HTTP/1.1 400 Bad Request\r\n"


def test_an_answer_longer_than_the_sockets_buffers_arrives_whole(http: Any) -> None:
    with served(http) as (_, place), Talk(place) as talk:
        size = 3_000_000
        talk.socket.sendall(post(b"-%d" % size) * 3)  # pipelined: the first fills the buffers
        assert [talk.answer()[2] for _ in range(3)] == ["x" * size] * 3


def test_an_idle_connection_is_closed_and_a_busy_one_is_not(http: Any) -> None:
    with served(http, timeout_keep_alive=1) as (_, place), Talk(place) as talk:
        assert talk.ask(post(b"4")) == EIGHT
        assert talk.closed()
        with Talk(place) as busy, Talk(place) as idle:
            assert idle.ask(post(b"4")) == EIGHT
            assert busy.ask(post(b"4")) == EIGHT
            busy.socket.sendall(post(b"4", path="/slow"))
            assert idle.closed()
            OPEN.set()
            assert busy.answer() == EIGHT
            assert busy.closed()


def test_a_client_that_left_the_queue_is_counted(http: Any) -> None:
    with served(http) as (_, place), Talk(place) as first, Talk(place) as watch:
        first.socket.sendall(post(b"1", path="/slow"))
        _wait_for(watch, "spanserve_runner_busy", 1)
        with Talk(place) as leaving:
            leaving.socket.sendall(post(b"2", path="/slow"))
            _wait_for(watch, 'spanserve_queue_depth{endpoint="/slow"}', 1)
        # Its closing has been read once a later connection has its answer.
        with Talk(place) as later:
            assert later.ask(post(b"4")) == EIGHT
        OPEN.set()
        assert first.answer()[2] == 2
        _wait_for(watch, 'spanserve_items_abandoned_total{endpoint="/slow"}', 1)
        _wait_for(watch, 'spanserve_requests_total{endpoint="/slow",status="499"}', 1)


def test_a_client_that_leaves_before_its_body_is_whole_is_counted(http: Any) -> None:
    with served(http) as (_, place), Talk(place) as watch:
        with Talk(place) as leaving:
            leaving.socket.sendall(post(b"1234")[:-2])
            assert watch.ask(post(b"4")) == EIGHT
        _wait_for(watch, 'spanserve_requests_total{endpoint="/double",status="499"}', 1)


def _wait_for(talk: Talk, name: str, value: float) -> None:
    for _ in range(2000):
        talk.socket.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        length = 0
        while line := talk.file.readline().strip():
            if line.startswith(b"content-length: "):
                length = int(line[16:])
        if metrics_of(talk.file.read(length).decode()).get(name) == value:
            return
    pytest.fail(f"{name} never became {value}")


def test_stopping_finishes_what_was_asked_and_says_that_it_closes(http: Any) -> None:
    with served(http) as (server, place), Talk(place) as talk, Talk(place) as watch:
        talk.socket.sendall(post(b"4", path="/slow"))
        _wait_for(watch, "spanserve_runner_busy", 1)
        server.should_exit = True
        assert watch.closed()
        OPEN.set()
        expected = answered(200, 8, length=1, connection="close")
        assert talk.answer() == expected
        assert talk.closed()


def test_what_takes_longer_than_the_drain_is_told_so(http: Any) -> None:
    with served(http, timeout_graceful_shutdown=1) as (server, place), Talk(place) as talk:
        with Talk(place) as watch:
            talk.socket.sendall(post(b"4", path="/slow"))
            _wait_for(watch, "spanserve_runner_busy", 1)
        server.should_exit = True
        status, headers, body = talk.answer()
        OPEN.set()
        assert (status, headers["connection"], body["code"]) == (503, "close", "draining")


def test_the_access_log_has_a_line_for_each_request(
    http: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level("INFO", "uvicorn.access"),
        served(http, access_log=True) as (_, place),
        Talk(place) as talk,
    ):
        assert talk.ask(post(b"4")) == EIGHT
    lines = [r.getMessage() for r in caplog.records if r.name == "uvicorn.access"]
    assert [line.partition(" - ")[2] for line in lines] == ['"POST /double HTTP/1.1" 200']


def test_a_whole_request_makes_no_task_whoever_listens_to_uvicorns_access_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    logging.getLogger("uvicorn.access").addHandler(caplog.handler)
    app = own_app({})
    made: list[str] = []

    async def factory_watched() -> None:
        loop = asyncio.get_running_loop()

        def noted(loop: Any, coroutine: Any, **options: Any) -> "asyncio.Task[Any]":
            made.append(str(coroutine))
            return asyncio.Task(coroutine, loop=loop, **options)

        loop.set_task_factory(noted)

    @app.get("/watch")
    async def watch() -> int:
        await factory_watched()
        return 0

    with served(DirectProtocol, app) as (_, place), Talk(place) as talk:
        assert talk.ask(b"GET /watch HTTP/1.1\r\nHost: x\r\n\r\n")[2] == 0
        made.clear()
        assert talk.ask(post(b"4")) == EIGHT
        assert [each for each in made if "run_asgi" in each] == []
    logging.getLogger("uvicorn.access").removeHandler(caplog.handler)


def test_uvicorn_has_all_that_we_build_on() -> None:
    assert upstream.missing() == []


def test_without_it_requests_go_uvicorns_way_and_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from spanserve.server.process.options import http_protocol  # noqa: PLC0415

    assert http_protocol() is DirectProtocol
    monkeypatch.delattr(HttpToolsProtocol, "_unset_keepalive_if_required")  # a uvicorn without it
    assert http_protocol() is LimitedHttpTools
    assert "needs (_unset_keepalive_if_required); they go uvicorn's own" in caplog.text


def test_a_request_leaves_nothing_behind() -> None:
    with served(DirectProtocol) as (server, place), Talk(place) as talk:
        assert talk.ask(post(b"4")) == EIGHT
        (connection,) = server.server_state.connections
        assert isinstance(connection, DirectProtocol)
        kinds = {type(each) for each in gc.get_referents(connection.cycle)}
        assert kinds & {Exchange, Item, DirectProtocol} == set()
        assert server.server_state.tasks == set()
