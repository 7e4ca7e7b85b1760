"""FastAPI's dependencies of batch methods: as in FastAPI, on the short way and on every other."""

import asyncio
import gc
import logging
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, Final

import httpx
import pytest
from fastapi import (
    BackgroundTasks,
    Body,
    Cookie,
    Depends,
    FastAPI,
    Header,
    HTTPException,
    Query,
    Request,
    Response,
    Security,
)
from fastapi.dependencies import utils
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes
from starlette.types import ASGIApp, Receive, Scope, Send

from spanserve import api, current_trace, service, span
from spanserve.server.direct.dependent import DependentRequest
from spanserve.server.resolving import PlainRequest, Resolution
from support.serving import serving, until
from support.traces import Keeps, is_batch, tree

steps: list[Any] = []
"""What dependencies and background tasks did, in order."""
answered = threading.Event()
"""Set by a test once it has its answer."""


class TeapotError(Exception):
    """An exception with a handler of its own."""


def note(what: Any) -> None:
    steps.append(what)


async def tenant(x_tenant: Annotated[str, Header()]) -> str:
    note("tenant")
    if x_tenant == "refused":
        raise HTTPException(403, "not you", {"X-Why": "tenant"})
    if x_tenant == "teapot":
        raise TeapotError
    if x_tenant == "broken":
        raise ValueError("a bug")
    return x_tenant


def loud(who: Annotated[str, Depends(tenant)]) -> str:
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()  # on a thread
    note(who.upper())
    return who.upper()


def setting(response: Response, who: Annotated[str, Depends(loud)]) -> None:
    response.headers["X-Tenant"] = who
    response.set_cookie("seen", who)
    response.status_code = 202


async def session(
    who: Annotated[str, Depends(tenant)], x_swallow: Annotated[str, Header()] = ""
) -> AsyncIterator[str]:
    note(f"open {who}")
    try:
        yield who
    except Exception as error:
        note(f"failed {type(error).__name__}")
        if not x_swallow:
            raise
    finally:
        note(f"close {who}")


def sync_session() -> Iterator[None]:
    note("open sync")
    yield
    note("close sync")


async def short_session() -> AsyncIterator[None]:
    note("open short")
    yield
    note("close short")


async def translating() -> AsyncIterator[None]:
    try:
        yield
    except KeyError as error:
        raise HTTPException(409, f"no {error.args[0]}") from error


def later(tasks: BackgroundTasks) -> None:
    tasks.add_task(note, "task")


async def waiting() -> AsyncIterator[None]:
    yield
    note(await asyncio.to_thread(answered.wait, 20))


def late(tasks: BackgroundTasks) -> None:
    tasks.add_task(lambda: note(answered.wait(20)))


def scoped(
    scopes: SecurityScopes,
    credentials: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())],
) -> None:
    if credentials.credentials not in scopes.scopes:
        raise HTTPException(401, "wrong scope", {"WWW-Authenticate": "Bearer"})


async def seen(
    request: Request,
    page: Annotated[int, Query(ge=1)] = 1,
    x_tag: Annotated[list[str] | None, Header()] = None,
    cookie: Annotated[str, Cookie()] = "",
) -> None:
    note([request.method, request.url.path, request.url.query, page, x_tag, cookie])
    note([request.headers["content-type"], request.cookies, dict(request.query_params)])
    note([request.path_params, request.client is not None, request.scope["type"]])
    request.state.seen = True


async def reading(request: Request) -> None:
    assert not hasattr(request.state, "again")
    note([await request.body(), await request.json(), await request.is_disconnected()])


async def exiting() -> None:
    raise SystemExit(3)


async def kind(request: Request) -> None:
    note(type(request).__name__)


def teapot(_request: Request, _error: Exception) -> JSONResponse:
    return JSONResponse({"short": "and stout"}, 418)


ROUTES: Final[dict[str, list[Any]]] = {
    "bare": [Depends(tenant)],
    "sync": [Depends(loud)],
    "setting": [Depends(setting), Depends(tenant)],
    "sessions": [Depends(session), Depends(sync_session), Depends(later)],
    "short": [Depends(short_session, scope="function"), Depends(later), Depends(session)],
    "translating": [Depends(translating)],
    "waiting": [Depends(waiting)],
    "late": [Depends(late)],
    "scoped": [Security(scoped, scopes=["read"])],
    "seen": [Depends(seen)],
    "reading": [Depends(reading)],
    "exiting": [Depends(exiting)],
    "kind": [Depends(kind)],
}


