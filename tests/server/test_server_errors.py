"""The error contract: each status, and its whole body."""

import asyncio
import json
import re
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from typing import Annotated, Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI, HTTPException

from spanserve import Array, Span, api, hookimpl, service
from support.serving import DEADLINE_S, Serving, TracerLike, serving, until
from support.traces import Keeps, check_all

HEX_32 = re.compile("[0-9a-f]{32}")
SECRET = "the password is hush"
NOWHERE = "there is no '/nowhere' here; /docs shows what there is"
BROKEN = "the server's log and the trace say more"


class Silent:
    """A tracer that drops everything."""

    @hookimpl
    def export_spans(self, spans: list[Span]) -> None:
        del spans


Pair = Annotated[np.ndarray, Array("float64", (2,))]


@service
class Failing:
    """Fails in each way there is."""

    @api(batch=True)
    def row(self, rows: Pair) -> np.ndarray:
        if np.isin(rows, 13).any():
            raise ValueError(SECRET)
        return rows

    @api(batch=True, inline=True)
    def row_inline(self, rows: Pair) -> np.ndarray:
        return self.row(rows)

    @api(batch=True)
    def entry(self, numbers: list[int]) -> list[int | Exception]:
        return [ValueError(SECRET) if n == 13 else self.not_found(n) for n in numbers]

    def not_found(self, number: int) -> int | Exception:
        return HTTPException(404, "no such number") if number == 404 else number

    @api(batch=True)
    def short(self, numbers: list[int]) -> list[int]:
        return [*numbers, 0]

    @api(batch=True)
    def unencodable(self, numbers: list[int]) -> list[object]:
        return [object() for _ in numbers]

    @api
    def add(self, a: int, b: int) -> int:
        if a == 13:
            raise ValueError(SECRET)
        if a == 14:
            raise StopIteration
        if a == 15:
            sys.exit(SECRET)
        if a == 418:
            raise HTTPException(418, "a teapot", {"X-Tea": "green"})
        if a == 429:
            raise HTTPException(429, "too eager")
        if a == 503:
            raise HTTPException(503, SECRET)
        return a + b

    @api(threads=2)
    def wide(self, a: int) -> int:
        return self.add(a, 0)

    @api
    async def soon(self, a: int) -> int:
        if a == 16:
            raise asyncio.CancelledError
        return self.add(a, 0)

    @classmethod
    def configure_app(cls, app: FastAPI) -> None:
        @app.get("/own")
        async def own(number: int) -> int:
            if number == 13:
                raise ValueError(SECRET)
            raise HTTPException(409, "a conflict")


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    with serving(
        Failing, {"server": {"max_request_bytes": 1000}}, tracers=[("silent", Silent(), {})]
    ) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Serving) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url) as made:
        yield made


def body_of(response: httpx.Response) -> dict[str, Any]:
    """Return an error's body, without the ids, which are those of the headers."""
    body: dict[str, Any] = response.json()
    assert response.headers["content-type"] == "application/json"
    assert HEX_32.fullmatch(body["request_id"])
    assert body.pop("request_id") == response.headers["x-request-id"]
    assert body.pop("trace_id") == response.headers["x-trace-id"]
    return body


