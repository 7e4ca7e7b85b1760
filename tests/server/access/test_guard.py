"""Keys and pages of other origins: the same verdict at every door."""

import io
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from inspect import Signature
from typing import Annotated, Any, Final

import httpx
import numpy as np
import pytest
from fastapi import FastAPI, WebSocket
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from spanserve import Array, api, service
from spanserve.server.connections.limited_httptools import LimitedHttpTools
from spanserve.server.process.options import http_protocol
from spanserve.tracing.model import names
from support.holding import HELD
from support.serving import serving, subprocess_server, until
from support.traces import Keeps, named

KEY: Final = "correct-horse-battery-staple"

OTHER: Final = "another-key-of-somebody-else"
CONFIG: Final = {"server": {"auth": {"keys": [KEY, {"name": "gateway", "key": OTHER}]}}}
Row = Annotated[np.ndarray, Array("float32", (2,))]


@service
class Guarded:
    """An endpoint of each kind, and routes of its own."""

    @api(batch=True)
    def double(self, rows: Row) -> np.ndarray:
        return rows * 2

    @api(batch=True, inline=True)
    def inline(self, rows: Row) -> np.ndarray:
        return rows * 2

    @api(batch=True)
    def lengths(self, texts: list[str]) -> list[int]:
        return [len(text) for text in texts]

    @api
    def plain(self, text: str) -> str:
        return text

    @api
    async def soon(self, text: str) -> str:
        return text

    @api(route="/named/{name}")
    def named(self, text: str, name: str) -> str:
        return f"{name} {text}"

    @api
    async def words(self, text: str) -> AsyncIterator[str]:
        yield text

    @classmethod
    def configure_app(cls, app: FastAPI) -> None:
        @app.get("/own")
        async def own() -> str:
            return "own"


def packed(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, np.asarray(array, "float32"), allow_pickle=False)
    return out.getvalue()


def chunks(body: bytes) -> Any:
    yield body[:1]
    yield body[1:]


OIP: Final = {
    "inputs": [{"name": "rows", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}],
}
NDJSON: Final = {"Content-Type": "application/x-ndjson"}
NPY: Final = {"Content-Type": "application/x-npy"}
DOORS: Final[Mapping[str, tuple[str, str, Mapping[str, Any]]]] = {
    "direct": ("POST", "/double", {"content": b"[1,2]"}),
    "inline": ("POST", "/inline", {"content": b"[1,2]"}),
    "query": ("POST", "/double?a=1", {"content": b"[1,2]"}),
    "encoded path": ("POST", "/%64ouble", {"content": b"[1,2]"}),
    "chunked": ("POST", "/double", {"content": lambda: chunks(b"[1,2]")}),
    "expect": ("POST", "/double", {"content": b"[1,2]", "headers": {"Expect": "100-continue"}}),
    "close": ("POST", "/double", {"content": b"[1,2]", "headers": {"Connection": "close"}}),
    "long": ("POST", "/lengths", {"content": json.dumps("x" * 300_000).encode()}),
    "lines": ("POST", "/double", {"content": b"[1,2]\n[3,4]", "headers": NDJSON}),
    "npy": ("POST", "/double", {"content": packed([1, 2]), "headers": NPY}),
    "oip": ("POST", "/v2/models/double/infer", {"json": OIP}),
    "oip's metadata": ("GET", "/v2/models/double", {}),
    "oip's server": ("GET", "/v2", {}),
    "plain": ("POST", "/plain", {"json": "a"}),
    "path parameter": ("POST", "/named/a", {"json": "a"}),
    "async": ("POST", "/soon", {"json": "a"}),
    "stream": ("POST", "/words", {"json": "a"}),
}
"""Every way to a model."""
PROBES: Final = ("/healthz", "/livez", "/readyz", "/v2/health/live", "/v2/health/ready")


def ask(client: httpx.Client, door: str, **headers: str) -> httpx.Response:
    method, path, options = DOORS[door]
    content = options.get("content")
    sent = {**options, "headers": {**options.get("headers", {}), **headers}}
    if callable(content):
        sent["content"] = content()
    return client.request(method, path, **sent)


@pytest.fixture(scope="module", params=["ours", "another uvicorn", "httptools", "h11"])
def client(request: pytest.FixtureRequest) -> Any:
    http = request.param if request.param in {"httptools", "h11"} else None
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "another uvicorn":  # its cycle takes something else
            patch.setattr(RequestResponseCycle, "__signature__", Signature(), raising=False)
            assert http_protocol() is LimitedHttpTools
        with (
            serving(Guarded, CONFIG, http=http) as server,
            httpx.Client(base_url=server.url) as client,
        ):
            yield client