def doubled(number: int) -> int:
    note("method")
    if number == 409:
        raise HTTPException(409, "no")
    if number == 418:
        raise TeapotError
    if number == 404:
        raise KeyError("key")
    if number == 500:
        raise ValueError("a bug")
    return number * 2


class Doubling:
    """A batch method for each list of dependencies."""

    @classmethod
    def configure_app(cls, app: FastAPI) -> None:
        app.add_exception_handler(TeapotError, teapot)


def methods() -> dict[str, Any]:
    def method(name: str, dependencies: list[Any]) -> Any:
        def run(_self: Any, numbers: list[int]) -> list[int]:
            return [doubled(number) for number in numbers]

        run.__name__ = name
        run.__qualname__ = f"Doubles.{name}"
        return api(batch=True, max_batch_size=1, dependencies=dependencies)(run)

    return {name: method(name, dependencies) for name, dependencies in ROUTES.items()}


Ours: Final = service(type("Doubles", (Doubling,), methods()))


class Passing:
    """Middleware that does nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


@service
class Behind(Ours):  # type: ignore[misc, valid-type]  # made above
    """The same behind middleware."""

    @classmethod
    def configure_app(cls, app: FastAPI) -> None:
        super().configure_app(app)
        app.add_middleware(Passing)


def theirs() -> FastAPI:
    """Return the same routes, as a FastAPI app."""
    app = FastAPI()
    app.add_exception_handler(TeapotError, teapot)
    for name, dependencies in ROUTES.items():

        def handle(number: Annotated[int, Body()]) -> int:
            return doubled(number)

        app.post(f"/{name}", dependencies=dependencies)(handle)
    return app


REQUESTS: Final[list[tuple[str, dict[str, str], int]]] = [
    ("/bare", {"X-Tenant": "a"}, 7),
    ("/bare", {}, 7),
    ("/bare", {"X-Tenant": "refused"}, 7),
    ("/bare", {"X-Tenant": "teapot"}, 7),
    ("/bare", {"X-Tenant": "broken"}, 7),
    ("/bare", {"X-Tenant": "a"}, 409),
    ("/bare", {"X-Tenant": "a"}, 418),
    ("/bare", {"X-Tenant": "a"}, 500),
    ("/sync", {"X-Tenant": "a"}, 7),
    ("/setting", {"X-Tenant": "a"}, 7),
    ("/setting", {"X-Tenant": "a"}, 409),
    ("/sessions", {"X-Tenant": "a"}, 7),
    ("/sessions", {"X-Tenant": "a"}, 409),
    ("/sessions", {"X-Tenant": "a"}, 418),
    ("/sessions", {"X-Tenant": "a"}, 500),
    ("/sessions", {"X-Tenant": "a", "X-Swallow": "yes"}, 500),
    ("/sessions", {}, 7),
    ("/sessions", {"X-Tenant": "refused"}, 7),
    ("/short", {"X-Tenant": "a"}, 7),
    ("/short", {"X-Tenant": "a"}, 500),
    ("/short", {"X-Tenant": "refused"}, 7),
    ("/translating", {}, 404),
    ("/scoped", {"Authorization": "Bearer read"}, 7),
    ("/scoped", {"Authorization": "Bearer write"}, 7),
    ("/scoped", {}, 7),
    ("/seen", {"X-Tag": "t", "Cookie": "cookie=c"}, 7),
    ("/seen?page=3", {}, 7),
    ("/seen?page=0", {}, 7),
    ("/reading", {}, 7),
]
WAYS: Final = ("short", "no private parts", "middleware", "httptools", "h11")


def renamed(solve: Any) -> Any:
    """Return FastAPI's solver as one whose parameters have other names."""

    async def other(**given: Any) -> Any:
        return await solve(**given)

    return other


@pytest.fixture(scope="module", params=WAYS)
def client(request: pytest.FixtureRequest) -> Any:
    way = request.param
    with pytest.MonkeyPatch.context() as patch:
        if way == "no private parts":
            patch.setattr(utils, "solve_dependencies", renamed(utils.solve_dependencies))
        with (
            serving(
                Behind if way == "middleware" else Ours,
                http=way if way in {"httptools", "h11"} else None,
            ) as server,
            httpx.Client(base_url=server.url) as client,
        ):
            steps.clear()
            assert client.post("/kind", json=1).json() == 2
            assert steps == ["PlainRequest" if way == "short" else "Request", "method"]
            yield client