@pytest.mark.parametrize(
    ("route", "content", "status", "body"),
    [
        (
            "/row",
            b"[1, 2",
            400,
            {
                "code": "malformed_body",
                "message": "the body is not JSON: EOF while parsing a list at line 1 column 5",
            },
        ),
        (
            "/row",
            b"",
            400,
            {"code": "malformed_body", "message": "the body is empty; send JSON"},
        ),
        (
            "/row",
            b"[1, 2, 3]",
            422,
            {
                "code": "invalid_item",
                "message": "item: has 3 entries, at most 2 expected; "
                "one item is float64 of shape (2,)",
                "details": [{"loc": [], "message": "has 3 entries, at most 2 expected"}],
            },
        ),
        (
            "/row",
            b'[1, "b"]',
            422,
            {
                "code": "invalid_item",
                "message": "item[1]: Input should be a valid number, not a string; "
                "one item is float64 of shape (2,)",
                "details": [
                    {"loc": [1], "message": "Input should be a valid number, not a string"}
                ],
            },
        ),
        (
            "/add",
            b'{"a": 1}',
            422,
            {
                "code": "invalid_item",
                "message": "b: Field required; the body is an object with a, b",
                "details": [{"loc": ["b"], "message": "Field required"}],
            },
        ),
        (
            "/row",
            b"[13, 1]",
            500,
            {"code": "service_failed", "message": f"the service raised ValueError; {BROKEN}"},
        ),
        (
            "/row_inline",
            b"[13, 1]",
            500,
            {"code": "service_failed", "message": f"the service raised ValueError; {BROKEN}"},
        ),
        (
            "/entry",
            b"13",
            500,
            {"code": "service_failed", "message": f"the service raised ValueError; {BROKEN}"},
        ),
        ("/entry", b"404", 404, {"code": "not_found", "message": "no such number"}),
        (
            "/short",
            b"1",
            500,
            {
                "code": "service_failed",
                "message": "Failing.short returned 2 results for 1 item; "
                "return one entry per item, in order",
            },
        ),
        (
            "/add",
            b'{"a": 13, "b": 0}',
            500,
            {"code": "service_failed", "message": f"the service raised ValueError; {BROKEN}"},
        ),
        (
            "/add",
            b'{"a": 14, "b": 0}',
            500,
            {"code": "service_failed", "message": f"the service raised StopIteration; {BROKEN}"},
        ),
        (
            "/add",
            b'{"a": 15, "b": 0}',
            500,
            {"code": "service_failed", "message": f"the service raised SystemExit; {BROKEN}"},
        ),
        (
            "/wide",
            b"15",
            500,
            {"code": "service_failed", "message": f"the service raised SystemExit; {BROKEN}"},
        ),
        (
            "/soon",
            b"13",
            500,
            {"code": "service_failed", "message": f"the service raised ValueError; {BROKEN}"},
        ),
        (
            "/soon",
            b"15",
            500,
            {"code": "service_failed", "message": f"the service raised SystemExit; {BROKEN}"},
        ),
        (
            "/soon",
            b"16",
            500,
            {"code": "service_failed", "message": f"the service raised CancelledError; {BROKEN}"},
        ),
        ("/add", b'{"a": 418, "b": 0}', 418, {"code": "http_418", "message": "a teapot"}),
        ("/soon", b"429", 429, {"code": "http_429", "message": "too eager"}),
        ("/nowhere", b"1", 404, {"code": "not_found", "message": NOWHERE}),
    ],
)
def test_each_error_has_its_status_and_its_words(
    client: httpx.Client, route: str, content: bytes, status: int, body: dict[str, Any]
) -> None:
    response = client.post(route, content=content)
    assert (response.status_code, body_of(response)) == (status, body)


def test_what_cannot_be_encoded_is_the_services_fault(client: httpx.Client) -> None:
    response = client.post("/unencodable", content=b"1")
    body = body_of(response)
    assert (response.status_code, body["code"]) == (500, "service_failed")
    assert body["message"].startswith("Failing.unencodable returned what has no JSON form")


def test_headers_of_an_http_exception_are_sent(client: httpx.Client) -> None:
    assert client.post("/soon", content=b"418").headers["x-tea"] == "green"


@pytest.mark.parametrize("route", ["/row", "/row_inline", "/entry", "/wide", "/soon"])
def test_nothing_of_an_exception_reaches_the_client_but_its_type(
    client: httpx.Client, caplog: pytest.LogCaptureFixture, route: str
) -> None:
    response = client.post(route, content=b"[13, 13]" if "row" in route else b"13")
    assert response.status_code == 500
    shown = f"{response.text} {response.headers}"
    assert SECRET not in shown
    assert "Traceback" not in shown
    assert [SECRET in f"{r.exc_info and r.exc_info[1]}" for r in caplog.records] == [True]


def test_a_body_that_says_it_is_too_large_is_not_read(client: httpx.Client) -> None:
    response = client.post("/row", content=b"1" * 1001)
    assert response.headers["connection"] == "close"
    assert (response.status_code, body_of(response)) == (
        413,
        {
            "code": "body_too_large",
            "message": "the body has more than 1000 bytes (server.max_request_bytes)",
        },
    )


def test_a_client_that_sends_all_of_its_large_body_first_sees_the_answer(
    client: httpx.Client,
) -> None:
    connection = HTTPConnection(client.base_url.host, client.base_url.port or 0, timeout=10)
    connection.request("POST", "/row", b"1" * 8_000_000)  # more than any socket's buffers hold
    response = connection.getresponse()
    assert (response.status, json.load(response)["code"]) == (413, "body_too_large")
    connection.close()


