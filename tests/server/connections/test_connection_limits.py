"""What a stranger's connection may cost: each limit, by each protocol, at each way in."""

import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Annotated, Any, Final

import numpy as np
import pytest
from fastapi import Body, Depends, FastAPI, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from spanserve import Array, api, service
from support.conversations import PROTOCOLS, Talk, app_of, post, served
from support.serving import metrics_of, until

LIMITS: Final = {
    "server": {
        "max_header_bytes": 8_000,
        "header_timeout_s": 0.3,
        "body_timeout_s": 0.3,
        "max_request_bytes": 2_000_000,
    }
}


@service
class Own:
    """Endpoints, and routes of the service's own."""

    @api(batch=True, inline=True)
    def double(self, items: list[int]) -> list[int]:
        return [2 * item for item in items]

    @api(batch=True)
    def rows(self, rows: Annotated[np.ndarray, Array("float32", (2,))]) -> np.ndarray:
        return rows

    @api
    async def text(self, text: str) -> int:
        return len(text)

    @classmethod
    def configure_app(cls, app: FastAPI) -> None:
        @app.post("/own/bytes")
        async def own_bytes(request: Request) -> int:
            return len(await request.body())

        @app.post("/own/json")
        async def own_json(text: Annotated[str, Body()]) -> int:
            return len(text)

        @app.post("/own/broken")
        async def own_broken() -> int:
            raise ValueError("broken")


@service
class Dependent(Own):
    """The same where every route has a dependency."""

    @classmethod
    def configure_app(cls, app: FastAPI) -> None:
        super().configure_app(app)
        app.router.dependencies.append(Depends(lambda: None))


