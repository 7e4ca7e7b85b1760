"""A server over real sockets: what is answered, and how."""

import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Annotated, Any

import httpx
import numpy as np
import pytest
from fastapi import Depends, FastAPI, Header, HTTPException, Request
from pydantic import BaseModel
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.responses import Response

from spanserve import Array, Span, api, hookimpl, service
from support.serving import DEADLINE_S, Serving, serving, until

HEX_32 = re.compile("[0-9a-f]{32}")
TIMING = re.compile(
    r"queue;dur=\d+\.\d{3}, run;dur=\d+\.\d{3}, total;dur=\d+\.\d{3}|total;dur=\d+\.\d{3}"
)


class Silent:
    """A tracer that drops everything."""

    @hookimpl
    def export_spans(self, spans: list[Span]) -> None:
        del spans


class Point(BaseModel):
    x: float
    y: float = 0.0


Pair = Annotated[np.ndarray, Array("float64", (2,))]


@service
class Everything:
    """One endpoint of each kind."""

    def __init__(self) -> None:
        self.thread = threading.current_thread().name
        self.together = threading.Barrier(3)

    @api(batch=True)
    def double(self, rows: Pair) -> np.ndarray:
        """Double each number."""
        assert threading.current_thread().name == self.thread
        return rows * 2

    @api(batch=True, inline=True)
    def double_inline(self, rows: Pair) -> np.ndarray:
        assert threading.current_thread().name != self.thread
        return rows * 2

    @api(batch=True)
    def lengths(self, points: list[Point]) -> list[float]:
        return [float(np.hypot(point.x, point.y)) for point in points]

    @api
    def add(self, a: int, b: int = 1) -> int:
        assert threading.current_thread().name == self.thread
        return a + b

    @api(route="/v1/mirror")
    def mirror(self, point: Point) -> Point:
        return Point(x=point.y, y=point.x)

    @api
    def total(self, row: Annotated[np.ndarray, Array("int64")]) -> int:
        return int(row.sum())

    @api
    async def hello(self) -> str:
        return f"hello from {threading.current_thread().name}"

    @api(threads=3)
    def meet(self) -> bool:
        self.together.wait(DEADLINE_S)
        return True


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    with serving(Everything, tracers=[("silent", Silent(), {})]) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Serving) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url) as made:
        yield made


@pytest.mark.parametrize(
    ("route", "body", "answer"),
    [
        ("/double", [1, 2.5], [2.0, 5.0]),
        ("/double_inline", [1, 2.5], [2.0, 5.0]),
        ("/lengths", {"x": 3, "y": 4}, 5.0),
        ("/lengths", {"x": 3}, 3.0),
        ("/add", {"a": 1, "b": 2}, 3),
        ("/add", {"a": 1}, 2),
        ("/v1/mirror", {"x": 1, "y": 2}, {"x": 2.0, "y": 1.0}),
        ("/total", [[1, 2], [3, 4]], 10),
    ],
)
def test_each_kind_of_endpoint_answers(
    client: httpx.Client, route: str, body: Any, answer: Any
) -> None:
    response = client.post(route, json=body)
    assert (response.status_code, response.json()) == (200, answer)
    assert response.headers["content-type"] == "application/json"


def test_an_async_method_runs_on_the_loop(client: httpx.Client) -> None:
    assert client.post("/hello").json() == "hello from server"


def test_a_method_with_threads_runs_on_as_many_at_once(server: Serving) -> None:
    with ThreadPoolExecutor(3) as callers:
        answers = list(callers.map(lambda _: httpx.post(f"{server.url}/meet").json(), range(3)))
    assert answers == [True] * 3


def test_many_clients_at_once_each_get_their_own_answer(server: Serving) -> None:
    with (
        httpx.Client(base_url=server.url) as client,
        ThreadPoolExecutor(16) as callers,
    ):
        answers = list(
            callers.map(lambda n: client.post("/double", json=[n, -n]).json(), range(300))
        )
    assert answers == [[2.0 * n, -2.0 * n] for n in range(300)]


def test_every_answer_carries_the_ids_and_the_time_it_took(client: httpx.Client) -> None:
    for method, path in [("POST", "/double"), ("POST", "/add"), ("POST", "/hello")]:
        headers = client.request(method, path, json=[1, 2]).headers
        assert HEX_32.fullmatch(headers["x-trace-id"])
        assert headers["x-request-id"] == headers["x-trace-id"]
    assert TIMING.fullmatch(client.post("/double", json=[1, 2]).headers["server-timing"])
    assert TIMING.fullmatch(client.post("/add", json={"a": 1}).headers["server-timing"])
    assert TIMING.fullmatch(client.post("/hello").headers["server-timing"])