@pytest.mark.parametrize("door", DOORS)
def test_no_door_lets_a_request_in_without_a_key(client: httpx.Client, door: str) -> None:
    wrong = [
        {},
        {"Authorization": f"Bearer {KEY}x"},
        {"Authorization": "Bearer"},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": KEY},
        {"X-API-Key": KEY[:-1]},
        {"X-API-Key": ""},
        {"Cookie": f"x-api-key={KEY}"},
    ]
    for headers in wrong:
        answer = ask(client, door, **headers)
        assert answer.status_code == 401, headers
        assert answer.headers["www-authenticate"] == 'Bearer realm="spanserve"'
        assert answer.json()["code"] == "unauthorized"
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
        assert KEY[:-1] not in answer.text
        if door.startswith("oip"):
            assert answer.json()["error"] == answer.json()["message"]


@pytest.mark.parametrize("door", DOORS)
def test_every_door_lets_a_request_in_with_a_key(client: httpx.Client, door: str) -> None:
    for headers in (
        {"Authorization": f"Bearer {KEY}"},
        {"Authorization": f"bearer  {OTHER}"},
        {"X-API-Key": KEY},
        {"X-API-Key": KEY, "Authorization": "Basic dTpw"},
    ):
        assert ask(client, door, **headers).status_code == 200, headers


def test_probes_never_want_a_key_and_the_rest_does_by_choice() -> None:
    others = {"docs": "/docs", "metadata": "/metadata", "metrics": "/metrics", "routes": "/own"}
    with serving(Guarded, CONFIG) as server:
        for path in (*PROBES, *others.values(), "/openapi.json"):
            assert httpx.get(f"{server.url}{path}").status_code == 200, path
    config = {"server": {"auth": {"keys": [KEY], "guard": list(others)}}}
    with serving(Guarded, config) as server:
        for path in PROBES:
            assert httpx.get(f"{server.url}{path}").status_code == 200, path
        for path in (*others.values(), "/openapi.json", "/nothing"):
            assert httpx.get(f"{server.url}{path}").status_code == 401, path
        headers = {"X-API-Key": KEY}
        for path in (*others.values(), "/openapi.json"):
            assert httpx.get(f"{server.url}{path}", headers=headers).status_code == 200, path


@service
class Talking:
    """A service with a websocket route of its own."""

    @api
    def plain(self, text: str) -> str:
        return text

    @classmethod
    def configure_app(cls, app: FastAPI) -> None:
        @app.websocket("/talk")
        async def talk(websocket: WebSocket) -> None:
            await websocket.accept()
            await websocket.send_text("hello")


def test_a_websocket_wants_a_key_where_the_routes_do() -> None:
    config = {"server": {"auth": {"keys": [KEY], "guard": ["routes"]}}}
    with serving(Talking, config) as server:
        url = f"ws://127.0.0.1:{server.port}/talk"
        with pytest.raises(InvalidStatus) as refused, connect(url):
            pass
        assert refused.value.response.status_code == 403
        with connect(url, additional_headers={"X-API-Key": KEY}) as talk:
            assert talk.recv(10) == "hello"
        assert server.metrics()['spanserve_unauthorized_total{what="routes"}'] == 1