def test_a_body_in_pieces_that_gets_too_large_is_refused(client: httpx.Client) -> None:
    response = client.post("/row", content=iter([b"1" * 600, b"1" * 600]))
    assert (response.status_code, body_of(response)["code"]) == (413, "body_too_large")
    assert client.post("/row", content=iter([b"[" + b" " * 900, b"1,2]"])).json() == [1.0, 2.0]


def test_a_body_whose_last_piece_makes_it_too_large_is_refused_at_once(
    client: httpx.Client,
) -> None:
    connection = HTTPConnection(client.base_url.host, client.base_url.port or 0, timeout=DEADLINE_S)
    connection.putrequest("POST", "/row")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders(b"%x\r\n%b\r\n" % (600, b"1" * 600))
    assert client.post("/row", json=[1, 2]).status_code == 200  # by now that piece was taken
    connection.send(b"%x\r\n%b\r\n0\r\n\r\n" % (600, b"1" * 600))
    response = connection.getresponse()
    assert (response.status, json.load(response)["code"]) == (413, "body_too_large")
    connection.close()


@pytest.mark.parametrize(("method", "path"), [("GET", "/row"), ("PUT", "/add"), ("DELETE", "/row")])
def test_another_method_is_not_allowed(client: httpx.Client, method: str, path: str) -> None:
    response = client.request(method, path)
    assert (response.status_code, response.headers["allow"], body_of(response)) == (
        405,
        "POST",
        {
            "code": "method_not_allowed",
            "message": f"{method} is not allowed for '{path}', only POST",
        },
    )