@pytest.mark.parametrize(
    ("path", "body", "type_"),
    [
        ("/double", b"{", "application/json"),
        ("/double", b"1", "text/plain"),
        ("/double", b"1\n2\n", "application/x-ndjson"),
        ("/add", b"{}", "application/json"),
        ("/nowhere", b"", "application/json"),
        ("/v2/models/nothing/infer", b"{}", "application/json"),
    ],
)
def test_what_ran_nothing_says_how_long_it_took(
    client: httpx.Client, path: str, body: bytes, type_: str
) -> None:
    headers = client.post(path, content=body, headers={"Content-Type": type_}).headers
    assert re.fullmatch(r"total;dur=\d+\.\d{3}", headers["server-timing"])


@pytest.mark.parametrize("path", ["/double", "/add"])
def test_a_callers_trace_is_continued_and_its_id_is_not_each_requests(
    client: httpx.Client, path: str
) -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"}
    answers = [client.post(path, json=[1, 2], headers=headers).headers for _ in range(2)]
    assert [answer["x-trace-id"] for answer in answers] == [trace_id, trace_id]
    ids = {trace_id, *(answer["x-request-id"] for answer in answers)}
    assert len(ids) == 3
    assert all(map(HEX_32.fullmatch, ids))


@pytest.mark.parametrize("request_id", ["abc", "a-b_c.d:e/f+g=h@i", "x" * 128])
def test_a_sane_request_id_is_kept(client: httpx.Client, request_id: str) -> None:
    for path in ("/double", "/healthz", "/nowhere"):
        response = client.post(path, json=[1, 2], headers={"X-Request-Id": request_id})
        assert response.headers.get_list("x-request-id") == [request_id]


@pytest.mark.parametrize("request_id", ["", "a b", "x" * 129, 'a"b', "a;b", "<script>", "\xe9"])
def test_an_insane_request_id_is_replaced(client: httpx.Client, request_id: str) -> None:
    headers = {b"X-Request-Id": request_id.encode("latin-1")}
    response = client.post("/double", json=[1, 2], headers=headers)
    assert HEX_32.fullmatch(response.headers["x-request-id"])


def test_trace_headers_can_be_switched_off() -> None:
    tracer = ("silent", Silent(), dict[str, object]())
    with serving(Everything, {"server": {"trace_headers": False}}, tracers=[tracer]) as server:
        for response in (
            httpx.post(f"{server.url}/double", json=[1, 2]),
            httpx.post(f"{server.url}/add", json={"a": 2}),
            httpx.get(f"{server.url}/metadata"),
        ):
            assert response.status_code == 200
            assert sorted(
                {"x-request-id", "x-trace-id", "server-timing"} & {*response.headers}
            ) == ["x-request-id"]


def test_health_and_readiness(client: httpx.Client) -> None:
    answers = {path: client.get(path) for path in ("/healthz", "/livez", "/readyz")}
    assert {path: (a.status_code, a.text) for path, a in answers.items()} == {
        "/healthz": (200, "ok\n"),
        "/livez": (200, "ok\n"),
        "/readyz": (200, "ready\n"),
    }


def test_metadata_says_what_is_served_and_where_traces_go(client: httpx.Client) -> None:
    limits = {"batch": True, "max_batch_size": 32, "max_latency_ms": 50.0, "max_queue": 1000}
    limits |= {"isolate": True, "inline": False}
    metadata = client.get("/metadata").json()
    described = {each["route"] for each in metadata["endpoints"] if each.pop("description", "")}
    assert "/double" in described
    assert metadata == {
        "service": "Everything",
        "version": None,
        "endpoints": [
            {"route": "/double", **limits},
            {"route": "/double_inline", **limits, "inline": True},
            {"route": "/lengths", **limits},
            {"route": "/add", "batch": False},
            {"route": "/v1/mirror", "batch": False},
            {"route": "/total", "batch": False},
            {"route": "/hello", "batch": False},
            {"route": "/meet", "batch": False},
        ],
        "runner": {"type": "thread"},
        "tracers": [{"type": "silent", "target": "silent"}],
        "spanserve": version("spanserve"),
        "sampling": {"sample_rate": 1.0, "keep": {"errors": False, "slower_than_ms": None}},
    }


