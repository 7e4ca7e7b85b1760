"""Long arrays, read piece by piece: the same items and the same errors as of the whole."""

import json
import random
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from spanserve.service.array import Array
from spanserve.service.long_arrays import LongArrayReader
from spanserve.service.problems import InvalidBody, InvalidItem, explained

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
