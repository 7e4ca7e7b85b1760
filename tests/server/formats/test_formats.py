"""Formats beside an item of JSON: lines, arrays, and how a client asks for them."""

import asyncio
import io
import json
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Annotated, Any

import httpx
import numpy as np
import pytest
from fastapi import Depends, FastAPI
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from spanserve import Array, api, service
from spanserve.service.codecs import media, npy
from spanserve.service.codecs.problems import InvalidBody, InvalidItem
from spanserve.service.codecs.steps import finished
from spanserve.tracing.model import names
from support.serving import serving, until
from support.traces import Keeps, check_all, is_batch, named

NDJSON = {"Content-Type": "application/x-ndjson"}
NPY = {"Content-Type": "application/x-npy"}
Pair = Annotated[np.ndarray, Array("float32", (2,))]
PAIR = Array("float32", (2,))


@service
class Formats:
    """Endpoints of arrays, of texts, and a plain one."""

    def __init__(self) -> None:
        self.open = threading.Event()

    @api(batch=True, max_batch_size=8)
    def double(self, rows: Pair) -> np.ndarray:
        if (rows == 13).any():
            raise ValueError("thirteen")
        return rows * 2

    @api(batch=True, max_queue=4, max_batch_size=2)
    def lengths(self, texts: list[str]) -> list[int]:
        if "wait" in texts:
            self.open.wait(30)
        return [len(text) for text in texts]

    @api
    def add(self, a: int, b: int) -> int:
        return a + b

    @api
    async def words(self, text: str) -> AsyncIterator[str]:
        yield text

    @api
    async def release(self) -> None:
        self.open.set()


def packed(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, np.asarray(array), allow_pickle=False)
    return out.getvalue()


def unpacked(body: bytes) -> Any:
    return np.load(io.BytesIO(body), allow_pickle=False)


@pytest.fixture(scope="module")
def url() -> Any:
    with serving(Formats) as server:
        yield server.url


def test_each_line_is_answered_in_order_with_a_result_or_an_error(url: str) -> None:
    body = b'[1,2]\n\n[13,0]\r\n"no"\n[3,4]\nnot json\n[1]'
    answer = httpx.post(f"{url}/double", content=body, headers=NDJSON)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [lines[0], lines[3]] == [[2, 4], [6, 8]]
    errors = {line["index"]: line["error"]["code"] for line in lines if isinstance(line, dict)}
    assert errors == {
        1: "service_failed",
        2: "invalid_item",
        4: "malformed_body",
        5: "invalid_item",
    }
    assert "one item is float32 of shape (2,)" in lines[5]["error"]["message"]
    ids = {line["error"]["request_id"] for line in lines if isinstance(line, dict)}
    assert ids == {answer.headers["x-request-id"]}


def test_no_lines_are_no_answers(url: str) -> None:
    answer = httpx.post(f"{url}/double", content=b"\n \n", headers=NDJSON)
    assert (answer.status_code, answer.content) == (200, b"")


def test_very_many_lines_that_are_no_items_are_told_in_short(url: str) -> None:
    lines = [*["x"] * 150, "[1,2]", "[13,0]", *['"no"'] * 500, "[3,4]", "x"]
    answer = httpx.post(f"{url}/double", content="\n".join(lines), headers=NDJSON)
    told = [json.loads(line) for line in answer.text.splitlines()]
    assert [each["index"] for each in told[:100]] == list(range(100))
    assert all(each["error"]["message"] for each in told[:100])
    assert told[100:102] == [
        {"error": {"code": "malformed_body"}, "index": 100, "last_index": 149},
        [2, 4],
    ]
    assert (told[102]["index"], told[102]["error"]["code"]) == (151, "service_failed")
    assert told[103:] == [
        {"error": {"code": "invalid_item"}, "index": 152, "last_index": 651},
        [6, 8],
        {"error": {"code": "malformed_body"}, "index": 653, "last_index": 653},
    ]


@pytest.mark.parametrize("blank", [b"\n", b" ", b"\r\n", b" \n\t\x0b\n"])
def test_blank_lines_are_no_items_however_many(url: str, blank: bytes) -> None:
    body = blank * 100_000 + b"\n[1,2]\n" + blank * 100_000 + b"\n[3,4]" + blank * 100_000
    answer = httpx.post(f"{url}/double", content=body, headers=NDJSON)
    assert answer.text == "[2.0,4.0]\n[6.0,8.0]\n"


def test_more_lines_than_the_queue_holds_wait_for_room(url: str) -> None:
    texts = ["x" * (number % 7) for number in range(500)]
    body = "\n".join(json.dumps(text) for text in texts)
    answer = httpx.post(f"{url}/lengths", content=body, headers=NDJSON)
    assert [int(line) for line in answer.text.splitlines()] == [len(text) for text in texts]


def test_lines_are_sent_as_soon_as_they_are_there() -> None:
    with (
        serving(Formats) as server,
        httpx.Client(base_url=server.url) as client,
        client.stream("POST", "/lengths", content=b'"a"\n"bc"\n"wait"', headers=NDJSON) as answer,
    ):
        lines = answer.iter_lines()
        assert next(lines) == "1"
        assert next(lines) == "2"
        httpx.post(f"{server.url}/release")
        assert list(lines) == ["4"]