class ReadsFirst:
    """Middleware that reads the whole body before the app does."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            more = True
            while more:
                more = (await receive()).get("more_body", False)
        await self._app(scope, receive, send)


@service
class Behind(Own):
    """The same behind middleware that reads bodies."""

    @classmethod
    def configure_app(cls, app: FastAPI) -> None:
        super().configure_app(app)
        app.add_middleware(ReadsFirst)


DOORS: Final = {
    "/double": "application/json",
    "/double?query": "application/json",
    "/double?lines": "application/x-ndjson",
    "/rows?array": "application/x-npy",
    "/text": "application/json",
    "/v2/models/rows/infer": "application/json",
    "/own/bytes": "text/plain",
    "/own/json": "application/json",
}


@pytest.fixture(params=PROTOCOLS, ids=PROTOCOLS.get, scope="module")
def http(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(scope="module")
def place(http: Any) -> Iterator[tuple[str, int]]:
    with served(http, app_of(Own, LIMITS)) as (_, place):
        yield place


def refused(place: tuple[str, int], code: str, status: int) -> float:
    """Return how many connections were refused for this, by `/metrics`."""
    with Talk(place) as talk:
        talk.socket.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        length = 0
        while line := talk.file.readline().strip().lower():
            if line.startswith(b"content-length: "):
                length = int(line[16:])
        found: dict[str, float] = metrics_of(talk.file.read(length).decode())
    name = f'spanserve_connections_refused_total{{code="{code}",status="{status}"}}'
    return found.get(name, 0.0)


def get(*headers: str, line: str = "GET /metadata HTTP/1.1") -> bytes:
    return "\r\n".join([line, *headers, "", ""]).encode("latin-1")


HOST: Final = "Host: x"
BAD: Final = {
    "not http at all": (b"not http\r\n\r\n", 400, "malformed_request"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "malformed_request"),
    "no host": (get(), 400, "malformed_request"),
    "two hosts": (get(HOST, HOST), 400, "malformed_request"),
    "a space in the host": (get("Host: a b"), 400, "malformed_request"),
    "a path in the host": (get("Host: a/b"), 400, "malformed_request"),
    "a user in the host": (get("Host: a@b"), 400, "malformed_request"),
    "no host in a post": (post(b"4").replace(b"Host: x\r\n", b""), 400, "malformed_request"),
    "two hosts in a post": (post(b"4", "Host: y"), 400, "malformed_request"),
    "a bad host in a post": (
        post(b"4").replace(b"Host: x", b"Host: a b"),
        400,
        "malformed_request",
    ),
    "HTTP/2.0": (get(HOST, line="GET / HTTP/2.0"), 505, "version_not_supported"),
    "HTTP/2.0 in a post": (post(b"4", version="2.0"), 505, "version_not_supported"),
    "HTTP/1.2": (get(HOST, line="GET / HTTP/1.2"), 505, "version_not_supported"),
    "HTTP/3": (get(HOST, line="GET / HTTP/3"), 505, "version_not_supported"),
    "HTTP/2 from the start": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "version_not_supported"),
    "a space in a name": (get(HOST, "a b: c"), 400, "malformed_request"),
    "two lengths": (post(b"4", "Content-Length: 2"), 400, "malformed_request"),
    "no length": (post(b"4").replace(b"Length: 1", b"Length: x"), 400, "malformed_request"),
    "another coding": (
        get(HOST, "Transfer-Encoding: gzip, chunked", line="POST /double HTTP/1.1"),
        501,
        "not_implemented",
    ),
    "a long header": (get(HOST, "a: " + 9_000 * "b"), 431, "headers_too_large"),
    "many headers": (get(HOST, *("a: b" for _ in range(128))), 431, "headers_too_large"),
    "a long post": (post(b"4", "a: " + 9_000 * "b"), 431, "headers_too_large"),
    "a long URL": (get(HOST, line=f"GET /{9_000 * 'a'} HTTP/1.1"), 414, "url_too_long"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("cut", [0, 40])
def test_what_is_no_request_is_answered_in_json_counted_and_closed(
    place: tuple[str, int], name: str, cut: int
) -> None:
    sent, status, code = BAD[name]
    before = refused(place, code, status)
    with Talk(place) as talk:
        assert talk.ask(post(b"4"))[2] == 8
        given, headers, body = talk.ask(sent[:cut], sent[cut:])
        assert (given, body["code"], headers["connection"]) == (status, code, "close")
        assert set(headers) >= {"date", "content-type", "content-length", "x-request-id"}
        assert talk.closed()
    assert refused(place, code, status) == before + 1


@pytest.mark.parametrize("name", ["two hosts", "not http at all", "HTTP/1.2", "a long URL"])
def test_a_refusal_comes_after_the_answers_that_are_due(place: tuple[str, int], name: str) -> None:
    sent, status, code = BAD[name]
    with Talk(place) as talk:
        given, _, answer = talk.ask(post(b'"four"', path="/text") + post(b"4") + sent)
        assert (given, answer) == (200, 4)
        assert talk.answer()[2] == 8
        given, _, answer = talk.answer()
        assert (given, answer["code"]) == (status, code)
        assert talk.closed()


@pytest.mark.parametrize(
    "host", ["x", "x:80", "a_b.example:1", "[::1]:80", "", "%41", "xn--bcher-kva.example"]
)
def test_a_host_may_be_what_rfc_3986_says(place: tuple[str, int], host: str) -> None:
    with Talk(place) as talk:
        assert talk.ask(get(f"Host: {host}"))[0] == 200


def test_a_client_that_sends_a_flood_of_headers_sees_the_answer(place: tuple[str, int]) -> None:
    with Talk(place) as talk:
        talk.socket.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        for _ in range(30):
            talk.socket.sendall(b"a: %b\r\n" % (1_000_000 * b"b"))
        given, _, body = talk.answer()
        assert (given, body["code"]) == (431, "headers_too_large")


def test_a_header_that_trickles_is_bounded(place: tuple[str, int]) -> None:
    with Talk(place) as talk:
        talk.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        talk.socket.sendall(b"GET / HTTP/1.1\r\nHost: x\r\na: ")
        sent = 0
        while not select.select([talk.socket], [], [], 0)[0]:
            talk.socket.sendall(100 * b"b")
            sent += 100
            assert sent < 8_000_000
        assert talk.answer()[0] == 431


@pytest.mark.parametrize(
    "tail",
    [
        b"0\r\n" + b"".join(b"a%d: %b\r\n" % (n, 1_000 * b"b") for n in range(20)),
        b"".join(b"1;a=%b\r\nx\r\n" % (1_000 * b"b") for _ in range(20)),
        b"1;a=" + 20_000 * b"b",
        b"0\r\na: " + 20_000 * b"b",
    ],
    ids=["trailers", "extensions", "one extension", "one trailer"],
)
@pytest.mark.parametrize("path", ["/double", "/own/bytes"])
def test_what_stands_around_chunks_is_bounded(
    place: tuple[str, int], tail: bytes, path: str
) -> None:
    head = post(b"", path=path).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    with Talk(place) as talk:
        talk.socket.sendall(head)
        given = talk.ask(tail[:9_000], tail[9_000:])[0]
        assert given in {400, 431}
        assert talk.closed()


def test_a_trailer_is_no_header(place: tuple[str, int]) -> None:
    head = post(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    with Talk(place) as talk:
        given, headers, answer = talk.ask(head + b"1\r\n4\r\n0\r\nX-Request-Id: mine\r\n\r\n")
        assert (given, answer) == (200, 8)
        assert headers["x-request-id"] != "mine"
        assert talk.ask(post(b"5"))[2] == 10


def test_small_chunks_are_no_flood(place: tuple[str, int]) -> None:
    head = post(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    with Talk(place) as talk:
        chunks = b"1\r\n \r\n" * 60_000
        assert talk.ask(head, chunks, b"1\r\n4\r\n0\r\n\r\n")[2] == 8


@pytest.mark.parametrize("path", DOORS)
def test_chunks_that_are_none_are_refused(place: tuple[str, int], path: str) -> None:
    head = post(b"", f"Content-Type: {DOORS[path]}", path=path)
    head = head.replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    with Talk(place) as talk:
        given, headers, body = talk.ask(head, b"1\r\n4\r\n", b"oh\r\n")
        assert (given, headers["connection"]) == (400, "close")
        assert "the body is not sent as HTTP says" in body["message"]
        assert talk.closed()


def test_one_who_says_nothing_is_let_go(place: tuple[str, int]) -> None:
    with Talk(place) as talk:
        assert talk.closed()


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\nHost:", b"\r\n", b"P"])
@pytest.mark.parametrize("first", [True, False])
def test_a_head_that_does_not_end_is_408(
    place: tuple[str, int], sent: bytes, *, first: bool
) -> None:
    with Talk(place) as talk:
        if not first:
            assert talk.ask(post(b"4"))[2] == 8
        given, headers, body = talk.ask(sent)
        if sent == b"\r\n" and given == 400:  # h11 takes no blank line before a request
            return
        assert (given, body["code"], headers["connection"]) == (408, "request_too_slow", "close")
        assert "server.header_timeout_s" in body["message"]
        assert talk.closed()


def test_a_head_that_trickles_is_408_too(place: tuple[str, int]) -> None:
    with Talk(place) as talk:
        talk.socket.sendall(b"GET / HTTP/1.1\r\nHost: x\r\na: ")
        while not select.select([talk.socket], [], [], 0.01)[0]:
            talk.socket.sendall(b"b")
        assert talk.answer()[0] == 408


@pytest.mark.parametrize("body", [b"", b"1", 100_000 * b" "], ids=["no", "some", "much"])
def test_a_body_that_does_not_go_on_is_408_at_every_door(
    place: tuple[str, int], body: bytes
) -> None:
    with ExitStack() as stack:
        talks = {path: stack.enter_context(Talk(place)) for path in DOORS}
        for path, talk in talks.items():
            whole = post(body + 100 * b" ", f"Content-Type: {DOORS[path]}", path=path)
            talk.socket.sendall(whole[:-100])
        for talk in talks.values():
            given, headers, told = talk.answer()
            expected = (408, "request_too_slow", "close")
            assert (given, told["code"], headers["connection"]) == expected
            assert "server.body_timeout_s" in told["message"]
            assert talk.closed()


@pytest.mark.parametrize("path", ["/double", "/double?query", "/own/bytes"])
def test_a_body_that_goes_on_is_read(place: tuple[str, int], path: str) -> None:
    whole = post(60 * b" " + b"4", path=path)
    with Talk(place) as talk:
        talk.socket.sendall(whole[:-61])
        for at in range(len(whole) - 61, len(whole)):
            assert not select.select([talk.socket], [], [], 0.01)[0]
            talk.socket.sendall(whole[at : at + 1])
        assert talk.answer()[2] == (61 if path == "/own/bytes" else 8)


@pytest.mark.parametrize("kind", [Own, Dependent, Behind])
@pytest.mark.parametrize("by", ["config", "client"])
def test_the_time_of_a_request_covers_its_body_at_every_door(http: Any, by: str, kind: Any) -> None:
    config = {"request_timeout_ms": 100} if by == "config" else {}
    asked = () if by == "config" else ("X-Request-Timeout-Ms: 100",)
    key = "server.request_timeout_ms" if by == "config" else "X-Request-Timeout-Ms"
    app = app_of(kind, {"server": config})
    with served(http, app) as (_, place), ExitStack() as stack:
        paths = [path for path in DOORS if not path.startswith("/own")]
        if kind is Dependent:  # FastAPI's own handling reads JSON only
            paths = [path for path in paths if "lines" not in path and "array" not in path]
        if kind is Behind:  # the endpoint is known by its path
            paths.remove("/v2/models/rows/infer")
        talks = {path: stack.enter_context(Talk(place)) for path in paths}
        for path, talk in talks.items():
            whole = post(9_000 * b" ", f"Content-Type: {DOORS[path]}", *asked, path=path)
            talk.socket.sendall(whole[:-100])
        for talk in talks.values():
            given, headers, told = talk.answer()
            expected = (408, "request_too_slow", "close")
            assert (given, told["code"], headers["connection"]) == expected
            assert told["message"] == f"the body was not there after 100 ms ({key})"
            assert talk.closed()


@pytest.mark.parametrize("path", [*DOORS, "/own/broken", "/nowhere", "/livez"])
@pytest.mark.parametrize("expects", [True, False])
def test_a_body_that_says_it_is_too_large_is_413_at_its_head(
    place: tuple[str, int], path: str, *, expects: bool
) -> None:
    headers = ["Expect: 100-continue"] if expects else []
    head = post(b"", *headers, path=path).replace(b"Length: 0", b"Length: 99999999")
    with Talk(place) as talk:
        given, said, body = talk.ask(head)
        assert (given, body["code"], said["connection"]) == (413, "body_too_large", "close")
        assert ("error" in body) == path.startswith("/v2/")
        assert talk.closed()


def test_a_route_that_raises_takes_no_other_request_along(place: tuple[str, int]) -> None:
    with Talk(place) as talk:
        talk.socket.sendall(post(b"", path="/own/broken") + post(b"4"))
        given, _, body = talk.answer()
        assert (given, body["code"]) == (500, "service_failed")
        assert talk.answer()[2] == 8


ROOM: Final = {"server": {"max_buffered_bytes": 500_000, "body_timeout_s": 0.4}}
A_READ: Final = 256 * 1024


@pytest.mark.parametrize("path", ["/own/bytes", "/double"])
def test_a_body_that_waits_too_long_for_others_is_503(http: Any, path: str) -> None:
    app = app_of(Own, ROOM)
    assert app.connections is not None
    bodies = app.connections.bodies
    whole = post(700_000 * b" " + b'"four"', path=path)
    with served(http, app) as (_, place), Talk(place) as slow, Talk(place) as other:
        slow.socket.sendall(whole[:600_000])
        assert until(lambda: bodies.used >= 600_000)  # a lone one is always read
        other.socket.sendall(post(100_000 * b" ", path=path)[:-1])
        sent = 600_000
        while not select.select([other.socket], [], [], 0.01)[0]:
            slow.socket.sendall(whole[sent : sent + 1])  # as it goes on, it may
            sent += 1
            assert bodies.used < 600_000 + 2 * A_READ
        given, headers, told = other.answer()
        assert (given, told["code"], headers["retry-after"]) == (503, "no_room_for_body", "1")
        given, _, answer = slow.ask(whole[sent:])
        assert (given, answer) == (200, 700_006) if path == "/own/bytes" else (422, answer)
    assert bodies.used == 0


@pytest.mark.parametrize("path", ["/own/bytes", "/double"])
def test_bodies_that_are_read_have_a_limit_together(http: Any, path: str) -> None:
    app = app_of(Own, ROOM)
    assert app.connections is not None
    bodies = app.connections.bodies
    whole = post(600_000 * b" " + b'"four"', path=path)
    with served(http, app) as (_, place), ExitStack() as stack:
        talks = [stack.enter_context(Talk(place)) for _ in range(12)]
        for talk in talks:
            talk.socket.sendall(whole[:-1])  # the sockets hold what is not read
            assert bodies.used < 2 * 500_000 + A_READ
        with Talk(place) as small:
            assert small.ask(post(b"4"))[2] == 8
        assert {talk.answer()[0] for talk in talks} <= {408, 503}
        with Talk(place) as talk:
            assert talk.ask(whole)[0] == (200 if path == "/own/bytes" else 422)
    assert bodies.used == 0
