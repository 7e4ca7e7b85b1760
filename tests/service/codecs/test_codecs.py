"""JSON to items, items to a batch, a result to one answer per item."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pytest
from fastapi import Body, FastAPI
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import BaseModel, TypeAdapter, ValidationError

from spanserve.errors import ServiceError
from spanserve.service.arguments import Parameter
from spanserve.service.codecs.array import MAX_AXES, Array
from spanserve.service.codecs.json import (
    MAX_LIST_ENTRIES,
    ArrayBatchCodec,
    BatchCodec,
    ListBatchCodec,
    PlainCodec,
)
from spanserve.service.codecs.problems import (
    InvalidBody,
    InvalidItem,
    InvalidResult,
    WrongResultCount,
)


class Point(BaseModel):
    x: int
    y: float = 0.0


@dataclass
class Named:
    name: str
    when: datetime


def rows(dtype: npt.DTypeLike = "float32", shape: Any = (3,), returns: Any = None) -> BatchCodec:
    return ArrayBatchCodec(
        Array(dtype, shape), parameter="rows", returns=returns, where="Model.predict"
    )


def listed(item: Any, returns: Any = None) -> BatchCodec:
    return ListBatchCodec(item, parameter="items", returns=returns, where="Model.predict")


def plain(*parameters: Parameter, returns: Any = None) -> PlainCodec:
    return PlainCodec(parameters, returns=returns, where="Model.add")


# Arrays in


@given(st.lists(hnp.arrays("float32", (2, 3), elements=st.floats(-9, 9, width=32)), min_size=1))
def test_decoded_rows_are_collated_into_the_array_they_came_from(
    items: list[npt.NDArray[np.float32]],
) -> None:
    codec = rows(shape=(2, 3))
    batch = codec.collate([codec.decode(json.dumps(each.tolist()).encode()) for each in items])
    assert (batch.dtype, batch.shape) == (np.dtype("float32"), (len(items), 2, 3))
    assert batch.flags.c_contiguous
    np.testing.assert_array_equal(batch, np.stack(items))


@pytest.mark.parametrize(
    ("dtype", "body", "values"),
    [
        ("bool", b"[true, false]", [True, False]),
        ("int8", b"[-128, 127]", [-128, 127]),
        ("uint64", b"[0, 18446744073709551615]", [0, 2**64 - 1]),
        ("float16", b"[1, 0.5]", [1.0, 0.5]),
        (">f4", b"[1, 0.5]", [1.0, 0.5]),
        ("str", '["é", "abc"]'.encode(), ["é", "abc"]),
    ],
)
def test_every_dtype_is_read(dtype: str, body: bytes, values: list[Any]) -> None:
    codec = rows(dtype, (2,))
    assert codec.collate([codec.decode(body)] * 2).tolist() == [values, values]


@pytest.mark.parametrize(
    ("dtype", "body", "message", "loc"),
    [
        ("float32", b"[1, 2]", "item: has 2 entries, at least 3 expected", []),
        ("float32", b"[1, 2, 3, 4]", "item: has 4 entries, at most 3 expected", []),
        ("float32", b"{}", "item: Input should be a valid array, not an object", []),
        ("float32", b'[1, "2", 3]', "item[1]: Input should be a valid number, not a string", [1]),
        ("float32", b"[1, true, 3]", "item[1]: Input should be a valid number, not a boolean", [1]),
        ("float32", b"[1, 2, null]", "item[2]: Input should be a valid number, not null", [2]),
        ("float32", b"[1, 2, [3]]", "item[2]: Input should be a valid number, not an array", [2]),
        ("float64", b"[1, 2, 1e400]", "item[2]: Input should be a finite number", [2]),
        ("int32", b"[1, 2.5, 3]", "item[1]: Input should be a valid integer, not a number", [1]),
        ("uint8", b"[1, 256, 3]", "item[1]: Input should be less than or equal to 255", [1]),
    ],
)
def test_a_wrong_row_is_refused_with_its_place(
    dtype: str, body: bytes, message: str, loc: list[int]
) -> None:
    with pytest.raises(InvalidItem) as caught:
        rows(dtype).decode(body)
    assert str(caught.value) == f"{message}; one item is {dtype} of shape (3,)"
    assert caught.value.details == [{"loc": loc, "message": message.partition(": ")[2]}]


def test_a_number_too_big_for_float32_is_refused() -> None:
    with pytest.raises(InvalidItem, match=r"^item\[0\]: Input should be less than or equal to 3"):
        rows().decode(b"[1e39, 0, 0]")


@pytest.mark.parametrize("codec", [rows(), rows(shape=None), listed(list[float]), listed(Any)])
@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_nan_and_infinity_are_not_json(codec: BatchCodec, constant: str) -> None:
    with pytest.raises(InvalidBody, match="NaN and Infinity are no JSON numbers; send null"):
        codec.decode(f"[1, 2, {constant}]".encode())


def test_text_may_say_nan() -> None:
    assert listed(str).decode(b'"NaN"') == "NaN"


@pytest.mark.parametrize(
    "codec", [rows(), rows(shape=None), listed(Point), plain(Parameter("x", int))]
)
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body is empty; send JSON"),
        (b" \n", "the body is empty; send JSON"),
        (b"[1, 2", "the body is not JSON: EOF while parsing a list at line 1 column 5"),
        (b"\xff", "the body is not JSON: expected value at line 1 column 1"),
        (b"[" * 5000, "the body is not JSON: recursion limit exceeded at line 1 column 202"),
    ],
)
def test_what_is_not_json_is_refused(
    codec: BatchCodec | PlainCodec, body: bytes, message: str
) -> None:
    with pytest.raises(InvalidBody) as caught:
        codec.decode(body)
    assert str(caught.value) == message


@given(
    st.binary(max_size=60) | st.text(alphabet='[]{}1,."aeE-+ntrufls: ', max_size=60).map(str.encode)
)
def test_any_body_is_read_or_refused(body: bytes) -> None:
    messages = []
    for codec in (rows(), rows(shape=None), rows("int8", (None, 2)), listed(Point), listed(Any)):
        try:
            item = codec.decode(body)
        except (InvalidBody, InvalidItem) as error:
            messages.append(str(error))
        else:
            assert len(codec.collate([item, item])) == 2
    assert all(0 < len(message) <= 500 for message in messages)


def test_a_free_axis_groups_items_by_their_shape() -> None:
    codec = rows("int64", (None, 2))
    short, long = codec.decode(b"[[1, 2]]"), codec.decode(b"[[1, 2], [3, 4]]")
    assert [codec.batch_key(short), codec.batch_key(long)] == [(1, 2), (2, 2)]
    assert codec.collate([long, long]).shape == (2, 2, 2)
    assert rows().batch_key(rows().decode(b"[1, 2, 3]")) is None


@pytest.mark.parametrize(
    ("body", "shape"), [(b"3", ()), (b" [ [1,2],[3,4]]", (2, 2)), (b"[]", (0,)), (b"[[]]", (1, 0))]
)
def test_a_bare_array_has_any_shape(body: bytes, shape: tuple[int, ...]) -> None:
    codec = rows("float64", None)
    item = codec.decode(body)
    assert codec.batch_key(item) == shape
    assert codec.collate([item, item]).shape == (2, *shape)


@pytest.mark.parametrize(
    ("codec", "body"),
    [
        (rows("float64", None), b"[[1, 2], [3]]"),
        (rows("float64", None), b"[[], [3]]"),
        (rows("float64", (2, None)), b"[[1, 2], [3]]"),
    ],
)
def test_a_ragged_array_is_refused(codec: BatchCodec, body: bytes) -> None:
    with pytest.raises(InvalidItem, match="rows have different lengths"):
        codec.decode(body)


@pytest.mark.parametrize("body", [b'["1"]', b"[1, true]", b"[1, [2]]", b"[[1], 2]", b"{}", b"null"])
def test_a_bare_array_takes_numbers_only(body: bytes) -> None:
    with pytest.raises(InvalidItem):
        rows("float64", None).decode(body)


def test_a_bare_array_has_at_most_32_axes() -> None:
    codec = rows("float64", None)
    assert codec.decode(b"[" * MAX_AXES + b"1" + b"]" * MAX_AXES).ndim == MAX_AXES
    with pytest.raises(InvalidItem):
        codec.decode(b"[" * (MAX_AXES + 1) + b"1" + b"]" * (MAX_AXES + 1))


def test_a_row_of_floats_waits_as_its_bytes() -> None:
    assert rows().decode(b"[1, 2, 3]") == np.array([1, 2, 3], "float32").tobytes()
    assert rows("float64").decode(b"[1, 2, 3]") == np.array([1, 2, 3], "float64").tobytes()


LARGEST = float(np.finfo("float32").max)
EDGES = [LARGEST, np.nextafter(LARGEST, np.inf).item(), 3.4028235677973366e38, 3.5e38, 1e-46]


@given(st.lists(st.sampled_from(EDGES) | st.floats(allow_nan=False), min_size=3, max_size=3))
def test_a_row_is_read_and_refused_as_the_exact_schema_does(values: list[float]) -> None:
    body = json.dumps([-value for value in values]).encode()
    array = Array("float32", (3,))
    exact, packed = array.json_validator(), array.packer()
    assert _outcome(packed, body) == _outcome(lambda given: exact(given).tobytes(), body)


def _outcome(read: Callable[[bytes], bytes], body: bytes) -> Any:
    try:
        return read(body)
    except ValidationError as error:
        return error.errors()


def test_a_big_item_waits_as_an_array_and_a_small_one_as_a_list() -> None:
    big = rows("int64", (MAX_LIST_ENTRIES + 1,)).decode(json.dumps([0] * 1025).encode())
    assert isinstance(big, np.ndarray)
    assert rows("int64").decode(b"[1, 2, 3]") == [1, 2, 3]


def test_a_batch_may_mix_lists_and_arrays() -> None:
    batch = rows().collate([[1.0, 2.0, 3.0], np.ones(3, "float32")])
    assert batch.tolist() == [[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]]


# The marker


@pytest.mark.parametrize(
    ("dtype", "shape", "message"),
    [
        ("flot32", (3,), "unknown dtype 'flot32'"),
        ("object", (3,), "dtype 'object' cannot be read from JSON"),
        ("complex64", (3,), "dtype 'complex64' cannot be read from JSON"),
        ("float32", (0,), r"the shape \(0,\) is not one item's shape"),
        ("float32", (True,), r"the shape \(True,\) is not one item's shape"),
        ("float32", ("3",), "is not one item's shape"),
        ("float32", "3", "is not one item's shape"),
        ("float32", (1,) * 33, "33 axes asked, at most 32 possible"),
    ],
)
def test_an_impossible_array_is_refused(dtype: Any, shape: Any, message: str) -> None:
    with pytest.raises(ServiceError, match=message):
        Array(dtype, shape)


def test_an_array_is_a_value() -> None:
    assert Array("float32", 64) == Array(np.float32, (64,))
    assert len({Array("float32", (64,)), Array("float32", [64])}) == 1
    assert (repr(Array("float32", (64,))), str(Array("int8", (None, 2))), str(Array())) == (
        "Array('float32', (64,))",
        "int8 of shape (any, 2)",
        "float64 of any shape",
    )


def test_pydantic_reads_and_writes_an_annotated_array() -> None:
    adapter = TypeAdapter[Any](Annotated[np.ndarray, Array("float32", (2,))])
    assert adapter.validate_json(b"[1, 2]").dtype == np.dtype("float32")
    assert adapter.validate_python(np.array([1.0, 2.0])).tolist() == [1.0, 2.0]
    assert adapter.dump_json(np.array([1.0, 2.0])) == b"[1.0,2.0]"
    with pytest.raises(ValidationError):
        adapter.validate_python(np.zeros(3))
    anything = TypeAdapter[Any](Annotated[np.ndarray, Array()])
    assert anything.validate_python([[1, 2]]).tolist() == [[1.0, 2.0]]
    assert anything.validate_json(b"[[1, 2]]").tolist() == [[1.0, 2.0]]


def test_openapi_shows_the_nested_arrays() -> None:
    app = FastAPI()
    codec = rows("uint8", (None, 2), returns=list[Point])
    ((_, annotation, _),) = codec.body_parameters

    async def endpoint(item: Any) -> Any:
        return item

    endpoint.__annotations__["item"] = Annotated[annotation, Body()]

    app.post("/predict", response_model=codec.response_annotation)(endpoint)
    operation = app.openapi()["paths"]["/predict"]["post"]
    entry = {"type": "integer", "minimum": 0, "maximum": 255}
    pair = {"type": "array", "items": entry, "minItems": 2, "maxItems": 2}
    shown = operation["requestBody"]["content"]["application/json"]["schema"]
    shown.pop("title", None)
    assert shown == {
        "type": "array",
        "items": pair,
        "description": "an array: uint8 of shape (any, 2)",
    }
    response = operation["responses"]["200"]["content"]["application/json"]["schema"]
    assert response == {"$ref": "#/components/schemas/Point"}


# Lists in


def test_a_list_batch_reads_any_item() -> None:
    codec = listed(Point)
    items = [codec.decode(b'{"x": 1}'), codec.decode(b'{"x": 2, "y": 0.5}')]
    assert codec.collate(items) == [Point(x=1), Point(x=2, y=0.5)]
    assert codec.batch_key(items[0]) is None
    arrays = listed(np.ndarray)
    assert arrays.collate([arrays.decode(b"[1]"), arrays.decode(b"[[1]]")])[1].shape == (1, 1)


def test_a_wrong_object_is_refused_with_its_places() -> None:
    with pytest.raises(InvalidItem) as caught:
        listed(Point).decode(b'{"x": "one", "y": []}')
    assert str(caught.value) == (
        "item.x: Input should be a valid integer, unable to parse string as an integer (and 1 more)"
    )
    assert [detail["loc"] for detail in caught.value.details] == [["x"], ["y"]]


def test_messages_and_details_are_bounded() -> None:
    key = "k" * 10_000
    body = json.dumps({key + str(i): "x" for i in range(100)}).encode()
    with pytest.raises(InvalidItem) as caught:
        listed(dict[str, int]).decode(body)
    assert len(str(caught.value)) <= 500
    assert len(caught.value.details) == 10
    assert len(json.dumps(caught.value.details)) < 3000
    with pytest.raises(InvalidItem, match="item: 20000 values are not as declared"):
        listed(list[int]).decode(json.dumps(["x"] * 20_000).encode())


def test_an_item_without_a_schema_is_refused_at_once() -> None:
    with pytest.raises(
        ServiceError, match=r"parameter 'items': .*Opaque.* cannot be read from JSON"
    ):
        listed(type("Opaque", (), {}))


# Results out


@dataclass
class Tensor:
    """Converts to an array, and is no sequence."""

    values: list[float]

    def __array__(self, dtype: Any = None, copy: Any = None) -> npt.NDArray[Any]:
        return np.array(self.values, dtype=dtype)


FAILED = ValueError("this one")


@pytest.mark.parametrize(
    ("result", "entries"),
    [
        (np.array([1, 2], "int32"), [1, 2]),
        (np.array([[1.5], [2.5]]), [[1.5], [2.5]]),
        (["a", "b"], ["a", "b"]),
        (("a", None), ["a", None]),
        (range(2), [0, 1]),
        ([1, FAILED], [1, FAILED]),
        (np.array([1, FAILED], dtype=object), [1, FAILED]),
        (Tensor([1.0, 2.0]), [1.0, 2.0]),
        (
            np.array(["2024-01-01", "NaT"], "M8[ns]"),
            [datetime(2024, 1, 1), None],  # noqa: DTZ001 - NumPy's dates have no zone
        ),
    ],
)
def test_a_result_is_split_into_one_entry_per_item(result: Any, entries: list[Any]) -> None:
    assert rows().split(result, 2) == entries


@pytest.mark.parametrize(
    ("result", "there"),
    [
        (None, "None"),
        ("ab", "a str"),
        (b"ab", "a bytes"),
        ({"a": 1, "b": 2}, "a dict"),
        ({1, 2}, "a set"),
        (3, "a int"),
        (np.float32(3), "a single number (an array without axes)"),
        (np.array(3), "a single number (an array without axes)"),
        ((each for each in (1, 2)), "a generator"),
    ],
)
def test_what_has_no_entries_is_refused(result: Any, there: str) -> None:
    with pytest.raises(InvalidResult) as caught:
        rows().split(result, 2)
    assert str(caught.value) == (
        f"Model.predict returned {there}, not one entry per item; return a list or an array"
    )


@pytest.mark.parametrize("result", [[1, 2, 3], np.zeros((3, 2))])
def test_a_wrong_count_names_both_numbers(result: Sequence[Any]) -> None:
    with pytest.raises(WrongResultCount) as caught:
        rows().split(result, 1)
    assert str(caught.value) == (
        "Model.predict returned 3 results for 1 item; return one entry per item, in order"
    )
    assert (caught.value.results, caught.value.items) == (3, 1)


@pytest.mark.parametrize(
    ("result", "body"),
    [
        (7, b"7"),
        (None, b"null"),
        (float("nan"), b"null"),
        ([float("inf"), np.float32("nan")], b"[null,null]"),
        ({"p": np.float32(0.5), "n": np.int64(3)}, b'{"p":0.5,"n":3}'),
        (np.array([[1, 2]]), b"[[1,2]]"),
        (np.array([True]), b"[true]"),
        ({np.int64(3): np.bool_(1)}, b'{"3":true}'),
        (Tensor([1.0]), b'{"values":[1.0]}'),
        ([Point(x=1)], b'[{"x":1,"y":0.0}]'),
        (
            Named("é", datetime(2024, 1, 1, tzinfo=UTC)),
            '{"name":"é","when":"2024-01-01T00:00:00Z"}'.encode(),
        ),
        (np.datetime64("2024-01-01", "ns"), b'"2024-01-01T00:00:00"'),
    ],
)
def test_a_result_is_encoded_as_json(result: Any, body: bytes) -> None:
    assert rows().encode(result) == body
    assert plain().encode(result) == body


@pytest.mark.parametrize("result", [object(), [object()], b"\xff"])
def test_what_has_no_json_form_is_the_methods_fault(result: Any) -> None:
    with pytest.raises(InvalidResult, match=r"^Model\.predict returned what has no JSON form"):
        rows().encode(result)


# Plain endpoints


def test_one_parameter_is_the_body() -> None:
    assert plain(Parameter("x", int)).decode(b"3") == {"x": 3}
    assert plain(Parameter("x", Point)).decode(b'{"x": 3}') == {"x": Point(x=3)}
    assert plain(Parameter("x", np.ndarray)).decode(b"[1]")["x"].dtype == np.dtype("float64")
    with pytest.raises(InvalidItem, match=r"^x\[1\]: Input should be a valid integer"):
        plain(Parameter("x", list[int])).decode(b'[1, "a"]')


def test_several_parameters_are_an_object_by_name() -> None:
    codec = plain(
        Parameter("left", int), Parameter("_copy", Point), Parameter("tags", list[str], [])
    )
    assert codec.decode(b'{"_copy": {"x": 1}, "left": 2}') == {"left": 2, "_copy": Point(x=1)}
    assert codec.decode(b'{"_copy": {"x": 1}, "left": 2, "tags": ["a"]}')["tags"] == ["a"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"left": 1, "rigt": 2}', "body: unknown name 'rigt' (there: left, right); did you mean"),
        (b'{"left": 1, "right": 2, "lefd": 3}', "body: unknown name 'lefd' (there: left, right)"),
        (b'{"left": 1, "right": "x"}', "right: Input should be a valid integer"),
        (b"[1, 2]", "body: Input should be an object, not an array; the body is an object with"),
        (b'{"left": 1}', "right: Field required; the body is an object with left, right"),
        (b"null", "body: Input should be an object, not null"),
    ],
)  # fmt: skip
def test_a_wrong_object_by_name_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(InvalidItem) as caught:
        plain(Parameter("left", int), Parameter("right", int)).decode(body)
    assert str(caught.value).startswith(message)


def test_an_empty_body_stands_for_all_defaults() -> None:
    assert plain(Parameter("x", int, 3)).decode(b"") == {}
    assert plain(Parameter("x", int, 3), Parameter("y", int, 4)).decode(b" ") == {}
    assert plain(Parameter("x", int, 3), Parameter("y", int, 4)).decode(b"{}") == {}
    with pytest.raises(InvalidBody):
        plain(Parameter("x", int, 3), Parameter("y", int)).decode(b"")


def test_a_method_without_parameters_takes_no_input() -> None:
    assert [plain().decode(body) for body in (b"", b"{}", b" null ")] == [{}, {}, {}]
    for body in (b"0", b"[]", b"false", b'{"x": 1}'):
        with pytest.raises(InvalidItem, match="takes no input"):
            plain().decode(body)
    with pytest.raises(InvalidBody):
        plain().decode(b"{")


@pytest.mark.parametrize(
    ("returns", "item"),
    [
        (None, Any),
        (np.ndarray, Any),
        (npt.NDArray[np.float32], Any),
        (list, Any),
        (list[int], int),
        (Sequence[Point], Point),
        (tuple[str, ...], str),
        (tuple[str, int], Any),
        (list[Point | ValueError], Point),
        (list[int | str | Exception], int | str),
        (list[object], object),
        (dict[str, int], Any),
        (list[np.ndarray], Annotated[np.ndarray, Array()]),
        (list[npt.DTypeLike], Any),
        (
            Annotated[np.ndarray, Array("float32", (10,))],
            Annotated[np.ndarray, Array("float32", (10,))],
        ),
    ],
)
def test_the_response_is_one_items_result(returns: Any, item: Any) -> None:
    assert rows(returns=returns).response_annotation == item
