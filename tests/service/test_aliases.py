"""Aliases of types, as `type Row = NDArray[np.float32]` makes them: read as what they stand for."""

import sys
from collections.abc import AsyncIterator
from types import ModuleType
from typing import Annotated, Any, TypeVar

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import Field
from typing_extensions import TypeAliasType

from spanserve import Array, api, service
from spanserve.errors import ServiceError
from spanserve.service.annotations import array_of, list_item
from spanserve.service.codecs.tensors import declared_dtype
from spanserve.service.service import service_spec
from support.serving import serving

T = TypeVar("T", bound=np.generic)
U = TypeVar("U")
V = TypeVar("V")

Row = TypeAliasType("Row", NDArray[np.float32])
Rows = TypeAliasType("Rows", Row)
Of = TypeAliasType("Of", NDArray[T], type_params=(T,))
Scalar = TypeAliasType("Scalar", np.float32)
Shaped = TypeAliasType("Shaped", Annotated[NDArray[Any], Array("float32", (2,))])
Pair = TypeAliasType("Pair", dict[V, U], type_params=(U, V))
Many = TypeAliasType("Many", list[U], type_params=(U,))
Words = TypeAliasType("Words", AsyncIterator[str])

FLOATS = [NDArray[np.float32], Row, Rows, Of[np.float32], NDArray[Scalar], Annotated[Rows, "mine"]]


@pytest.mark.parametrize("annotation", FLOATS, ids=str)
def test_an_alias_of_an_array_is_that_array(annotation: Any) -> None:
    assert array_of(annotation) == Array("float32")
    assert declared_dtype(annotation) == np.dtype("float32")


@pytest.mark.parametrize("annotation", [Shaped, Annotated[Shaped, Field(description="two")]])
def test_what_an_alias_says_beside_the_array_counts(annotation: Any) -> None:
    assert array_of(annotation) == Array("float32", (2,))
    assert declared_dtype(annotation) == np.dtype("float32")


@pytest.mark.parametrize("scalar", [np.floating, np.integer, np.number, np.generic, Any, U])
def test_an_array_of_a_kind_of_numbers_has_no_dtype_to_declare(scalar: Any) -> None:
    assert declared_dtype(NDArray[scalar]) is None


def test_arguments_go_where_the_alias_s_parameters_stand() -> None:
    assert list_item(Many[Pair[int, str]]) == Pair[int, str]
    assert declared_dtype(Of[np.int8]) == np.dtype("int8")


@service
class Aliases:
    @api(batch=True)
    def double(self, rows: Row) -> Row:
        return rows * 2

    @api(batch=True)
    def both(self, rows: Many[Shaped]) -> Many[float]:
        return [float(row.sum()) for row in rows]

    @api
    async def words(self, text: str) -> Words:
        for word in text.split():
            yield word


def test_a_service_of_aliases_is_served_as_without_them() -> None:
    with serving(Aliases) as server:
        double = httpx.get(f"{server.url}/v2/models/double").json()
        tensor = {"name": "rows", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
        asked = httpx.post(f"{server.url}/v2/models/double/infer", json={"inputs": [tensor]})
        both = httpx.post(f"{server.url}/both", json=[1, 2])
        words = httpx.post(f"{server.url}/words", json="a b")

    assert [each["datatype"] for each in (*double["inputs"], *double["outputs"])] == ["FP32"] * 2
    [output] = asked.json()["outputs"]
    assert (output["datatype"], output["data"]) == ("FP32", [2.0, 4.0])
    assert (both.json(), words.text) == (3.0, "ab")


def test_the_streams_alias_says_what_is_yielded() -> None:
    words = {api.name: api.returns for api in service_spec(Aliases).apis}["words"]
    assert words is str


LATER = """
from numpy.typing import NDArray
from spanserve import api, service

type Row = NDArray[Scalar]
type Loop = Loop

@service
class Later:
    @api(batch=True)
    def double(self, rows: Row) -> Row:
        return rows * 2
"""

if sys.version_info >= (3, 12):  # the statement is new there

    def names_of(source: str) -> dict[str, Any]:
        module = ModuleType("later")
        exec(source, vars(module))
        return vars(module)

    def test_an_alias_may_name_what_is_defined_further_down() -> None:
        names = names_of(LATER + "\nfrom numpy import float32 as Scalar\n")

        [double] = service_spec(names["Later"]).apis

        assert double.codec.body_parameters[0].annotation == Annotated[np.ndarray, Array("float32")]

    @pytest.mark.parametrize(
        ("row", "text"),
        [
            ("Row", "an annotation names 'Scalar', which is not defined"),
            ("Loop", "the alias Loop stands for itself"),
        ],
    )
    def test_an_alias_of_nothing_stops_the_start(row: str, text: str) -> None:
        with pytest.raises(ServiceError, match=text):
            service_spec(names_of(LATER.replace("rows: Row", f"rows: {row}"))["Later"])
