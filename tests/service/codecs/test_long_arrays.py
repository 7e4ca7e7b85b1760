"""Long arrays, read piece by piece: the same items and the same errors as of the whole."""

import io
import json
import random
import tracemalloc
from functools import partial
from typing import Annotated, Any, Final

import httpx
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import ValidationError
from pydantic_core import to_json

from spanserve import api, service
from spanserve.service.codecs.array import Array
from spanserve.service.codecs.json import ArrayBatchCodec
from spanserve.service.codecs.long_arrays import LongArrayReader
from spanserve.service.codecs.npy import items_of
from spanserve.service.codecs.problems import InvalidBody, InvalidItem, explained
from spanserve.service.codecs.steps import finished
from spanserve.service.codecs.tensors import Tensor
from spanserve.service.results import large_results
from support.serving import serving

Outcome = tuple[Any, ...]


def whole(array: Array, body: bytes) -> Outcome:
    """Return what one validation of the whole makes of a body."""
    try:
        item = np.asarray(array.json_validator()(body))
    except ValidationError as error:
        return failed(explained(error, body, root="item", expected=f"; one item is {array}"))
    return item.shape, item.dtype.kind, item.tolist()


def in_pieces(array: Array, body: bytes, size: int) -> Outcome:
    steps = LongArrayReader(array, piece_bytes=size).steps(body)
    try:
        while True:
            next(steps)
    except StopIteration as done:
        item = np.asarray(done.value)
        return item.shape, item.dtype.kind, item.tolist()
    except (InvalidBody, InvalidItem) as error:
        return failed(error)


def failed(error: InvalidBody | InvalidItem) -> Outcome:
    return type(error).__name__, str(error), getattr(error, "details", [])


ARRAYS: Final = st.builds(
    Array,
    st.sampled_from(["float32", "float64", "int8", "uint64", "bool", "str", "<U2"]),
    st.none() | st.lists(st.none() | st.integers(1, 3), max_size=3).map(tuple),
)
ENTRIES: Final = (
    st.integers(-3, 3)
    | st.sampled_from([True, 1.5, 1e300, 300, None, 2**63, "a", "a,b", '"', "\\", "[", "}", "äß"])
    | st.text(max_size=3)
)


@st.composite
def lists(draw: st.DrawFn, array: Array) -> Any:
    """Draw lists that are nested as an item is, or nearly."""
    shape = array.shape
    if shape is None:
        shape = (None,) * draw(st.integers(0, 3))
    usual = draw(st.integers(0, 4))
    good: st.SearchStrategy[Any] = {
        "f": st.integers(-3, 3) | st.floats(-9, 9, width=32),
        "i": st.integers(-3, 3),
        "u": st.integers(0, 2**64 - 1),
        "b": st.booleans(),
        "U": st.text(max_size=2) | st.sampled_from([",", '"', "\\", "],[", '\\"']),
    }[array.dtype.kind]
    wrong = draw(st.sampled_from([0.0, 0.0, 0.1]))

    def nested(axes: tuple[int | None, ...]) -> Any:
        if draw(st.floats(0, 1)) < wrong:
            return draw(ENTRIES | st.lists(ENTRIES, max_size=3) | st.just({"a": [1, {}], "b": 2}))
        if not axes:
            return draw(good)
        length = usual if axes[0] is None else axes[0]
        if draw(st.floats(0, 1)) < wrong:
            length = draw(st.integers(0, 5))
        return [nested(axes[1:]) for _ in range(length)]

    return nested(shape)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Array, bytes, int]:
    array = draw(ARRAYS)
    value = draw(lists(array))
    indent = draw(st.sampled_from([None, None, 1]))
    body = bytearray(json.dumps(value, ensure_ascii=False, indent=indent).encode())
    if draw(st.booleans()):
        for _ in range(draw(st.integers(0, 2))):
            place = draw(st.integers(0, len(body)))
            spoilt = draw(
                st.sampled_from([b"", b",", b"[", b"]", b"],[", b'"', b" ", b"1", b"\n", b"x"])
            )
            body[place : place + draw(st.integers(0, 2))] = spoilt
    return array, bytes(body), draw(st.integers(1, 30))


