"""Each client gets its own answer, whatever the model keeps and changes."""

import ctypes
import io
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import pytest
from fastapi import HTTPException
from pydantic import BaseModel

from spanserve import api, service
from support.services.keeping import SHAPES, all_of, keeper
from support.serving import Serving, serving, until

CLIENTS: Final = 6
REQUESTS: Final = 25
NPY: Final = {"Content-Type": "application/x-npy", "Accept": "application/x-npy"}


def leaves(answer: Any) -> set[float]:
    """Return all numbers of an answer but the 1 that stands in tuples."""
    if isinstance(answer, dict):
        answer = list(answer.values())
    if isinstance(answer, list):
        return set().union(*map(leaves, answer))
    return {float(answer)}


def packed(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=False)
    return out.getvalue()


def ask_json(client: httpx.Client, url: str, number: int) -> set[float]:
    return leaves(client.post(url, json=[number] * 4).raise_for_status().json())


def ask_with_query(client: httpx.Client, url: str, number: int) -> set[float]:
    return ask_json(client, f"{url}?a=1", number)


def ask_lines(client: httpx.Client, url: str, number: int) -> set[float]:
    body = f"{[number] * 4}\n{[number] * 4}"
    answer = client.post(url, content=body, headers={"Content-Type": "application/x-ndjson"})
    return set().union(*[leaves(json.loads(line)) for line in answer.text.splitlines()])


def ask_npy(client: httpx.Client, url: str, number: int) -> set[float]:
    body = packed(np.full((3, 4), float(number)))
    answer = client.post(url, content=body, headers=NPY).raise_for_status()
    return set(np.load(io.BytesIO(answer.content)).reshape(-1).tolist())


def ask_npy_for_json(client: httpx.Client, url: str, number: int) -> set[float]:
    headers = NPY | {"Accept": "application/json"}
    body = packed(np.full((3, 4), float(number)))
    return leaves(client.post(url, content=body, headers=headers).raise_for_status().json())


def ask_oip(client: httpx.Client, url: str, number: int) -> set[float]:
    base, _, name = url.rpartition("/")
    tensor = {"name": "rows", "shape": [2, 4], "datatype": "FP64", "data": [number] * 8}
    answer = client.post(f"{base}/v2/models/{name}/infer", json={"inputs": [tensor]})
    return leaves(answer.raise_for_status().json()["outputs"][0]["data"])


Ask = Callable[[httpx.Client, str, int], set[float]]
JSON_ASKS: Final[tuple[Ask, ...]] = (ask_json, ask_with_query)
BATCH_ASKS: Final[tuple[Ask, ...]] = (*JSON_ASKS, ask_lines, ask_npy_for_json)
ARRAY_ASKS: Final[tuple[Ask, ...]] = (ask_npy, ask_oip)
HAVE_NO_ARRAY: Final = {
    *("dicts of views", "models of views", "dataclasses of views"),
    *("tuples of tensors", "dicts of one list's rows"),
}


def asked(server: str, ways: Sequence[tuple[str, Ask]], client_number: int) -> list[str]:
    """Ask each way in turn, each time with a number of its own; return the wrong answers."""
    wrong = []
    with httpx.Client(timeout=30) as client:
        for turn in range(REQUESTS):
            number = 10 + client_number * REQUESTS + turn
            route, ask = ways[(turn + client_number) % len(ways)]
            given = ask(client, f"{server}/{route}", number) - {1.0}
            if given != {float(number)}:
                wrong.append(f"{route} by {ask.__name__}: {given} for {number}")
    return wrong


@pytest.mark.parametrize("shape", SHAPES)
def test_each_client_gets_its_own_answer_of_a_model_that_fills_one_output(shape: str) -> None:
    ways = [(route, ask) for route in ("batch", "inline") for ask in BATCH_ASKS]
    ways += [(route, ask) for route in ("one", "soon") for ask in JSON_ASKS]
    if shape not in HAVE_NO_ARRAY:
        ways += [(route, ask) for route in ("batch", "inline") for ask in ARRAY_ASKS]
    with serving(keeper(SHAPES[shape])) as server, ThreadPoolExecutor(CLIENTS) as pool:
        wrong = list(pool.map(lambda number: asked(server.url, ways, number), range(CLIENTS)))
    assert wrong == [[]] * CLIENTS


KEEPING: Final = Path(__file__).parents[1] / "support" / "services" / "keeping.py"


@pytest.fixture(scope="module")
def kept_in_processes() -> Iterator[Serving]:
    config = {"runner": {"type": "process", "replicas": 2}}
    with serving(f"{KEEPING}:KeepsAll", config) as server:
        yield server


@pytest.mark.parametrize("shape", SHAPES)
def test_so_does_each_client_of_models_in_processes(kept_in_processes: Serving, shape: str) -> None:
    routes = all_of(shape)
    ways = [(routes[route], ask) for route in ("batch", "inline") for ask in BATCH_ASKS]
    ways += [(routes[route], ask) for route in ("one", "soon") for ask in JSON_ASKS]
    if shape not in HAVE_NO_ARRAY:
        ways += [(routes[route], ask) for route in ("batch", "inline") for ask in ARRAY_ASKS]
    url = kept_in_processes.url
    with ThreadPoolExecutor(CLIENTS) as pool:
        wrong = list(pool.map(lambda number: asked(url, ways, number), range(CLIENTS)))
    assert wrong == [[]] * CLIENTS


