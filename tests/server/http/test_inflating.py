"""Compressed bodies are read on every way in, within `max_request_bytes` once inflated."""

import asyncio
import gzip
import io
import itertools
import json
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Annotated, Any, Final

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from fastapi import Depends, FastAPI
from hypothesis import given
from hypothesis import strategies as st

from spanserve import Array, api, service
from spanserve.server.http.answer import RequestError
from spanserve.server.http.inflating import Inflater, codings_of
from spanserve.service.codecs.problems import InvalidBody
from support.serving import Serving, serving

LIMIT: Final = 100_000


@service
class Doors:
    """An endpoint of each kind."""

    @api(batch=True)
    def rows(self, rows: Annotated[np.ndarray, Array("float32", (2,))]) -> np.ndarray:
        return rows

    @api(batch=True)
    def words(self, words: list[str]) -> list[str]:
        return words

    @api
    def text(self, text: str = "nothing") -> str:
        return text

    @api
    async def stream(self, text: str) -> AsyncIterator[str]:
        yield text


@service
class Dependent(Doors):
    """The same where FastAPI itself reads the bodies."""

    @classmethod
    def configure_app(cls, app: FastAPI) -> None:
        app.router.dependencies.append(Depends(lambda: None))


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


PACKERS: Final[dict[str, Any]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "GZIP": lambda body: gzip.compress(body[:3]) + gzip.compress(body[3:]),
    "deflate": zlib.compress,
    "Deflate": raw_deflate,
    "gzip, gzip": lambda body: gzip.compress(gzip.compress(body)),
    "deflate,identity , gzip": lambda body: gzip.compress(zlib.compress(body)),
    "identity": bytes,
    "": bytes,
}


