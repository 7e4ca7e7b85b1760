"""`HEAD` works where `GET` does: the same head, and no body."""

import socket
from collections.abc import Iterator
from typing import Annotated, Any

import httpx
import numpy as np
import pytest
from fastapi import APIRouter, FastAPI, Response
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request

from spanserve import Array, Span, api, hookimpl, service
from support.serving import DEADLINE_S, Serving, serving, until

Row = Annotated[np.ndarray, Array("float64", (2,))]
VARYING = {"x-request-id", "x-trace-id", "server-timing", "date"}


def with_routes(app: FastAPI) -> None:
    router = APIRouter(prefix="/own")

    @router.get("/get")
    def get() -> str:
        return "got"

    @router.head("/head", status_code=204)
    def head(response: Response) -> None:
        response.headers["x-own"] = "yes"

    app.include_router(router)


@service
class Plain:
    @classmethod
    def configure_app(cls, app: FastAPI) -> None:
        with_routes(app)

    @api(batch=True)
    def rows(self, rows: Row) -> Row:
        return rows


@service
class Behind:
    @classmethod
    def configure_app(cls, app: FastAPI) -> None:
        with_routes(app)

        class Passes(BaseHTTPMiddleware):
            async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Any:
                return await call_next(request)

        app.add_middleware(Passes)

    @api(batch=True)
    def rows(self, rows: Row) -> Row:
        return rows


class Kept:
    """A tracer that keeps the names of all root spans."""

    def __init__(self) -> None:
        self.names: list[str] = []

    @hookimpl
    def export_spans(self, spans: list[Span]) -> None:
        self.names.extend(each.name for each in spans if not each.parent_id)


@pytest.fixture(scope="module", params=[Plain, Behind])
def server(request: pytest.FixtureRequest) -> Iterator[tuple[Serving, Kept]]:
    kept = Kept()
    config = {"tracing": {"type": "kept", "queue": {"flush_interval_ms": 5}}}
    with serving(request.param, config, tracers=[("kept", kept, {})]) as running:
        yield running, kept


PATHS = [
    *("/livez", "/healthz", "/readyz", "/metadata", "/openapi.json", "/docs", "/redoc"),
    *("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/rows", "/v2/models/rows/ready"),
    *("/v2/models/absent", "/own/get", "/absent", "/rows"),
]


@pytest.mark.parametrize("path", PATHS)
def test_head_has_the_head_of_get_and_no_body(server: tuple[Serving, Kept], path: str) -> None:
    running, _ = server
    get, head = (httpx.request(each, running.url + path) for each in ("GET", "HEAD"))
    assert head.status_code == get.status_code
    assert {k: v for k, v in head.headers.items() if k not in VARYING} == {
        k: v for k, v in get.headers.items() if k not in VARYING
    }
    assert head.content == b""


def test_the_metrics_have_a_head_too(server: tuple[Serving, Kept]) -> None:
    running, _ = server
    head = httpx.head(f"{running.url}/metrics")
    assert head.status_code == 200
    assert head.headers["content-type"].startswith("text/plain")


def test_nothing_follows_the_head_and_the_connection_goes_on(
    server: tuple[Serving, Kept],
) -> None:
    running, _ = server
    with socket.create_connection(("127.0.0.1", running.port), DEADLINE_S) as client:
        client.sendall(b"HEAD /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
        found = b""
        while found.count(b"\r\n\r\n") < 2:
            found += client.recv(65_536)
    assert found.count(b"HTTP/1.1 200 OK") == 2
    assert found.endswith(b"\r\n\r\n")


def test_a_head_of_the_users_own_is_asked_itself(server: tuple[Serving, Kept]) -> None:
    running, _ = server
    answer = httpx.head(f"{running.url}/own/head")
    assert (answer.status_code, answer.headers["x-own"]) == (204, "yes")


def test_the_trace_says_which_method_it_was(server: tuple[Serving, Kept]) -> None:
    running, kept = server
    httpx.head(f"{running.url}/own/get")
    assert until(lambda: "HEAD /own/get" in kept.names)