class Item(BaseModel):
    """An item that its model changes in place."""

    numbers: list[int]
    bad: bool = False


@service
class Preparing:
    """Methods that change what they are given, and fail for some of it."""

    def __init__(self) -> None:
        self.open = threading.Event()

    @api(batch=True, max_batch_size=16, max_latency_ms=2000)
    def scale(self, items: list[Item]) -> list[Any]:
        for item in items:
            item.numbers[:] = [2 * number for number in item.numbers]
        if any(item.bad for item in items):
            raise ValueError("bad")
        return [item.numbers for item in items]

    @api(batch=True, max_batch_size=16, max_latency_ms=2000)
    def pop(self, items: list[dict[str, Any]]) -> list[Any]:
        numbers = [item.pop("numbers") for item in items]
        if any(item.get("bad") for item in items):
            raise ValueError("bad")
        return numbers

    @api
    def hold(self) -> None:
        self.open.wait(30)

    @api
    async def release(self) -> None:
        self.open.set()


def together(url: str, ask: Callable[[int], httpx.Response], count: int) -> list[httpx.Response]:
    """Ask so many times while the runner is held, so that all are in one batch."""
    with ThreadPoolExecutor(count + 1) as pool:
        holding = pool.submit(httpx.post, f"{url}/hold", timeout=30)
        assert until(lambda: "spanserve_runner_busy 1.0" in httpx.get(f"{url}/metrics").text)
        answers = [pool.submit(ask, number) for number in range(count)]
        queued = 'spanserve_queue_depth{endpoint="'

        def all_wait() -> bool:
            lines = httpx.get(f"{url}/metrics").text.splitlines()
            return sum(float(x.split()[-1]) for x in lines if x.startswith(queued)) == count

        assert until(all_wait)
        httpx.post(f"{url}/release")
        holding.result(30)
        return [answer.result(30) for answer in answers]


@pytest.mark.parametrize("way", ["direct", "through the app", "a line"])
@pytest.mark.parametrize("route", ["scale", "pop"])
def test_neighbours_of_an_item_that_fails_are_run_again_as_they_were_sent(
    route: str, way: str
) -> None:
    def ask(number: int) -> httpx.Response:
        item = {"numbers": [number, 1], "bad": number == 2}
        url = f"{server.url}/{route}{'?x=1' if way == 'through the app' else ''}"
        headers = {"Content-Type": "application/x-ndjson"} if way == "a line" else {}
        return httpx.post(url, content=json.dumps(item), headers=headers | {}, timeout=30)

    with serving(Preparing) as server:
        answers = together(server.url, ask, 6)
    factor = 2 if route == "scale" else 1
    for number, answer in enumerate(answers):
        if number == 2:
            failed = answer.json()["error"] if way == "a line" else answer.json()
            assert failed["code"] == "service_failed"
        else:
            assert answer.json() == [factor * number, factor]


@service
class Growing:
    """A generator that yields one object again and again."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    @api
    async def tokens(self, count: int) -> AsyncIterator[dict[str, Any]]:
        state: dict[str, Any] = {"tokens": []}
        for token in range(1, count + 1):
            state["tokens"].append(token)
            yield state
        state.clear()

    @api
    async def held(self, count: int) -> AsyncIterator[str]:
        self.steps.clear()
        for step in range(count):
            self.steps.append(step)
            yield f"{step}" + "x" * 16_000_000

    @api
    async def seen(self) -> list[int]:
        return self.steps


@pytest.mark.parametrize("accept", ["application/x-ndjson", "text/event-stream"])
def test_each_yield_is_sent_as_it_was(accept: str) -> None:
    with serving(Growing) as server:
        text = httpx.post(f"{server.url}/tokens", content="5", headers={"Accept": accept}).text
    lines = [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line]
    assert [line["tokens"] for line in lines] == [list(range(1, n + 1)) for n in range(1, 6)]


def test_a_generator_is_one_value_ahead_of_its_client_at_most() -> None:
    narrow = httpx.HTTPTransport(socket_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)])
    with (
        serving(Growing) as server,
        httpx.Client(base_url=server.url, transport=narrow) as client,
        client.stream("POST", "/held", content="9") as answer,
    ):
        chunks = answer.iter_bytes(1)
        assert next(chunks) == b"0"  # and the rest of this value does not fit in any buffer
        assert until(lambda: httpx.post(f"{server.url}/seen").json() == [0, 1])
        for _ in range(20):
            assert httpx.post(f"{server.url}/seen").json() == [0, 1]


class Lying(Sequence[int]):
    """A sequence whose length is not what it says, or that raises where it is read."""

    def __init__(self, says: int, holds: int, *, raises: bool = False) -> None:
        self.says, self.holds, self.raises = says, holds, raises

    def __len__(self) -> int:
        return self.says

    def __getitem__(self, index: Any) -> Any:
        if index >= self.holds:
            raise IndexError
        return 0

    def __iter__(self) -> Iterator[int]:
        if self.raises:
            raise KeyError("no")
        while self.holds < 0:  # for ever
            yield 0
        yield from range(self.holds)


class Evil(Exception):  # noqa: N818  # it names what it is
    """An exception that raises wherever it is asked for anything."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__

    @property
    def status_code(self) -> int:
        raise RuntimeError("no status")


