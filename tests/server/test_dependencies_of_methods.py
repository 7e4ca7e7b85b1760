"""FastAPI's dependencies in `@api` methods: as in FastAPI, answer by answer, at every door."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, Final

import httpx
import numpy as np
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
from fastapi.responses import JSONResponse
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes

from spanserve import Array, api, service
from support.serving import serving, until

Row = Annotated[np.ndarray, Array("float64", (2,))]
NDJSON: Final = {"Content-Type": "application/x-ndjson"}
NPY: Final = {"Content-Type": "application/x-npy"}

steps: list[str] = []
"""What dependencies and background tasks did, in order."""


class TeapotError(Exception):
    """An exception with a handler of its own."""


async def tenant(x_tenant: Annotated[str, Header()]) -> str:
    steps.append("tenant")
    if x_tenant == "refused":
        raise HTTPException(403, "not you", {"X-Why": "tenant"})
    if x_tenant == "teapot":
        raise TeapotError
    if x_tenant == "broken":
        raise ValueError("a bug")
    return x_tenant


def upper(who: Annotated[str, Depends(tenant)]) -> str:
    return who.upper()


def both(
    who: Annotated[str, Depends(tenant)], loud: Annotated[str, Depends(upper)], response: Response
) -> str:
    response.headers["X-Tenant"] = who
    response.set_cookie("seen", who)
    return f"{who} {loud}"


async def session(who: Annotated[str, Depends(tenant)]) -> AsyncIterator[str]:
    steps.append(f"open {who}")
    try:
        yield f"session of {who}"
    finally:
        steps.append(f"close {who}")


def sync_session() -> Iterator[str]:
    steps.append("open sync")
    yield "sync"
    steps.append("close sync")


def scoped(
    scopes: SecurityScopes,
    credentials: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())],
) -> str:
    if credentials.credentials not in scopes.scopes:
        raise HTTPException(401, "wrong scope", {"WWW-Authenticate": "Bearer"})
    return credentials.credentials


def later(what: str) -> None:
    steps.append(what)


def teapot(_request: Request, _error: Exception) -> JSONResponse:
    return JSONResponse({"short": "and stout"}, 418)


Tenant = Annotated[str, Depends(tenant)]


def describe(  # noqa: PLR0917  # as in the routes
    number: int,
    who: Annotated[str, Depends(both)],
    opened: Annotated[str, Depends(session)],
    sync: Annotated[str, Depends(sync_session)],
    page: Annotated[int, Query(ge=1)] = 1,
    x_tag: Annotated[list[str] | None, Header()] = None,
    seen: Annotated[str, Cookie()] = "",
    *,
    request: Request,
    tasks: BackgroundTasks,
) -> dict[str, Any]:
    tasks.add_task(later, "task")
    steps.append("method")
    return {
        "number": number,
        "who": who,
        "opened": opened,
        "sync": sync,
        "page": page,
        "tags": x_tag,
        "seen": seen,
        "path": request.url.path,
    }


@service
class Ours:
    """The routes, as methods."""

    @api(tags=["described"])
    def describe(  # noqa: PLR0917  # as users write them
        self,
        number: int,
        who: Annotated[str, Depends(both)],
        opened: Annotated[str, Depends(session)],
        sync: Annotated[str, Depends(sync_session)],
        page: Annotated[int, Query(ge=1)] = 1,
        x_tag: Annotated[list[str] | None, Header()] = None,
        seen: Annotated[str, Cookie()] = "",
        *,
        request: Request,
        tasks: BackgroundTasks,
    ) -> dict[str, Any]:
        return describe(number, who, opened, sync, page, x_tag, seen, request=request, tasks=tasks)

    @api
    async def scopes(
        self, number: int, token: Annotated[str, Security(scoped, scopes=["read"])]
    ) -> str:
        return f"{token} {number}"

    @api(route="/items/{name}/{index}")
    async def item(self, number: int, name: str, index: int) -> list[Any]:
        return [name, index, number]

    @api(dependencies=[Depends(tenant)])
    async def bare(self, number: int) -> int:
        return number

    @api
    async def key(
        self, number: int, given: str = Security(APIKeyHeader(name="X-Key", auto_error=False))
    ) -> Any:
        return [given, number]

    @classmethod
    def configure_app(cls, app: FastAPI) -> None:
        app.add_exception_handler(TeapotError, teapot)


def theirs() -> FastAPI:
    """Return the same routes, as a FastAPI app."""
    app = FastAPI()
    app.add_exception_handler(TeapotError, teapot)
    Number = Annotated[int, Body()]  # noqa: N806  # a type

    @app.post("/describe")
    def described(  # noqa: PLR0917  # as above
        number: Number,
        who: Annotated[str, Depends(both)],
        opened: Annotated[str, Depends(session)],
        sync: Annotated[str, Depends(sync_session)],
        page: Annotated[int, Query(ge=1)] = 1,
        x_tag: Annotated[list[str] | None, Header()] = None,
        seen: Annotated[str, Cookie()] = "",
        *,
        request: Request,
        tasks: BackgroundTasks,
    ) -> dict[str, Any]:
        return describe(number, who, opened, sync, page, x_tag, seen, request=request, tasks=tasks)

    @app.post("/scopes")
    async def scopes(
        number: Number, token: Annotated[str, Security(scoped, scopes=["read"])]
    ) -> str:
        return f"{token} {number}"

    @app.post("/items/{name}/{index}")
    async def item(number: Number, name: str, index: int) -> list[Any]:
        return [name, index, number]

    @app.post("/bare", dependencies=[Depends(tenant)])
    async def bare(number: Number) -> int:
        return number

    @app.post("/key")
    async def key(
        number: Number,
        given: str = Security(APIKeyHeader(name="X-Key", auto_error=False)),  # noqa: FAST002  # as users write them
    ) -> Any:
        return [given, number]

    return app


REQUESTS: Final[list[tuple[str, dict[str, str]]]] = [
    ("/describe", {"X-Tenant": "a"}),
    ("/describe?page=3", {"X-Tenant": "b", "X-Tag": "t", "Cookie": "seen=yes"}),
    ("/describe?page=0", {"X-Tenant": "a"}),
    ("/describe?page=x", {"X-Tenant": "a"}),
    ("/describe", {}),
    ("/describe", {"X-Tenant": "refused"}),
    ("/describe", {"X-Tenant": "teapot"}),
    ("/describe", {"X-Tenant": "broken"}),
    ("/scopes", {"Authorization": "Bearer read"}),
    ("/scopes", {"Authorization": "Bearer write"}),
    ("/scopes", {}),
    ("/items/apple/3", {}),
    ("/items/apple/x", {}),
    ("/bare", {"X-Tenant": "a"}),
    ("/bare", {"X-Tenant": "refused"}),
    ("/bare", {}),
    ("/key", {"X-Key": "k"}),
    ("/key", {}),
]


@pytest.fixture(scope="module")
def client() -> Any:
    with serving(Ours) as server, httpx.Client(base_url=server.url) as client:
        yield client


@pytest.fixture(scope="module")
def fastapi_client() -> Any:
    transport = httpx.ASGITransport(theirs(), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://theirs")


@pytest.mark.parametrize(("path", "headers"), REQUESTS, ids=str)
async def test_a_dependency_means_what_it_means_in_fastapi(
    client: httpx.Client, fastapi_client: httpx.AsyncClient, path: str, headers: dict[str, str]
) -> None:
    steps.clear()
    wanted = await fastapi_client.post(path, json=7, headers=headers)
    their_steps = steps.copy()
    steps.clear()
    given = await asyncio.to_thread(client.post, path, json=7, headers=headers)
    assert given.status_code == wanted.status_code
    if wanted.is_success or wanted.status_code == 418:
        assert given.json() == wanted.json()
    for name in ("x-tenant", "set-cookie", "x-why", "www-authenticate"):
        assert given.headers.get_list(name) == wanted.headers.get_list(name), name
    assert until_equal(their_steps) == their_steps
    assert given.headers["x-request-id"]


def until_equal(wanted: list[str]) -> list[str]:
    """Return the steps, once they are as wanted: some come after the answer."""
    until(lambda: steps == wanted, 5)
    return steps


def test_overrides_hold() -> None:
    with serving(Ours) as server:
        server.app.dependency_overrides[tenant] = lambda: "replaced"
        answer = httpx.post(f"{server.url}/describe", json=1)
    assert answer.json()["who"] == "replaced REPLACED"


def packed(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, np.asarray(array, "float64"), allow_pickle=False)
    return out.getvalue()


@service
class Batched:
    """A batch method whose requests are asked for something."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    @api(batch=True)
    def double(self, rows: Row, who: Tenant, request: Request) -> np.ndarray:
        self.seen.append((who, request))
        return rows * 2

    @api(batch=True, dependencies=[Depends(tenant)])
    def lengths(self, texts: list[str]) -> list[int]:
        return [len(text) for text in texts]

    @api
    def count(self) -> list[Any]:
        return self.seen

    @api
    async def soon(self, text: str, who: Tenant) -> str:
        return f"{who} {text}"

    @api(dependencies=[Depends(tenant)])
    def plain(self, text: str) -> str:
        return text

    @api
    async def words(self, text: str, who: Tenant) -> AsyncIterator[str]:
        yield f"{who} {text}"