def test_a_full_queue_refuses_the_whole_before_it_began() -> None:
    with serving(Formats) as server, ThreadPoolExecutor(8) as pool:
        post = f"{server.url}/lengths"
        sent = [pool.submit(httpx.post, post, json="wait") for _ in range(6)]
        depth = 'spanserve_queue_depth{endpoint="/lengths"}'
        assert until(lambda: server.metrics()[depth] == 4)
        refused = httpx.post(post, content=b'"a"\n"b"', headers=NDJSON)
        httpx.post(f"{server.url}/release")
        assert {each.result().status_code for each in sent} <= {200, 429}
    assert (refused.status_code, refused.json()["code"]) == (429, "queue_full")


async def test_a_client_that_leaves_takes_its_lines_out_of_the_queue() -> None:
    with serving(Formats) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        body = b'"wait"\n"a"\n"b"\n"c"'
        writer.write(
            b"POST /lengths HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        await reader.readuntil(b"\r\n\r\n")
        writer.close()
        abandoned = 'spanserve_items_abandoned_total{endpoint="/lengths"}'
        gone = await asyncio.to_thread(until, lambda: server.metrics()[abandoned] >= 2)
        await asyncio.to_thread(httpx.post, f"{server.url}/release")
    assert gone


def test_the_items_of_one_request_are_one_trace_and_batched_together() -> None:
    kept = Keeps()
    with serving(Formats, tracers=[("kept", kept, {})]) as server:
        httpx.post(f"{server.url}/double", content=b"[1,2]\n[13,0]\n[3,4]", headers=NDJSON)
    check_all(kept.spans)
    [batch] = filter(is_batch, kept.spans)
    [root] = named("POST /double", kept.spans)
    own = [span for span in kept.spans if span.trace_id == root.trace_id]
    assert batch.attributes[names.BATCH_SIZE] == 3
    assert {link.trace_id for link in batch.links} == {root.trace_id}
    assert len(named("queue", own)) == 3
    assert root.error is None  # it was answered, line by line
    assert len([each for each in named("run", own) if each.error is not None]) == 1


def test_arrays_go_in_and_out_without_json(url: str) -> None:
    one = httpx.post(f"{url}/double", content=packed(np.array([1, 2], "float32")), headers=NPY)
    assert (one.status_code, one.headers["content-type"]) == (200, "application/x-npy")
    assert unpacked(one.content).tolist() == [2, 4]
    many = np.arange(40, dtype="float32").reshape(20, 2) + 20
    answer = httpx.post(f"{url}/double", content=packed(many), headers=NPY)
    assert (unpacked(answer.content) == many * 2).all()
    as_json = httpx.post(
        f"{url}/double", content=packed(many[:2]), headers=NPY | {"Accept": "application/json"}
    )
    assert as_json.json() == (many[:2] * 2).tolist()
    out = httpx.post(f"{url}/double", json=[1, 2], headers={"Accept": "application/x-npy"})
    assert unpacked(out.content).tolist() == [2, 4]


@pytest.mark.parametrize(
    ("array", "status", "words"),
    [
        (
            np.array([1, 2, 3], "float32"),
            422,
            "an array of shape (3,); one item is float32 of shape (2,)",
        ),
        (np.zeros((3, 4), "f4"), 422, "each item: an array of shape (4,)"),
        (np.zeros((0, 2), "f4"), 422, "no items"),
        (np.array([1, 2], "complex64"), 422, "complex64"),
        (np.array([1e300, 2], "float64"), 422, "item[0] is not finite as float32"),
        (np.array([2, np.nan], "float32"), 422, "item[1] is not finite as float32"),
        (np.array([[1, 2], [3, np.inf]], "float32"), 422, "item 1[1] is not finite as float32"),
        (np.array([[1, 2], [13, 2]], "float32"), 500, "item 1: the service raised ValueError"),
        (np.array([13, 2], "float32"), 500, "the service raised ValueError"),
    ],
    ids=str,
)
def test_a_wrong_array_is_refused_in_words(url: str, array: Any, status: int, words: str) -> None:
    answer = httpx.post(f"{url}/double", content=packed(array), headers=NPY)
    assert answer.status_code == status
    assert words in answer.json()["message"]


@pytest.mark.parametrize(
    ("path", "headers", "status", "words"),
    [
        ("/double", {"Content-Type": "text/csv"}, 415, "'text/csv'; this endpoint reads"),
        ("/lengths", NPY, 415, "reads application/json, application/x-ndjson"),
        ("/double", NDJSON | {"Accept": "application/json"}, 406, "application/x-ndjson"),
        ("/double", {"Accept": "text/html"}, 406, "application/json or application/x-npy"),
        ("/double", {"Accept": "application/json;q=0"}, 406, "Accept takes none of them"),
        ("/lengths", {"Accept": "image/png"}, 406, "application/json, and Accept does not take it"),
        ("/add", {"Content-Type": "text/csv"}, 415, "'text/csv'; this endpoint reads"),
        ("/add", {"Accept": "image/png"}, 406, "application/json, and Accept does not take it"),
        ("/words", {"Content-Type": "text/csv"}, 415, "'text/csv'; this endpoint reads"),
    ],
    ids=str,
)
def test_what_fits_nothing_is_415_or_406(
    url: str, path: str, headers: dict[str, str], status: int, words: str
) -> None:
    answer = httpx.post(f"{url}{path}", content=b"[1,2]", headers=headers)
    assert answer.status_code == status
    assert words in answer.json()["message"]
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "Application/JSON; charset=utf-8"},
        {"Accept": "*/*"},
        {"Accept": "text/html, application/*;q=0.5"},
        {"Accept": ""},
    ],
    ids=str,
)
def test_json_is_what_goes_without_saying(url: str, headers: dict[str, str]) -> None:
    answer = httpx.post(f"{url}/double", content=b"[1,2]", headers=headers)
    assert (answer.status_code, answer.json()) == (200, [2, 4])