def unsendable(status: Any = 418, detail: Any = "x", **headers: Any) -> HTTPException:
    error = HTTPException(418, detail)
    error.status_code = status
    error.headers = headers or None
    return error


FATES: Final[dict[str, Callable[[int], Any]]] = {
    "too short": lambda n: Lying(n, n - 1),
    "too long": lambda n: Lying(n, n + 1),
    "endless": lambda n: Lying(n, -1),
    "raising": lambda n: Lying(n, n, raises=True),
    "evil entry": lambda n: [Evil() for _ in range(n)],
    "unknown entry": lambda n: [object() for _ in range(n)],
    "evil detail": lambda n: [unsendable(detail=object()) for _ in range(n)],
    "odd status": lambda n: [unsendable(status=9999) for _ in range(n)],
    "odd header": lambda n: [unsendable(**{"x-a": "b\r\nx-c: d"}) for _ in range(n)],
    "no header": lambda n: [unsendable(**{"x-a": 3}) for _ in range(n)],
}


@service
class Odd:
    """Returns and raises what nothing expects."""

    @api(batch=True, max_batch_size=8)
    def give(self, fates: list[str]) -> Any:
        if "search" in fates and len(fates) > 1:
            raise ValueError("search among them")
        if "evil" in fates:
            raise Evil
        fates = [fate for fate in fates if fate != "search"]
        return FATES[fates[0]](len(fates)) if fates else ["found"]

    @api
    def one(self, fate: str) -> Any:
        if fate == "evil":
            raise Evil
        return FATES[fate](1)


@pytest.mark.parametrize("fate", [*FATES, "evil"])
@pytest.mark.parametrize("route", ["give", "give?x=1", "one"])
def test_no_result_and_no_exception_ends_the_runner(fate: str, route: str) -> None:
    with serving(Odd) as server, httpx.Client(base_url=server.url, timeout=30) as client:
        answer = client.post(f"/{route}", json=fate)
        assert (answer.status_code, answer.json()["code"]) == (500, "service_failed")
        body = f'"search"\n"{fate}"\n"search"'
        lines = client.post(
            "/give", content=body, headers={"Content-Type": "application/x-ndjson"}
        ).text.splitlines()
        assert len(lines) == 3
        assert json.loads(lines[1])["error"]["code"] == "service_failed"
        assert client.post("/give", json="search").json() == "found"
        assert client.get("/readyz").status_code == 200


@service
class Mortal:
    """A model on whose thread a test has an eye."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.open = threading.Event()

    @api(batch=True)
    def echo(self, items: list[int]) -> list[int]:
        return items

    @api
    async def end(self) -> int:
        # As an interpreter does that is told to stop a thread: it is raised where the thread is.
        kind = ctypes.py_object(SystemExit)
        raised = ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self.thread), kind)
        return int(raised)

    @api
    def plain(self) -> int:
        return 1


def test_a_runner_that_is_gone_is_not_ready_and_fails_what_waits() -> None:
    with serving(Mortal) as server, httpx.Client(base_url=server.url, timeout=30) as client:
        assert client.post("/echo", json=3).json() == 3
        assert client.post("/end").json() == 1
        client.post("/plain")  # wakes the thread, in which it is raised now
        assert until(lambda: client.get("/readyz").status_code == 503)
        for route in ("echo", "echo?x=1", "plain"):
            answer = client.post(f"/{route}", json=3 if "echo" in route else None)
            assert (answer.status_code, answer.json()["code"]) == (503, "runner_gone"), route
            assert "Retry-After" in answer.headers
        assert client.get("/livez").status_code == 200
        assert server.metrics()["spanserve_runner_up"] == 0


@service
class Details:
    """Raises an exception of FastAPI's whose detail is no text."""

    @api
    def plain(self, text: str) -> None:
        raise HTTPException(409, detail={"why": text, "where": [1, None]})

    @api(batch=True)
    def batch(self, texts: list[str]) -> list[Any]:
        return [HTTPException(409, detail={"why": text, "where": [1, None]}) for text in texts]


@pytest.mark.parametrize("route", ["plain", "batch", "batch?x=1"])
def test_a_detail_that_is_no_text_is_json(route: str) -> None:
    with serving(Details) as server:
        answer = httpx.post(f"{server.url}/{route}", json="taken")
    body = answer.json()
    assert (answer.status_code, body["code"]) == (409, "http_409")
    assert body["detail"] == json.loads(body["message"]) == {"why": "taken", "where": [1, None]}