class Rewriting:
    """Middleware that leads another path to a model."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = scope["path"].replace("/side", "")
            scope = {**scope, "path": path, "raw_path": path.encode()}
        await self._app(scope, receive, send)


@service
class Aside:
    """A model that can be reached by another path."""

    @api(batch=True)
    def double(self, rows: Row) -> np.ndarray:
        return rows * 2

    @classmethod
    def configure_app(cls, app: FastAPI) -> None:
        app.add_middleware(Rewriting)
        app.mount("/mounted", app)


@pytest.mark.parametrize("path", ["/side/double", "/mounted/double", "/double"])
def test_no_detour_within_the_app_leads_past_the_guard(path: str) -> None:
    with serving(Aside, CONFIG) as server:
        url = f"{server.url}{path}"
        assert httpx.post(url, content=b"[1,2]").status_code == 401
        answer = httpx.post(url, content=b"[1,2]", headers={"X-API-Key": KEY})
        assert (answer.status_code, answer.json()) == (200, [2, 4])
        oip = url.replace("double", "v2/models/double/infer")
        assert httpx.post(oip, json=OIP).status_code == 401
        assert httpx.post(oip, json=OIP, headers={"X-API-Key": KEY}).status_code == 200


def test_one_connection_is_asked_anew_for_each_request() -> None:
    """The head of a request is kept where it comes again; the verdict on it must be its own."""
    with serving(Guarded, CONFIG) as server, httpx.Client(base_url=server.url) as client:
        right, wrong = {"X-API-Key": KEY}, {"X-API-Key": KEY[::-1]}
        statuses = [
            client.post("/double", content=b"[1,2]", headers=headers).status_code
            for headers in (right, right, wrong, wrong, right, {}, right, right, wrong)
        ]
    assert statuses == [200, 200, 401, 401, 200, 401, 200, 200, 401]


def test_a_key_file_is_read_again_when_it_changes(tmp_path: Any) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# keys\n\n{KEY}\ngateway: {OTHER}\n")
    config = {"server": {"auth": {"key_file": str(file)}}}
    with serving(Guarded, config) as server, httpx.Client(base_url=server.url) as client:

        def status(key: str) -> int:
            return client.post("/double", content=b"[1,2]", headers={"X-API-Key": key}).status_code

        assert [status(KEY), status(KEY), status(OTHER), status("new-key")] == [200, 200, 200, 401]
        file.write_text("new-key\n")
        assert until(lambda: status("new-key") == 200)
        assert [status(KEY), status(OTHER)] == [401, 401]
        file.write_text("two words\n")  # which is no key: the old ones go on to hold
        assert until(lambda: server.metrics()["spanserve_key_file_errors_total"] == 1)
        assert status("new-key") == 200


def test_who_asked_is_in_the_trace_and_refusals_are_counted() -> None:
    sink = Keeps()
    with (
        serving(Guarded, CONFIG, tracers=[("keeps", sink, {})]) as server,
        httpx.Client(base_url=server.url) as client,
    ):
        for key in (OTHER, KEY, "wrong", OTHER):
            client.post("/double", content=b"[1,2]", headers={"X-API-Key": key})
        client.post("/double?a=1", content=b"[1,2]", headers={"X-API-Key": OTHER})
        metrics = server.metrics()
    assert metrics['spanserve_unauthorized_total{what="inference"}'] == 1
    assert metrics['spanserve_requests_total{endpoint="/double",status="401"}'] == 1
    roots = named("POST /double", sink.spans)
    owners = sorted(str(root.attributes.get(names.KEY_NAME, "")) for root in roots)
    assert owners == ["", "", "gateway", "gateway", "gateway"]
    assert KEY not in str(sink.spans)
    assert OTHER not in str(sink.spans)


CORS: Final = {"server": {"cors": {"origins": ["https://app.example"], "headers": ["X-Mine"]}}}


@pytest.mark.parametrize("door", DOORS)
def test_a_page_of_a_known_origin_may_read_every_answer(door: str) -> None:
    with serving(Guarded, CORS) as server, httpx.Client(base_url=server.url) as client:
        answer = ask(client, door, Origin="https://app.example")
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        assert answer.headers.get_list("vary") == ["Origin"]
        assert "x-trace-id" in answer.headers["access-control-expose-headers"]
        for origin in ({}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
            answer = ask(client, door, **origin)
            assert "access-control-allow-origin" not in answer.headers
            assert answer.headers.get_list("vary") == ["Origin"]


def test_errors_and_refusals_can_be_read_by_a_page_too() -> None:
    config = {"server": {**CORS["server"], **CONFIG["server"], "max_request_bytes": 50}}
    headers = {"Origin": "https://app.example"}
    with serving(Guarded, config) as server, httpx.Client(base_url=server.url) as client:
        answers = [
            client.post("/double", content=b"[1,2]", headers=headers),
            client.get("/double", headers={**headers, "X-API-Key": KEY}),
            client.post("/double", content=b"nope", headers={**headers, "X-API-Key": KEY}),
            client.post("/double", content=b"[1,2" * 50, headers={**headers, "X-API-Key": KEY}),
            client.post("/plain", content=b"nope", headers={**headers, "X-API-Key": KEY}),
        ]
        assert [answer.status_code for answer in answers] == [401, 405, 400, 413, 400]
        for answer in answers:
            assert answer.headers["access-control-allow-origin"] == "https://app.example"
        for path in ("/metrics", "/livez", "/docs", "/own"):
            answer = client.get(path, headers=headers)
            assert answer.status_code == 200
            assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("path", ["/double", "/plain", "/words", "/v2/models/double/infer"])
def test_a_browser_that_asks_before_a_request_is_told(path: str) -> None:
    config = {"server": {**CORS["server"], **CONFIG["server"]}}
    asks = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-api-key,content-type,x-mine",
    }
    with serving(Guarded, config) as server:
        answer = httpx.options(f"{server.url}{path}", headers=asks)
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        assert answer.headers["access-control-allow-methods"] == "POST"
        assert answer.headers["access-control-max-age"] == "600"
        allowed = answer.headers["access-control-allow-headers"].split(", ")
        assert {"x-api-key", "authorization", "content-type", "traceparent", "x-mine"} <= {*allowed}
        other = httpx.options(
            f"{server.url}{path}", headers=asks | {"Origin": "https://evil.example"}
        )
        assert "access-control-allow-origin" not in other.headers
        assert httpx.options(f"{server.url}/metrics", headers=asks).status_code == 405


def test_all_origins_are_told_without_vary() -> None:
    with serving(Guarded, {"server": {"cors": {"origins": "*"}}}) as server:
        answer = httpx.post(
            f"{server.url}/double", content=b"[1,2]", headers={"Origin": "https://a.example"}
        )
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "vary" not in answer.headers


def test_a_root_path_is_no_detour() -> None:
    config = {"server": {"root_path": "/api", **CONFIG["server"]}}
    with serving(Guarded, config) as server, httpx.Client(base_url=server.url) as client:
        for door in DOORS:
            assert ask(client, door).status_code == 401, door
            assert ask(client, door, **{"X-API-Key": KEY}).status_code == 200, door
        assert client.get("/livez").status_code == 200


def test_a_body_of_a_refused_request_is_no_second_request() -> None:
    smuggled = (
        b"POST /double HTTP/1.1\r\nHost: a\r\nX-API-Key: %b\r\nContent-Length: 5\r\n\r\n[1,2]"
    )
    body = smuggled % KEY.encode()
    head = b"POST /double HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
    with (
        serving(Guarded, CONFIG) as server,
        socket.create_connection(("127.0.0.1", server.port), 10) as client,
    ):
        client.sendall(head + body)
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(65_536), b""))
    assert answer.count(b"HTTP/1.1 ") == 2
    assert b"HTTP/1.1 401 " in answer
    assert answer.endswith(b"ok\n")


@pytest.mark.parametrize("way", ["environment", "file", "variable of a file", "key file"])
def test_keys_reach_the_served_process_from_wherever_they_are_said(tmp_path: Any, way: str) -> None:
    config, environ = tmp_path / "spanserve.yml", {}
    config.write_text("server: {auth: {guard: [metrics]}}\n")
    if way == "environment":
        environ = {"SPANSERVE__SERVER__AUTH__KEYS": f"{OTHER},{KEY}"}
    elif way == "file":
        config.write_text(f"server: {{auth: {{keys: [{KEY}], guard: [metrics]}}}}\n")
    elif way == "variable of a file":
        environ = {"DEPLOYED_KEY": KEY}
        config.write_text("server: {auth: {keys: ['${DEPLOYED_KEY}'], guard: metrics}}\n")
    else:
        (tmp_path / "keys").write_text(f"deployed: {KEY}\n")
        environ = {"SPANSERVE__SERVER__AUTH__KEY_FILE": str(tmp_path / "keys")}
    with subprocess_server(str(HELD), "--config", str(config), env=environ) as server:
        for path in ("/metrics", "/v2"):
            assert httpx.get(f"{server.url}{path}").status_code == 401
            answer = httpx.get(f"{server.url}{path}", headers={"X-API-Key": KEY})
            assert answer.status_code == 200
        assert httpx.get(f"{server.url}/readyz").status_code == 200
    assert KEY not in server.text()


@pytest.mark.parametrize(
    ("auth", "said"),
    [
        ("{}", "neither keys nor a key_file"),
        ("{keys: []}", "neither keys nor a key_file"),
        ("{keys: ['']}", "visible ASCII characters"),
        ("{keys: [two words]}", "visible ASCII characters"),
        ("{keys: [{name: a b, key: secret-text}]}", "a key's name is"),
        ("{key_file: /nowhere/keys}", "cannot be used"),
        ("{keys: [secret-text], guard: [probes]}", "guard"),
    ],
)
def test_keys_that_cannot_guard_stop_the_check(tmp_path: Any, auth: str, said: str) -> None:
    file = tmp_path / "spanserve.yml"
    file.write_text(f"server: {{auth: {auth}}}\n")
    command = [sys.executable, "-m", "spanserve", "check", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert said in done.stdout + done.stderr
    assert "secret-text" not in done.stdout + done.stderr
