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

from spanserve import api, service
from support.serving import serving, until
from support.traces import Keeps, tree

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
        def run(self: Any, numbers: list[int]) -> list[int]:
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


@pytest.fixture(scope="module", params=WAYS)
def client(request: pytest.FixtureRequest) -> Any:
    way = request.param
    with pytest.MonkeyPatch.context() as patch:
        if way == "no private parts":
            solve = utils.solve_dependencies
            patch.setattr(utils, "solve_dependencies", lambda **given: solve(**given))
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