def npy(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


TENSOR: Final = {"name": "rows", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
OUTPUT: Final = {"name": "output", "datatype": "FP64", "shape": [1, 2], "data": [1.0, 2.0]}
DOORS: Final[dict[str, tuple[str, bytes, bytes]]] = {
    "/rows": ("application/json", b"[1,2]", b"[1.0,2.0]"),
    "/rows?query": ("application/json", b"[1,2]", b"[1.0,2.0]"),
    "/rows?lines": ("application/x-ndjson", b"[1,2]\n[3,4]", b"[1.0,2.0]\n[3.0,4.0]\n"),
    "/rows?array": ("application/x-npy", npy(np.array([1, 2], "f4")), b"[1.0,2.0]"),
    "/words": ("application/json", b'"ab"', b'"ab"'),
    "/text": ("application/json", b'"ab"', b'"ab"'),
    "/stream": ("application/json", b'"ab"', b"ab"),
    "/v2/models/rows/infer": (
        "application/json",
        json.dumps({"inputs": [TENSOR]}).encode(),
        json.dumps({"model_name": "rows", "outputs": [OUTPUT]}, separators=(",", ":")).encode(),
    ),
}


@pytest.fixture(scope="module", params=[Doors, Dependent], ids=lambda cls: cls.__name__)
def server(request: pytest.FixtureRequest) -> Iterator[Serving]:
    with serving(request.param, {"server": {"max_request_bytes": LIMIT}}) as running:
        yield running


def post(server: Serving, path: str, body: Any, coding: str) -> httpx.Response:
    media = DOORS[path][0]
    headers = {
        "Content-Type": media,
        "Content-Encoding": coding,
        "Accept": "*/*" if "array" not in path else "application/json",
    }
    return httpx.post(server.url + path, content=body, headers=headers)


@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
@pytest.mark.parametrize("path", DOORS)
def test_every_door_reads_every_coding(server: Serving, path: str, *, chunked: bool) -> None:
    _, plain, answer = DOORS[path]
    for coding, pack in PACKERS.items():
        body = pack(plain)
        content = iter([body[:1], body[1:7], body[7:]]) if chunked else body
        answered = post(server, path, content, coding)
        assert (answered.status_code, answered.content) == (200, answer), coding


@pytest.mark.parametrize("path", DOORS)
def test_what_is_not_read_is_refused_at_every_door(server: Serving, path: str) -> None:
    _, plain, _ = DOORS[path]
    other = post(server, path, plain, "gzip, br")
    assert (other.status_code, other.headers["accept-encoding"]) == (415, "gzip, deflate")
    told = "the body is in 'br'; this server reads gzip, deflate (Content-Encoding)"
    assert (other.json()["code"], other.json()["message"]) == ("unsupported_media_type", told)
    packed = gzip.compress(plain)
    for wrong in (plain, packed[:-1], packed[:3], packed + b"rest", packed + packed[:5]):
        answered = post(server, path, wrong, "gzip")
        assert (answered.status_code, answered.json()["code"]) == (400, "malformed_body"), wrong
    bomb = gzip.compress(b"[" * 30 * LIMIT)
    answered = post(server, path, bomb, "gzip")
    assert (answered.status_code, answered.json()["code"]) == (413, "body_too_large")
    assert "when it is inflated" in answered.json()["message"]


@pytest.mark.parametrize("path", [path for path in DOORS if "array" not in path])
def test_a_byte_order_mark_before_json_is_no_part_of_it(server: Serving, path: str) -> None:
    _, plain, answer = DOORS[path]
    answered = post(server, path, b"\xef\xbb\xbf" + plain, "")
    assert (answered.status_code, answered.content) == (200, answer)
    twice = post(server, path, b"\xef\xbb\xbf" * 2 + plain, "")
    assert twice.status_code in {400, 422} or "lines" in path


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
def test_a_client_of_tritons_may_compress(coding: str, *, binary: bool) -> None:
    with (
        serving(Doors) as server,
        triton.InferenceServerClient(server.url.removeprefix("http://")) as client,
    ):
        rows = np.arange(2000, dtype="float32").reshape(1000, 2)
        given_ = triton.InferInput("rows", [1000, 2], "FP32")
        given_.set_data_from_numpy(rows, binary_data=binary)
        answer = client.infer("rows", [given_], request_compression_algorithm=coding)
        assert (answer.as_numpy("output") == rows).all()


def inflated(body: bytes, codings: tuple[str, ...], cuts: list[int], limit: int) -> bytes:
    inflater = Inflater(codings, limit)
    marks = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    pieces = [body[start:end] for start, end in itertools.pairwise(marks)]
    whole = b"".join(out for piece in pieces for out in inflater.feed(piece))
    inflater.end()
    return whole


CODINGS: Final = st.lists(st.sampled_from(["gzip", "deflate"]), min_size=1, max_size=3).map(tuple)
BODIES: Final = st.binary(max_size=300) | st.integers(0, 600_000).map(lambda size: b"x" * size)


@given(body=BODIES, codings=CODINGS, raw=st.booleans(), cuts=st.lists(st.integers(0, 2000)))
def test_what_was_compressed_comes_back_however_it_is_cut(
    body: bytes, codings: tuple[str, ...], cuts: list[int], *, raw: bool
) -> None:
    packed = body
    for coding in codings:
        deflate = raw_deflate if raw else zlib.compress
        packed = gzip.compress(packed) if coding == "gzip" else deflate(packed)
    assert inflated(packed, codings, cuts, 1_000_000) == body
    with pytest.raises(InvalidBody):
        inflated(packed[:-1], codings, cuts, 1_000_000)


@given(body=st.binary(max_size=100), codings=CODINGS)
def test_any_bytes_are_inflated_or_refused(body: bytes, codings: tuple[str, ...]) -> None:
    with suppress(InvalidBody, RequestError):
        assert len(inflated(body, codings, [], 1_000)) <= 1_000


@pytest.mark.parametrize("codings", [("gzip",), ("gzip", "gzip"), ("deflate", "gzip", "gzip")])
def test_a_bomb_costs_no_more_than_the_limit(codings: tuple[str, ...]) -> None:
    bomb = bytes(500_000_000)
    for coding in codings:
        bomb = gzip.compress(bomb, 9) if coding == "gzip" else zlib.compress(bomb, 9)
    inflater = Inflater(codings, 1_000_000)
    tracemalloc.start()
    with pytest.raises(RequestError, match="1000000 bytes when it is inflated"):
        b"".join(inflater.feed(bomb))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3_000_000


def test_members_that_hold_nothing_are_steps_too() -> None:
    """So that a body of a million of them does not hold the loop."""
    members = gzip.compress(b"") * 1_000
    inflater = Inflater(codings_of([b"gzip"]), 1_000_000)
    assert sum(1 for _ in inflater.feed(members)) >= 1_000


async def test_a_body_of_several_headers_is_in_all_their_codings() -> None:
    with serving(Doors) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        body = gzip.compress(zlib.compress(b"[1,2]"))
        writer.write(
            b"POST /rows HTTP/1.1\r\nHost: x\r\nContent-Encoding: deflate\r\n"
            b"Content-Encoding: gzip\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b"
            % (len(body), body)
        )
        answer = await reader.read()
        writer.close()
    assert answer.endswith(b"\r\n\r\n[1.0,2.0]")