def has_objects_or_too_many(array: Array, body: bytes) -> bool:
    """What is refused before all of it was looked at, by design."""
    if array.shape == ():
        return True
    return b"{" in body or (array.size is not None and body.count(b",") >= array.size)


@given(cases())
@example((Array("int8", (None,)), b"[1,2,3,,4]", 4))
@example((Array("int8", (None, None)), b"[[1,2],[3,]]", 4))
@example((Array("int8", (None, 2)), b"[[1,2],[3],[4,5],[6,7]", 4))
@example((Array("int8", None), b"[[1,2],[3,4],\n[5,NaN],\n[6,7]]", 4))
@example((Array("int8", None), b"[[1,2],[3,4],[5],[6,7]]", 4))
@example((Array("int8", (2, None)), b"[[1,2],[3,4],[5,6],[7,8]]", 3))
@example((Array("str", (2, None)), b'[["a,b","c"],["d]","\\",\\""],["e"],["f"]]', 3))
def test_pieces_come_to_what_the_whole_does(case: tuple[Array, bytes, int]) -> None:
    array, body, size = case
    there, expected = in_pieces(array, body, size), whole(array, body)
    if has_objects_or_too_many(array, body):
        assert (there[0] in {"InvalidBody", "InvalidItem"}) == (
            expected[0] in {"InvalidBody", "InvalidItem"}
        )
    else:
        assert there == expected


def test_a_long_array_s_error_says_where_it_is() -> None:
    values: list[Any] = [random.Random(1).random() for _ in range(200_000)]
    values[123_456] = "no"
    array = Array("float32", (None,))
    body = json.dumps(values).encode()
    assert in_pieces(array, body, 32 * 1024) == whole(array, body)
    assert "item[123456]: Input should be a valid number, not a string" in whole(array, body)[1]


@pytest.mark.parametrize(
    ("array", "body", "words"),
    [
        (
            Array("float32", (64,)),
            b"[" + b"1," * 500_000 + b"1]",
            "item: has 500001 entries, at most 64 expected; one item is float32 of shape (64,)",
        ),
        (
            Array("float32", (2, 3)),
            b"[" + b"[1,2,3]," * 100_000 + b"[1,2,3]]",
            "item: has 300003 entries, 6 expected in all; one item is float32 of shape (2, 3)",
        ),
        (Array("float32", (2,)), b"[1" + b" " * 600_000 + b",2]", "item: no comma in 262144 bytes"),
        (Array("float32", ()), b"[" + b"1," * 500_000 + b"1]", "item: Input should be a valid num"),
    ],
    ids=["row", "matrix", "blanks", "scalar"],
)
def test_what_is_too_long_for_an_item_is_refused_before_it_is_parsed(
    array: Array, body: bytes, words: str
) -> None:
    assert in_pieces(array, body, 32 * 1024)[1].startswith(words)


VALUES: Final = st.one_of(
    st.lists(st.integers(0, 9), max_size=40),
    hnp.arrays(np.float32, st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(1, 3))),
).map(lambda value: value if isinstance(value, list) else value.tolist())


