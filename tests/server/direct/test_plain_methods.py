"""Plain methods on the short way: what is answered and traced is what it is on uvicorn's own."""

import asyncio
import re
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import httpx
import pytest
from fastapi import HTTPException

from spanserve import Span, api, current_trace, outgoing_headers, service, span
from support.serving import Serving, serving, until
from support.traces import Keeps

left = threading.Event()
begun = threading.Event()


@service
class Plain:
    """A method of each kind."""

    @api
    async def soon(self, number: int) -> list[Any]:
        with span("look"):
            trace = current_trace()
        return [number, trace is not None, sorted(outgoing_headers())]

    @api
    def sync(self, number: int) -> int:
        if number == 409:
            raise HTTPException(409, "no", {"X-Why": "because"})
        if number == 500:
            raise ValueError("a bug")
        return number * 2

    @api(threads=2)
    def threads(self, number: int) -> int:
        return number * 2

    @api
    def large(self, number: int) -> list[int]:
        return [1] * 300_000 * number

    @api(cancel=True)
    async def waits(self, number: int) -> int:
        begun.set()
        try:
            await asyncio.sleep(0 if number < 9 else 60)
        except asyncio.CancelledError:
            left.set()
            raise
        return number


CALLER: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
REQUESTS: Final[Sequence[tuple[str, Any, dict[str, str]]]] = [
    ("/soon", 1, {}),
    ("/soon", 1, {}),
    ("/soon", 2, {"traceparent": CALLER}),
    ("/soon", "x", {}),
    ("/soon", 3, {"X-Request-Id": "mine"}),
    ("/soon", 3, {"Accept": "text/html"}),
    ("/sync", 4, {}),
    ("/sync", 409, {}),
    ("/sync", 500, {}),
    ("/threads", 5, {}),
    ("/large", 1, {}),
    ("/waits", 1, {}),
    ("/waits", 9, {"X-Request-Timeout-Ms": "50"}),
]
_IDS: Final = re.compile(r'"(request|trace)_id":"[0-9a-f]{32}"')


@contextmanager
def asked(http: Any, tracers: Sequence[Any]) -> Iterator[tuple[Serving, list[Any]]]:
    """Serve, and give what is answered to all requests, but for ids and times."""
    told = []
    with (
        serving(Plain, tracers=tracers, http=http) as server,
        httpx.Client(base_url=server.url, headers={"User-Agent": "test"}) as client,
    ):
        for path, number, headers in REQUESTS:
            answer = client.post(path, json=number, headers=headers)
            names = [name for name in answer.headers if name not in {"date", "connection"}]
            told.append((path, answer.status_code, sorted(names), _IDS.sub("", answer.text)))
        yield server, told


@pytest.mark.parametrize("traced", [False, True])
def test_answers_and_counts_are_the_same_on_both_ways(*, traced: bool) -> None:
    def told(http: Any) -> Any:
        tracers: list[Any] = [("keeps", Keeps(), {})] if traced else []
        with asked(http, tracers) as (server, answers):
            metrics = server.metrics()
        counts = {key: n for key, n in metrics.items() if key.startswith("spanserve_requests_")}
        return answers, counts

    short, usual = told(None), told("httptools")
    assert short == usual
    assert [status for _, status, _, _ in short[0]] == [
        *(200, 200, 200, 422, 200, 406, 200, 409, 500, 200, 200, 200, 504)
    ]


def test_traces_are_the_same_on_both_ways() -> None:
    def told(http: Any) -> Any:
        keeps = Keeps()
        with asked(http, [("keeps", keeps, {})]):
            pass
        return sorted(map(_plain, keeps.spans))

    short = told(None)
    assert {name for name, *_ in short} >= {"POST /soon", "run", "look", "encode"}
    assert short == told("httptools")


def _plain(each: Span) -> Any:
    """Return what a span says but for its ids, times and ports."""
    volatile = ("server.port", "client.port", "network.peer.port", "spanserve.request_id")
    attributes = {
        key: value
        for key, value in each.attributes.items()
        if key not in volatile and "id" not in key.split(".")[-1] and not isinstance(value, float)
    }
    events = [event.name for event in each.events]
    return each.name, each.kind.name, str(sorted(attributes.items(), key=str)), str(events)


@pytest.mark.parametrize("http", [None, "httptools"])
def test_a_method_is_cancelled_when_its_client_leaves(http: Any) -> None:
    left.clear()
    begun.clear()
    with serving(Plain, http=http) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(
                b"POST /waits HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"Content-Length: 1\r\n\r\n9"
            )
            assert begun.wait(10)
        assert left.wait(10)
        counted = 'spanserve_requests_total{endpoint="/waits",status="499"}'
        assert until(lambda: server.metrics().get(counted) == 1)


@pytest.mark.parametrize("http", [None, "httptools"])
def test_a_method_that_does_not_end_is_given_up_as_the_server_stops(http: Any) -> None:
    begun.clear()
    given: list[httpx.Response] = []
    with serving(Plain, {"server": {"drain_timeout_s": 1}}, http=http) as server:
        asking = threading.Thread(
            target=lambda: given.append(httpx.post(f"{server.url}/waits", json=9, timeout=30))
        )
        asking.start()
        assert begun.wait(10)
    asking.join(10)
    assert [given[0].status_code, given[0].json()["code"]] == [503, "draining"]