@pytest.fixture(scope="module")
def fastapi_client() -> Any:
    transport = httpx.ASGITransport(theirs(), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://theirs")


@pytest.mark.parametrize(("path", "headers", "number"), REQUESTS, ids=str)
async def test_a_dependency_of_a_batch_means_what_it_means_in_fastapi(
    client: httpx.Client,
    fastapi_client: httpx.AsyncClient,
    path: str,
    headers: dict[str, str],
    number: int,
) -> None:
    steps.clear()
    wanted = await fastapi_client.post(path, json=number, headers=headers)
    their_steps = steps.copy()
    steps.clear()
    given = await asyncio.to_thread(client.post, path, json=number, headers=headers)
    assert given.status_code == wanted.status_code
    if wanted.is_success or wanted.status_code == 418:
        assert given.json() == wanted.json()
    for name in ("x-tenant", "set-cookie", "x-why", "www-authenticate"):
        assert given.headers.get_list(name) == wanted.headers.get_list(name), name
    assert until(lambda: steps == their_steps, 5), (steps, their_steps)
    assert given.headers["x-request-id"]


@pytest.mark.parametrize("path", ["/waiting", "/late"])
def test_what_comes_after_the_answer_keeps_no_client_waiting(
    client: httpx.Client, path: str
) -> None:
    steps.clear()
    answered.clear()
    answer = client.post(path, json=7)  # it would not come: what comes after it waits for us
    assert [answer.json(), steps] == [14, ["method"]]
    assert client.post("/bare", json=7, headers={"X-Tenant": "a"}).json() == 14
    answered.set()
    assert until(lambda: steps[-1] is True, 5)


def test_an_exit_of_a_dependency_ends_its_request_alone(client: httpx.Client) -> None:
    assert client.post("/exiting", json=7).status_code == 500
    assert client.post("/bare", json=7, headers={"X-Tenant": "a"}).json() == 14


def test_dependencies_are_asked_for_each_request_with_a_head_that_is_known() -> None:
    asked = (
        b"POST /bare HTTP/1.1\r\nHost: x\r\nX-Tenant: a\r\nContent-Type: application/json\r\n"
        b"Content-Length: 1\r\n\r\n7"
    )
    steps.clear()
    with (
        serving(Ours) as server,
        socket.create_connection(("127.0.0.1", server.port)) as connection,
    ):
        for number in (1, 2, 3):
            connection.sendall(asked)
            got = connection.recv(4096)
            assert got.startswith(b"HTTP/1.1 200 OK\r\n")
            assert got.endswith(b"\r\n\r\n14")
            assert steps == ["tenant", "method"] * number


def test_overrides_hold_for_a_batch() -> None:
    with serving(Ours) as server:
        server.app.dependency_overrides[tenant] = lambda: "replaced"
        assert httpx.post(f"{server.url}/bare", json=1).json() == 2
        server.app.dependency_overrides[tenant] = sync_session
        steps.clear()
        answer = httpx.post(f"{server.url}/bare", json=1, headers={"X-Tenant": "a"})
    assert answer.json() == 2
    assert steps == ["open sync", "method", "close sync"]


async def slow() -> None:
    await asyncio.sleep(0.1)


async def watching(request: Request) -> None:
    note("asked")
    while not await request.is_disconnected():  # noqa: ASYNC110  # as users have to
        await asyncio.sleep(0.01)
    note("left")


async def patient() -> AsyncIterator[None]:
    try:
        note("open")
        await asyncio.Event().wait()
        yield
    finally:
        note("closed")


async def spanned() -> None:
    trace = current_trace()
    assert trace is not None
    note(trace.trace_id)
    with span("auth"):
        await asyncio.sleep(0)


@service
class Slow:
    """A batch method for each dependency that takes its time."""

    @api(batch=True, dependencies=[Depends(slow)])
    def slow(self, numbers: list[int]) -> list[int]:
        return [doubled(number) for number in numbers]

    @api(batch=True, dependencies=[Depends(watching)])
    def watching(self, numbers: list[int]) -> list[int]:
        return [doubled(number) for number in numbers]

    @api(batch=True, dependencies=[Depends(patient)])
    def patient(self, numbers: list[int]) -> list[int]:
        return [doubled(number) for number in numbers]

    @api(batch=True, dependencies=[Depends(spanned), Depends(tenant)])
    def spanned(self, numbers: list[int]) -> list[int]:
        return [number * 2 for number in numbers]


BOTH: Final = pytest.mark.parametrize("http", [None, "httptools"])


@BOTH
def test_dependencies_take_of_the_time_that_an_answer_may_take(http: Any) -> None:
    with serving(Slow, http=http) as server:
        late = httpx.post(f"{server.url}/slow", json=7, headers={"X-Request-Timeout-Ms": "50"})
        assert [late.status_code, late.json()["code"]] == [504, "timed_out"]
        assert httpx.post(f"{server.url}/slow", json=7).json() == 14


@BOTH
def test_nothing_runs_for_a_client_that_left_while_its_dependencies_were_resolved(
    http: Any,
) -> None:
    steps.clear()
    with serving(Slow, http=http) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(
                b"POST /watching HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"Content-Length: 1\r\n\r\n7"
            )
            assert until(lambda: steps == ["asked"])
        counted = 'spanserve_requests_total{endpoint="/watching",status="499"}'
        assert until(lambda: server.metrics().get(counted) == 1)
    assert steps[:2] == ["asked", "left"]


def test_a_server_that_stops_gives_up_what_waits_in_dependencies() -> None:
    steps.clear()
    config = {"server": {"drain_timeout_s": 1}}
    given: list[httpx.Response] = []
    with serving(Slow, config) as server:
        asking = threading.Thread(
            target=lambda: given.append(httpx.post(f"{server.url}/patient", json=7))
        )
        asking.start()
        assert until(lambda: steps == ["open"])
    asking.join(10)
    assert given[0].status_code == 503
    assert steps == ["open", "closed"]


@BOTH
def test_spans_of_dependencies_are_in_the_trace_of_their_request(http: Any) -> None:
    keeps = Keeps()
    with (
        serving(Slow, tracers=[("keeps", keeps, {})], http=http) as server,
        httpx.Client(base_url=server.url) as client,
    ):
        steps.clear()
        for _ in range(2):
            answer = client.post("/spanned", json=7, headers={"X-Tenant": "a"})
            assert answer.json() == 14
            assert steps[0] == answer.headers["x-trace-id"]
            steps.clear()
        assert client.post("/spanned", json=7, headers={"X-Tenant": "refused"}).status_code == 403
        assert client.post("/spanned", json="a", headers={"X-Tenant": "a"}).status_code == 422
    kept = tree(span for span in keeps.spans if not is_batch(span))
    steps_of_one = ("auth", "decode", "queue", "collate", "run", "split", "encode")
    whole: Any = {name: {} for name in steps_of_one}
    assert [each for name, each in kept.items() if "/spanned" in name] == [
        whole,
        whole,
        {"auth": {}},
        {"auth": {}, "decode": {}},
    ]


def test_a_request_with_dependencies_leaves_nothing_behind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with serving(Ours) as server, httpx.Client(base_url=server.url) as client:
        for path in ("/bare", "/sessions", "/setting"):
            assert client.post(path, json=7, headers={"X-Tenant": "a"}).is_success
        assert client.post("/bare", json=418, headers={"X-Tenant": "a"}).status_code == 418
        gc.collect()
        left = [each for each in gc.get_objects() if isinstance(each, (Resolution, PlainRequest))]
        requests = [each for each in gc.get_objects() if isinstance(each, DependentRequest)]
        assert left == []
        assert len(requests) <= 1  # the connection keeps its last one
    (failed,) = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
    assert failed.startswith("/bare failed for a batch of 1")


def test_where_fastapi_lacks_something_the_start_says_so_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    with serving(Ours):
        pass
    assert "short way" not in caplog.text
    monkeypatch.setattr(utils, "solve_dependencies", renamed(utils.solve_dependencies))
    with serving(Ours):
        pass
    said = [each for each in caplog.messages if "solve_dependencies" in each]
    assert len(said) == 1
    assert said[0].endswith("they go FastAPI's own")


def test_the_access_log_and_the_metrics_know_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    with (
        serving(Ours, {"server": {"access_log": True}}) as server,
        httpx.Client(base_url=server.url) as client,
    ):
        for headers, number in (
            ({"X-Tenant": "a"}, 7),
            ({"X-Tenant": "refused"}, 7),
            ({"X-Tenant": "a"}, 418),
            ({}, 7),
        ):
            client.post("/bare", json=number, headers=headers)
        client.post("/sessions", json=7, headers={"X-Tenant": "a"})
        metrics = server.metrics()
    counted = 'spanserve_requests_total{endpoint="%s",status="%d"}'
    assert [metrics[counted % ("/bare", each)] for each in (200, 403, 418, 422)] == [1, 1, 1, 1]
    assert metrics[counted % ("/sessions", 200)] == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if "POST /" in line]
    assert [line.split('"')[2].split()[0] for line in lines] == ["200", "403", "418", "422", "200"]


def test_the_start_names_the_middleware_that_takes_the_app_off_the_short_way(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    with serving(Ours):
        pass
    assert "middleware" not in caplog.text
    with serving(Behind):
        pass
    assert "all requests go through middleware, off the short way: Passing" in caplog.messages
