"""`server.max_request_bytes` holds on every way in, however a body comes; and who may send one."""

import gzip
import json
import socket
from collections.abc import Iterator
from typing import Annotated, Any, Final

import httpx
import numpy as np
import pytest
from fastapi import Body, Depends, FastAPI, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from spanserve import Array, api, service
from support.serving import Serving, serving

TOKEN: Final = "a token of sixteen characters"
LIMIT: Final = 1_000
CONFIG: Final = {
    "server": {"max_request_bytes": LIMIT},
    "tracing": {"control": {"token": TOKEN}},
}
BEARER: Final = {"Authorization": f"Bearer {TOKEN}"}
TOO_LARGE: Final = "the body has more than 1000 bytes (server.max_request_bytes)"


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
class Own:
    """Endpoints, and routes of the service's own."""

    @api(batch=True)
    def rows(self, rows: Annotated[np.ndarray, Array("float32", (2,))]) -> np.ndarray:
        return rows

    @api(batch=True)
    def words(self, words: list[str]) -> list[str]:
        return words

    @api
    def text(self, text: str) -> int:
        return len(text)

    @classmethod
    def configure_app(cls, app: FastAPI) -> None:
        @app.post("/own/bytes")
        async def own_bytes(request: Request) -> int:
            return len(await request.body())

        @app.post("/own/json")
        async def own_json(text: Annotated[str, Body()]) -> int:
            return len(text)


@service
class Dependent(Own):
    """The same where every route has a dependency."""

    @classmethod
    def configure_app(cls, app: FastAPI) -> None:
        super().configure_app(app)
        app.router.dependencies.append(Depends(lambda: None))


@service
class Behind(Own):
    """The same behind middleware that reads bodies."""

    @classmethod
    def configure_app(cls, app: FastAPI) -> None:
        super().configure_app(app)
        app.add_middleware(ReadsFirst)


DOORS: Final = {
    "/rows": "application/json",
    "/rows?query": "application/json",
    "/rows?lines": "application/x-ndjson",
    "/rows?array": "application/x-npy",
    "/text": "application/json",
    "/v2/models/rows/infer": "application/json",
    "/own/bytes": "text/plain",
    "/own/json": "application/json",
    "/tracing": "application/json",
}


@pytest.fixture(scope="module", params=[Own, Dependent, Behind], ids=lambda cls: cls.__name__)
def server(request: pytest.FixtureRequest) -> Iterator[Serving]:
    with serving(request.param, CONFIG) as running:
        yield running


@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
@pytest.mark.parametrize("path", DOORS)
def test_a_body_past_the_limit_is_413_at_every_door(
    server: Serving, path: str, *, chunked: bool
) -> None:
    body: Any = b'"' + b"x" * (2 * LIMIT) + b'"'
    content = iter([body[:LIMIT], body[LIMIT:]]) if chunked else body
    method = "PATCH" if path == "/tracing" else "POST"
    headers = BEARER | {"Content-Type": DOORS[path]}
    answer = httpx.request(method, server.url + path, content=content, headers=headers)
    told = answer.json()
    assert (answer.status_code, told["code"], told["message"]) == (413, "body_too_large", TOO_LARGE)
    assert httpx.get(f"{server.url}/livez").status_code == 200


def test_without_the_token_no_byte_of_the_body_is_waited_for() -> None:
    with serving(Own, CONFIG) as server, socket.create_connection(("127.0.0.1", server.port)) as at:
        at.settimeout(30)
        at.sendall(
            b"PATCH /tracing HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 500\r\n\r\n"
        )
        assert at.recv(65_536).startswith(b"HTTP/1.1 401 ")


def test_with_the_token_a_wrong_change_is_422_and_a_right_one_is_made() -> None:
    with serving(Own, CONFIG) as server:
        url = f"{server.url}/tracing"
        assert httpx.patch(url, json={"sample_rate": 2}, headers=BEARER).status_code == 422
        changed = httpx.patch(url, json={"sample_rate": 0.5}, headers=BEARER)
        assert (changed.status_code, changed.json()["sample_rate"]) == (200, 0.5)


JSON_CONFIG: Final = {"server": {"max_json_bytes": LIMIT}}
TOO_LONG: Final = "the body has more than 1000 bytes of JSON (server.max_json_bytes)"
TEXTS: Final = {"name": "rows", "shape": [1, 2], "datatype": "BYTES", "data": ["x" * LIMIT, ""]}


@pytest.mark.parametrize("service_", [Own, Dependent], ids=lambda cls: cls.__name__)
def test_json_that_is_parsed_as_a_whole_has_a_limit_of_its_own(service_: type[Any]) -> None:
    with (
        serving(service_, JSON_CONFIG) as server,
        httpx.Client(base_url=server.url) as client,
    ):
        long: Any = "x" * LIMIT
        for path, sent in (("/text", long), ("/text?query", long), ("/words", long)):
            told = client.post(path, json=sent)
            assert (told.status_code, told.json()["message"]) == (413, TOO_LONG), path
        packed = gzip.compress(json.dumps(long).encode())
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        told = client.post("/text", content=packed, headers=headers)
        assert told.json()["message"] == TOO_LONG
        protocol = client.post("/v2/models/rows/infer", json={"inputs": [TEXTS]})
        assert (protocol.status_code, protocol.json()["message"]) == (413, TOO_LONG)
        blanks = b"[1," + b" " * LIMIT + b"2]"
        assert client.post("/rows", content=blanks).json() == [1, 2]
        tensor = b'{"inputs":[{"name":"rows","shape":[1,2],"datatype":"FP32","data":%b}]}'
        infer = client.post("/v2/models/rows/infer", content=tensor % blanks)
        assert infer.json()["outputs"][0]["data"] == [1, 2]
        lines = client.post(
            "/words",
            content=b'"a"\n"%b"\n"b"' % (b"x" * LIMIT),
            headers={"Content-Type": "application/x-ndjson"},
        ).text.splitlines()
        assert [lines[0], lines[2]] == ['"a"', '"b"']
        assert json.loads(lines[1])["error"]["message"] == TOO_LONG