@given(value=VALUES, size=st.integers(1, 12))
def test_a_large_result_is_encoded_as_a_small_one_is(value: Any, size: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(large_results, "STEP_ENTRIES", size)
        encode = partial(to_json, inf_nan_mode="null")
        assert b"".join(finished(large_results.encoded(value, encode))) == encode(value)
        assert b"".join(finished(large_results.encoded_all(value, encode))) == encode(value)
        if value and np.asarray(value).ndim:
            array = finished(large_results.result_array(value, None, where="x"))
            assert np.array_equal(array, np.asarray(value), equal_nan=True)
            data = b"[%b]" % b"".join(finished(large_results.data_as_json(array)))
            assert data == encode(array.reshape(-1).tolist())


@service
class Large:
    """Gives back what it is given."""

    @api(batch=True)
    def echo(self, rows: Annotated[np.ndarray, Array("float32", (None,))]) -> np.ndarray:
        return rows


def test_large_items_come_and_go_in_every_format() -> None:
    row = (np.arange(200_000) % 1000).astype("float32")
    npy_body = io.BytesIO()
    np.save(npy_body, row)
    lists = row.tolist()
    tensor = {"name": "rows", "shape": [1, len(row)], "datatype": "FP32", "data": lists}
    head = json.dumps(
        {
            "inputs": [{**tensor, "data": None, "parameters": {"binary_data_size": row.nbytes}}],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    npy_type = {"Content-Type": "application/x-npy"}
    with serving(Large) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        plain = client.post("/echo", json=lists)
        assert plain.json() == lists
        assert plain.headers["content-length"] == str(len(plain.content))
        line = json.dumps(lists).encode()
        lines = client.post(
            "/echo",
            content=line + b"\n\n" + line,
            headers={"Content-Type": "application/x-ndjson"},
        )
        assert [json.loads(each) for each in lines.text.splitlines()] == [lists, lists]
        array = client.post("/echo", content=npy_body.getvalue(), headers=npy_type)
        assert np.load(io.BytesIO(array.content)).tolist() == lists
        as_json = client.post(
            "/echo",
            content=npy_body.getvalue(),
            headers=npy_type | {"Accept": "application/json"},
        )
        assert as_json.json() == lists
        infer = "/v2/models/echo/infer"
        protocol = client.post(infer, json={"inputs": [tensor]}).json()["outputs"]
        assert protocol[0]["data"] == lists
        size = {"Inference-Header-Content-Length": str(len(head))}
        binary = client.post(infer, content=head + row.tobytes(), headers=size)
        assert binary.content[int(binary.headers["inference-header-content-length"]) :] == (
            row.astype("float64").tobytes()
        )
        wrong = client.post(infer, json={"inputs": [{**tensor, "data": [*lists[:-1], "x"]}]})
        assert wrong.json()["error"] == "input 'rows': item 0[199999] is no FP32"
        wrong = client.post(infer, json={"inputs": [{**tensor, "data": [*lists[:-1], True]}]})
        assert wrong.json()["error"] == "input 'rows': item 0[199999] is no FP32"


def test_texts_take_room_in_proportion_to_what_was_sent() -> None:
    codec = ArrayBatchCodec(Array("str", (None,)), parameter="texts", returns=None, where="x")
    unequal = json.dumps(["x" * 40_000, *[""] * 30_000]).encode()
    for decode in (codec.decode, lambda body: finished(codec.steps(body))):
        tracemalloc.start()
        with pytest.raises(InvalidItem, match="texts of more equal lengths: 30001 with room"):
            decode(unequal)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 100 * len(unequal)
    short, long = codec.decode(b'["a","b"]'), codec.decode(json.dumps(["x" * 9_000, ""]).encode())
    assert codec.batch_key(short) != codec.batch_key(long)
    assert codec.batch_key(short) == codec.batch_key(codec.decode(b'["abc",""]'))
    stacked = codec.collate([short, codec.decode(b'["abc",""]')])
    assert (stacked.dtype, stacked.tolist()) == (np.dtype("<U3"), [["a", "b"], ["abc", ""]])


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("datatype", ["FP32", "INT64", "BOOL", "BYTES"])
def test_tensors_of_unequal_texts_take_no_more_room_than_they_are(
    datatype: str, *, binary: bool
) -> None:
    texts = ["x" * 40_000, *[""] * 30_000]
    raw = b"".join(len(text).to_bytes(4, "little") + text.encode() for text in texts)
    data = None if binary else texts
    tensor = Tensor(name="x", shape=[1, len(texts)], datatype=datatype, data=data)

    def read() -> None:
        flat = finished(tensor.array(memoryview(raw) if binary else None))
        finished(items_of(flat, Array("str", (None,)), stacked=True))

    tracemalloc.start()
    with pytest.raises((InvalidItem, InvalidBody)):
        read()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 * len(raw)