def test_the_configuration_goes_over_the_services_own_batching() -> None:
    batching = {"max_batch_size": 5, "max_latency_ms": 7.0, "max_queue": 9}
    with serving(Everything, {"batching": batching}) as server:
        entry = httpx.get(f"{server.url}/metadata").json()["endpoints"][0]
    assert entry["batch"] is True
    assert batching.items() <= entry.items()


def test_metrics_count_requests_and_batches() -> None:
    with serving(Everything) as server:
        for _ in range(3):
            httpx.post(f"{server.url}/double", json=[1, 2])
        httpx.post(f"{server.url}/double", json="x")
        httpx.post(f"{server.url}/add", json={"a": 1})
        metrics = server.metrics()
    assert {k: v for k, v in metrics.items() if k.startswith("spanserve_requests_total")} == {
        'spanserve_requests_total{endpoint="/double",status="200"}': 3,
        'spanserve_requests_total{endpoint="/double",status="422"}': 1,
        'spanserve_requests_total{endpoint="/add",status="200"}': 1,
    }
    assert metrics['spanserve_batches_total{endpoint="/double",reason="idle"}'] == 3
    assert metrics['spanserve_batch_size_sum{endpoint="/double"}'] == 3
    assert metrics['spanserve_batch_size_count{endpoint="/double"}'] == 3
    assert metrics['spanserve_queue_depth{endpoint="/double"}'] == 0


def test_docs_and_the_openapi_document(client: httpx.Client) -> None:
    assert "swagger" in client.get("/docs").text.lower()
    document = client.get("/openapi.json").json()
    assert document["info"] == {
        "title": "Everything",
        "description": "One endpoint of each kind.",
        "version": "0",
    }
    row = {
        "type": "array",
        "description": "an array: float64 of shape (2,)",
        "items": {"type": "number"},
        "minItems": 2,
        "maxItems": 2,
    }
    assert without_titles(body_of(document, "/double")) == row
    assert without_titles(body_of(document, "/lengths")) == {"$ref": "#/components/schemas/Point"}
    assert without_titles(body_of(document, "/v1/mirror")) == {"$ref": "#/components/schemas/Point"}
    add = body_of(document, "/add")["$ref"].rpartition("/")[2]
    assert without_titles(document["components"]["schemas"][add]) == {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer", "default": 1}},
        "required": ["a"],
    }
    assert "requestBody" not in document["paths"]["/hello"]["post"]
    assert document["paths"]["/double"]["post"]["summary"] == "Double"
    assert document["paths"]["/double"]["post"]["description"] == "Double each number."


def test_the_openapi_document_names_every_error(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    for path in ("/double", "/add", "/hello"):
        responses = document["paths"][path]["post"]["responses"]
        errors = ["400", "406", "413", "415", "422", "429", "500", "503", "504"]
        assert sorted(responses) == ["200", *errors]
        for status in sorted(responses)[1:]:
            schema = responses[status]["content"]["application/json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/ErrorBody"}


def body_of(document: Any, path: str) -> Any:
    return document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]