def test_without_a_body_its_format_does_not_matter(url: str) -> None:
    answer = httpx.post(f"{url}/release", headers={"Content-Type": "text/csv"})
    assert (answer.status_code, answer.json()) == (200, None)


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/double", NDJSON, 200),
        ("/double", {"Content-Type": "text/csv"}, 415),
        ("/double", {"Accept": "application/x-npy"}, 200),
        ("/double", {"Accept": "text/csv"}, 406),
        ("/double", {}, 200),
        ("/words", {"Content-Type": "application/json", "Accept": "text/event-stream"}, 200),
    ],
    ids=str,
)
def test_with_dependencies_all_formats_are_read(
    path: str, headers: dict[str, str], status: int
) -> None:
    @service
    class Dependent(Formats):
        @classmethod
        def configure_app(cls, app: FastAPI) -> None:
            app.router.dependencies.append(Depends(lambda: None))

    body = {"/double": b"[1,2]", "/words": b'"a"'}[path]
    headers = {"Content-Type": "application/json", **headers}
    with serving(Dependent) as server:
        answer = httpx.post(f"{server.url}{path}", content=body, headers=headers)
        paths = httpx.get(f"{server.url}/openapi.json").json()["paths"]
    assert answer.status_code == status
    if status != 200:
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
    formats = {f"application/{name}" for name in ("json", "x-ndjson", "x-npy", "x-items+json")}
    read = paths[path]["post"]["requestBody"]["content"]
    assert set(read) == (formats if path == "/double" else {"application/json"})


def test_behind_middleware_lines_are_streamed_too() -> None:
    @service
    class Behind(Formats):
        @classmethod
        def configure_app(cls, app: FastAPI) -> None:
            @app.middleware("http")
            async def mark(request: Any, call_next: Any) -> Any:
                answer = await call_next(request)
                answer.headers["x-seen"] = "yes"
                return answer

    with serving(Behind) as server:
        answer = httpx.post(f"{server.url}/double", content=b"[1,2]\n[3,4]", headers=NDJSON)
    assert (answer.text, answer.headers["x-seen"]) == ("[2.0,4.0]\n[6.0,8.0]\n", "yes")


def test_the_openapi_document_names_the_formats(url: str) -> None:
    paths = httpx.get(f"{url}/openapi.json").json()["paths"]
    body = paths["/double"]["post"]["requestBody"]["content"]
    assert set(body) == {f"application/{n}" for n in ("json", "x-ndjson", "x-npy", "x-items+json")}
    assert {"406", "415"} <= set(paths["/double"]["post"]["responses"])


@given(st.text(st.characters(max_codepoint=255), max_size=60))
def test_any_accept_header_chooses_or_does_not(accept: str) -> None:
    assert media.chosen(accept, [media.JSON, media.NPY]) in {media.JSON, media.NPY, None}
    assert media.media_type(accept)


@given(st.binary(max_size=200) | st.binary(max_size=80).map(lambda b: b"\x93NUMPY\x01\x00" + b))
def test_any_bytes_are_an_array_or_are_refused(body: bytes) -> None:
    with suppress(InvalidBody, InvalidItem):
        npy.read(body, PAIR)


@given(
    hnp.arrays(
        np.float32, st.tuples(st.integers(1, 5), st.just(2)), elements=st.floats(-9, 9, width=32)
    )
)
def test_what_numpy_writes_is_read_back(array: Any) -> None:
    items = npy.read(packed(np.asfortranarray(array)), PAIR)
    assert items.stacked
    assert (np.stack(list(items.values)) == array).all()
    assert (unpacked(b"".join(finished(npy.written(array, where="double")))) == array).all()


def test_a_header_that_claims_much_allocates_nothing() -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 2), }"
    body = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with pytest.raises(InvalidBody, match="0 bytes of data"):
        npy.read(body, PAIR)


def test_objects_are_never_unpickled() -> None:
    out = io.BytesIO()
    np.save(out, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InvalidItem, match="object"):
        npy.read(out.getvalue(), PAIR)