DOORS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "json": ("/double", {"content": b"[1,2]"}),
    "query": ("/double?a=1", {"content": b"[1,2]"}),
    "chunked": ("/double", {"content": [b"[1,", b"2]"]}),
    "lines": ("/double", {"content": b"[1,2]\n[3,4]", "headers": NDJSON}),
    "npy": ("/double", {"content": packed([1, 2]), "headers": NPY}),
    "oip": (
        "/v2/models/double/infer",
        {
            "json": {
                "inputs": [{"name": "rows", "shape": [1, 2], "datatype": "FP64", "data": [1, 2]}]
            }
        },
    ),
    "long": ("/lengths", {"content": json.dumps("x" * 200_000).encode()}),
    "async": ("/soon", {"json": "a"}),
    "plain": ("/plain", {"json": "a"}),
    "stream": ("/words", {"json": "a"}),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("place", ["method", "app"])
def test_a_dependency_is_asked_at_every_door_and_a_refusal_reaches_no_batch(
    door: str, place: str
) -> None:
    @service
    class Guarded(Batched):
        @classmethod
        def configure_app(cls, app: FastAPI) -> None:
            if place == "app":
                app.router.dependencies.append(Depends(tenant))

    path, options = DOORS[door]
    with serving(Guarded) as server, httpx.Client(base_url=server.url) as client:

        def ask(**headers: str) -> httpx.Response:
            content = options.get("content")
            sent = {"content": iter(content)} if isinstance(content, list) else {}
            every = {**options.get("headers", {}), **headers}
            return client.post(path, **{**options, **sent, "headers": every})

        for headers, status in (({}, 422), ({"X-Tenant": "refused"}, 403)):
            refused = ask(**headers)
            assert (refused.status_code, refused.headers["x-request-id"] != "") == (status, True)
        metrics = server.metrics()
        assert not [name for name in metrics if name.startswith("spanserve_batches_total")]
        assert ask(**{"X-Tenant": "a"}).status_code == 200
        for probe in ("/livez", "/readyz", "/healthz", "/metrics", "/metadata", "/v2/health/ready"):
            assert client.get(probe).status_code == 200, probe
        if door in {"json", "query", "chunked", "lines", "npy"}:
            counted = 'spanserve_requests_total{endpoint="/double",status="%d"}'
            assert [metrics[counted % 422], metrics[counted % 403]] == [1, 1]
            assert client.post("/count").json() == [[None, None]] or place == "app"


def test_the_document_says_what_is_asked(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    described = document["paths"]["/describe"]["post"]
    assert described["tags"] == ["described"]
    assert {(each["in"], each["name"]) for each in described["parameters"]} == {
        ("header", "x-tenant"),
        ("query", "page"),
        ("header", "x-tag"),
        ("cookie", "seen"),
    }
    assert {
        each["name"] for each in document["paths"]["/items/{name}/{index}"]["post"]["parameters"]
    } == {
        "name",
        "index",
    }
    assert document["paths"]["/key"]["post"]["security"] == [{"APIKeyHeader": []}]