def without_titles(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    return {k: without_titles(v) for k, v in schema.items() if k != "title"}


def test_a_head_or_options_request_has_a_plain_answer(client: httpx.Client) -> None:
    assert client.head("/double").status_code == 405
    assert client.head("/double").content == b""
    assert client.options("/double").status_code == 405


def test_a_keep_alive_connection_serves_many_requests(server: Serving) -> None:
    with httpx.Client(base_url=server.url, limits=httpx.Limits(max_connections=1)) as client:
        answers = [client.post("/add", json={"a": n}).json() for n in range(20)]
    assert answers == [n + 1 for n in range(20)]


def test_pipelined_requests_are_answered_in_order(server: Serving) -> None:
    requests = b"".join(raw_post("/add", b'{"a": %d}' % n) for n in range(10))
    last = raw_post("/add", b'{"a": 10}', b"Connection: close\r\n")
    text = talk(server.port, requests + last)
    assert re.findall(rb"\r\n\r\n(\d+)", text) == [b"%d" % (n + 1) for n in range(11)]


def test_garbage_on_the_socket_is_refused_and_the_server_goes_on(server: Serving) -> None:
    assert talk(server.port, b"\x16\x03\x01 not http at all\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert httpx.get(f"{server.url}/healthz").status_code == 200


@pytest.mark.needs_httptools  # h11 reads 64 KiB of them
def test_huge_headers_do_not_hurt(server: Serving) -> None:
    filler = b"".join(b"X-%d: %s\r\n" % (n, b"y" * 1000) for n in range(200))
    text = talk(server.port, raw_post("/add", b'{"a": 1}', filler + b"Connection: close\r\n"))
    assert re.match(rb"HTTP/1.1 (200|400|431) ", text)
    assert httpx.get(f"{server.url}/healthz").status_code == 200


def test_a_body_may_come_in_pieces(server: Serving) -> None:
    chunks = iter([b"[1", b", ", b"2]"])
    assert httpx.post(f"{server.url}/double", content=chunks).json() == [2.0, 4.0]


def raw_post(path: str, body: bytes, headers: bytes = b"") -> bytes:
    return (
        b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n%s\r\n%s" % (path.encode(), len(body), headers, body)
    )


def talk(port: int, data: bytes) -> bytes:
    """Send bytes, and read until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as connection:
        connection.sendall(data)
        text = b""
        while more := connection.recv(65_536):
            text += more
    return text


class Gate:
    """Holds a model up until the test lets go."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Event()
        self.batches: list[list[float]] = []

    def pass_through(self, rows: np.ndarray) -> np.ndarray:
        self.batches.append(rows[:, 0].tolist())
        self.entered.set()
        assert self.open.wait(DEADLINE_S)
        return rows


def gated(gate: Gate) -> type[Any]:
    @service
    class Gated:
        @api(batch=True)
        def row(self, rows: Pair) -> np.ndarray:
            return gate.pass_through(rows)

    return Gated


class Tagging(BaseHTTPMiddleware):
    """A middleware of the kind that people write: it needs tasks for its `receive`."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        response.headers["x-seen"] = request.url.path
        return response


def with_middleware(cls: type[Any]) -> type[Any]:
    """Add the middleware to a service."""

    @service(name=cls.__name__)
    class WithMiddleware(cls):  # type: ignore[misc]  # a class that is known at run time
        @classmethod
        def configure_app(cls, app: FastAPI) -> None:
            app.add_middleware(Tagging)

    return WithMiddleware


@pytest.mark.parametrize("middleware", [False, True])
def test_a_client_that_left_is_taken_out_before_its_batch_runs(*, middleware: bool) -> None:
    gate = Gate()
    cls = gated(gate)
    with serving(with_middleware(cls) if middleware else cls) as server:
        with ThreadPoolExecutor(2) as callers:
            first = callers.submit(httpx.post, f"{server.url}/row", json=[1, 1])
            assert gate.entered.wait(DEADLINE_S)
            leaver = socket.create_connection(("127.0.0.1", server.port))
            leaver.sendall(raw_post("/row", b"[2, 2]"))
            stayer = callers.submit(httpx.post, f"{server.url}/row", json=[3, 3])
            depth = 'spanserve_queue_depth{endpoint="/row"}'
            assert until(lambda: server.metrics()[depth] == 2)
            leaver.close()
            # The server must have seen the end of the connection: a later one's answer shows it.
            assert httpx.get(f"{server.url}/healthz").status_code == 200
            gate.open.set()
            assert first.result(DEADLINE_S).json() == [1.0, 1.0]
            assert stayer.result(DEADLINE_S).json() == [3.0, 3.0]
        metrics = server.metrics()
    assert gate.batches == [[1.0], [3.0]]
    assert metrics['spanserve_items_abandoned_total{endpoint="/row"}'] == 1
    assert metrics['spanserve_requests_total{endpoint="/row",status="499"}'] == 1


def test_middleware_runs_for_every_request() -> None:
    with serving(with_middleware(Everything)) as server:
        for path, body in [("/double", [1, 2]), ("/add", {"a": 1}), ("/hello", None)]:
            response = httpx.post(f"{server.url}{path}", json=body)
            assert (response.status_code, response.headers["x-seen"]) == (200, path)
            assert len(response.headers.get_list("x-request-id")) == 1
            assert TIMING.fullmatch(response.headers["server-timing"])
        assert httpx.get(f"{server.url}/healthz").headers["x-seen"] == "/healthz"


async def check_token(authorization: Annotated[str | None, Header()] = None) -> None:
    if authorization != "Bearer sesame":
        raise HTTPException(401, "who are you?", {"WWW-Authenticate": "Bearer"})


@service
class Guarded(Everything):
    """Needs a token for everything, and has routes of its own."""

    @classmethod
    def configure_app(cls, app: FastAPI) -> None:
        app.router.dependencies.append(Depends(check_token))

        @app.get("/whoami")
        async def whoami() -> dict[str, str]:
            return {"you": "sesame"}


TOKEN = {"Authorization": "Bearer sesame"}


def test_dependencies_of_the_app_guard_inference_too() -> None:
    with serving(Guarded, {"server": {"max_request_bytes": 100}}) as server:
        refused = httpx.post(f"{server.url}/double", json=[1, 2])
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"
        assert refused.json() == {
            "code": "http_401",
            "message": "who are you?",
            "request_id": refused.headers["x-request-id"],
        }
        assert httpx.get(f"{server.url}/whoami").status_code == 401
        with httpx.Client(base_url=server.url, headers=TOKEN) as client:
            assert client.get("/whoami").json() == {"you": "sesame"}
            assert client.post("/double", json=[1, 2]).json() == [2.0, 4.0]
            assert client.post("/double_inline", json=[1, 2]).json() == [2.0, 4.0]
            assert client.post("/lengths", json={"x": 3, "y": 4}).json() == 5.0
            assert client.post("/add", json={"a": 1}).json() == 2
            assert client.post("/v1/mirror", json={"x": 1}).json() == {"x": 0.0, "y": 1.0}
            assert client.post("/hello").json() == "hello from server"
            assert client.post("/double", json=[1, "b"]).status_code == 422
            assert client.post("/double", json=[1]).json()["code"] == "invalid_item"
            assert client.post("/double", json=[0] * 100).json()["code"] == "body_too_large"
            chunked = client.post("/double", content=iter([b"[", b"1," * 100]))
            assert chunked.json()["code"] == "body_too_large"


def test_trace_headers_that_cannot_be_used_are_counted_and_harm_nothing() -> None:
    with serving(Everything, tracers=[("silent", Silent(), {})]) as server:
        before = server.metrics()["spanserve_trace_headers_ignored_total"]
        bad = {"traceparent": "00-nonsense", "b3": "x", "uber-trace-id": "::::"}
        assert httpx.get(f"{server.url}/metadata", headers=bad).status_code == 200
        after = server.metrics()["spanserve_trace_headers_ignored_total"]
    assert (before, after) == (0, 3)


def test_a_root_path_is_stripped_and_put_before_the_docs() -> None:
    with serving(Everything, {"server": {"root_path": "/ml"}}) as server:
        assert httpx.post(f"{server.url}/double", json=[1, 2]).json() == [2.0, 4.0]
        assert httpx.get(f"{server.url}/healthz").text == "ok\n"
        assert "/ml/openapi.json" in httpx.get(f"{server.url}/docs").text
        assert httpx.get(f"{server.url}/openapi.json").json()["servers"] == [{"url": "/ml"}]


class Stopping:
    """Says when it is stopped."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.stopped = False

    @hookimpl
    def export_spans(self, spans: list[Span]) -> None:
        assert not self.stopped
        self.spans.extend(spans)

    @hookimpl
    def tracer_stopping(self, deadline_s: float) -> None:
        assert deadline_s > 0
        self.stopped = True


def test_stopping_flushes_the_traces_and_closes_the_service() -> None:
    closed: list[str] = []

    @service
    class Closing:
        @api
        def now(self) -> int:
            return 1

        def warm_up(self) -> None:
            closed.append("warm")

        def close(self) -> None:
            closed.append("closed")

    tracer = Stopping()
    with serving(Closing, tracers=[("stopping", tracer, {})]) as server:
        httpx.post(f"{server.url}/now")
        assert closed == ["warm"]
    assert closed == ["warm", "closed"]
    assert tracer.stopped
    assert "POST /now" in [span.name for span in tracer.spans]


def test_a_service_that_cannot_be_made_stops_the_start(caplog: pytest.LogCaptureFixture) -> None:
    @service
    class Broken:
        def __init__(self) -> None:
            raise ValueError("no weights")

        @api
        def now(self) -> int:
            return 1

    with pytest.raises(RuntimeError, match="failed to start"), serving(Broken):
        pass
    assert "ValueError: no weights" in caplog.text