def test_errors_of_the_users_own_routes_have_the_same_form(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    conflict = client.get("/own", params={"number": 1})
    assert (conflict.status_code, body_of(conflict)) == (
        409,
        {"code": "http_409", "message": "a conflict"},
    )
    invalid = client.get("/own", params={"number": "x"})
    assert (invalid.status_code, body_of(invalid)["code"]) == (422, "invalid_item")
    failed = client.get("/own", params={"number": 13})
    assert (failed.status_code, body_of(failed)) == (
        500,
        {"code": "service_failed", "message": f"the service raised ValueError; {BROKEN}"},
    )
    assert until(lambda: SECRET in caplog.text), "uvicorn logs it when the answer is out"


def test_without_a_tracer_an_error_has_no_trace_id() -> None:
    with serving(Failing) as server:
        response = httpx.post(f"{server.url}/row", content=b"?")
    assert sorted(response.json()) == ["code", "message", "request_id"]
    assert "x-trace-id" not in response.headers


class Gate:
    """Holds a model up until the test lets go."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Event()

    def wait(self) -> None:
        self.entered.set()
        assert self.open.wait(DEADLINE_S)


def gated(gate: Gate) -> type[Any]:
    @service
    class Gated:
        @api(batch=True, max_queue=1)
        def row(self, rows: Pair) -> np.ndarray:
            gate.wait()
            return rows

        @api
        def plain(self, a: int) -> int:
            gate.wait()
            return a

        @api
        async def soon(self, a: int) -> int:
            await asyncio.Event().wait()
            return a

    return Gated


TRACERS: list[TracerLike] = [("silent", Silent(), {})]


def test_a_full_queue_is_429_with_a_time_to_try_again() -> None:
    gate = Gate()
    with serving(gated(gate), tracers=TRACERS) as server, ThreadPoolExecutor(2) as callers:
        running = callers.submit(httpx.post, f"{server.url}/row", json=[1, 1])
        assert gate.entered.wait(DEADLINE_S)
        waiting = callers.submit(httpx.post, f"{server.url}/row", json=[2, 2])
        assert until(lambda: server.metrics()['spanserve_queue_depth{endpoint="/row"}'] == 1)
        refused = httpx.post(f"{server.url}/row", json=[3, 3])
        gate.open.set()
        assert [f.result(DEADLINE_S).status_code for f in (running, waiting)] == [200, 200]
        metrics = server.metrics()
    assert (refused.status_code, refused.headers["retry-after"], body_of(refused)) == (
        429,
        "1",
        {"code": "queue_full", "message": "the queue is full (1 items wait)"},
    )
    assert metrics['spanserve_items_refused_total{endpoint="/row",reason="queue_full"}'] == 1


@pytest.mark.parametrize(
    ("route", "body"), [("/row", [1, 1]), ("/plain", 1), ("/soon", 1)], ids=str
)
def test_an_answer_that_takes_too_long_is_504(route: str, body: Any) -> None:
    gate = Gate()
    config = {"server": {"request_timeout_ms": 20}}
    with serving(gated(gate), config, tracers=TRACERS) as server:
        late = httpx.post(f"{server.url}{route}", json=body)
        gate.open.set()
    assert (late.status_code, body_of(late)) == (
        504,
        {
            "code": "timed_out",
            "message": "the answer took longer than 20 ms (server.request_timeout_ms)",
        },
    )


@pytest.mark.parametrize(
    ("route", "body"), [("/row", [1, 1]), ("/plain", 1), ("/soon", 1)], ids=str
)
def test_a_client_may_say_how_long_it_waits(route: str, body: Any) -> None:
    gate = Gate()
    config = {"server": {"request_timeout_ms": 60_000}}
    with serving(gated(gate), config, tracers=TRACERS) as server:
        asked = {"X-Request-Timeout-Ms": "20.5"}
        late = httpx.post(f"{server.url}{route}", json=body, headers=asked)
        gate.open.set()
    message = "the answer took longer than 20.5 ms (X-Request-Timeout-Ms)"
    assert (late.status_code, body_of(late)) == (504, {"code": "timed_out", "message": message})


@pytest.mark.parametrize("asked", ["", "soon", "-1", "1e9", "nan", "9" * 10])
def test_a_deadline_that_is_none_is_left_unread(asked: str) -> None:
    gate = Gate()
    gate.open.set()
    with serving(gated(gate)) as server:
        headers = {"X-Request-Timeout-Ms": asked}
        assert httpx.post(f"{server.url}/row", json=[1, 1], headers=headers).status_code == 200


def test_a_deadline_that_cannot_be_met_is_429_at_once() -> None:
    gate = Gate()
    with (
        serving(gated(gate), tracers=TRACERS) as server,
        httpx.Client(base_url=server.url) as client,
    ):
        threading.Timer(0.2, gate.open.set).start()
        assert client.post("/row", json=[1, 1]).status_code == 200  # what a run takes, is learned
        refused = client.post("/row", json=[1, 1], headers={"X-Request-Timeout-Ms": "100"})
        metrics = server.metrics()
    body = body_of(refused)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert body["code"] == "deadline_unreachable"
    assert re.fullmatch(r"the answer would take \d+ ms, and \d+ ms are left", body["message"])
    assert metrics['spanserve_items_refused_total{endpoint="/row",reason="deadline"}'] == 1


def test_a_trace_that_timed_out_names_the_status_and_what_was_not_finished() -> None:
    gate, kept = Gate(), Keeps()
    config = {"server": {"request_timeout_ms": 500}}
    with serving(gated(gate), config, tracers=[("kept", kept, {})]) as server:
        late = httpx.post(f"{server.url}/row", json=[1, 1])
        gate.open.set()
    spans = {span.name: span for span in kept.spans}
    assert late.status_code == 504
    check_all(kept.spans)
    assert spans["POST /row"].attributes["error.type"] == "504"
    assert spans["POST /row"].error == ""
    assert spans["run"].attributes == {"spanserve.run.unfinished": True}
    assert sorted(spans) == ["POST /row", "collate", "decode", "queue", "run"]


def test_one_that_timed_out_in_the_queue_does_not_run() -> None:
    gate = Gate()
    config = {"server": {"request_timeout_ms": 50}}
    with serving(gated(gate), config, tracers=TRACERS) as server:
        with ThreadPoolExecutor(2) as callers:
            first = callers.submit(httpx.post, f"{server.url}/row", json=[1, 1])
            assert gate.entered.wait(DEADLINE_S)
            second = callers.submit(httpx.post, f"{server.url}/row", json=[2, 2])
            assert [f.result(DEADLINE_S).status_code for f in (first, second)] == [504, 504]
        gate.open.set()
        metrics = server.metrics()
    assert metrics['spanserve_items_abandoned_total{endpoint="/row"}'] == 1
    assert metrics['spanserve_items_expired_total{endpoint="/row"}'] == 1


@pytest.mark.parametrize(
    ("path", "body"),
    [("/row", [13, 1]), ("/entry", 13), ("/add", {"a": 13, "b": 1}), ("/wide", 14), ("/soon", 15)],
)
def test_what_failed_says_where_its_time_went(
    client: httpx.Client, path: str, body: object
) -> None:
    response = client.post(path, json=body)
    number = r"dur=\d+\.\d{3}"
    assert response.status_code == 500
    timing = response.headers["server-timing"]
    assert re.fullmatch(f"queue;{number}, run;{number}, total;{number}", timing)
