"""Values of scientific libraries as JSON, on every kind of endpoint and at any depth."""

import datetime as dt
import json
from dataclasses import dataclass
from typing import Annotated, Any, Final

import httpx
import numpy as np
import pandas as pd
import pytest
from pydantic import BaseModel

from spanserve import Array, api, service
from support.serving import serving

BIG: Final = 9007199254740993
"""The first whole number that no float is."""


class Stamped(BaseModel):
    """A model with a field that may be missing."""

    at: dt.datetime | None


@dataclass
class Kept:
    """A dataclass that holds anything."""

    value: Any


def frame() -> pd.DataFrame:
    """Return a frame with a column of each kind, of two rows of which the second misses much."""
    return pd.DataFrame(
        {
            "id": [BIG, 2],
            "share": [0.5, None],
            "at": [pd.Timestamp("2026-01-02"), pd.NaT],
            "name": ["a\0", None],
            "count": pd.array([BIG, None], dtype="Int64"),
            "kind": pd.Categorical(["x", None]),
            "good": pd.array([True, None], dtype="boolean"),
        }
    )


RECORDS: Final = [
    {
        "id": BIG,
        "share": 0.5,
        "at": "2026-01-02T00:00:00",
        "name": "a\0",
        "count": BIG,
        "kind": "x",
        "good": True,
    },
    {"id": 2, **dict.fromkeys(["share", "at", "name", "count", "kind", "good"])},
]
VALUES: Final[dict[str, tuple[Any, Any]]] = {
    "a frame": (frame(), RECORDS),
    "a column of whole numbers": (frame()["id"], [BIG, 2]),
    "a column with gaps": (frame()["count"], [BIG, None]),
    "a column of dates": (frame()["at"], ["2026-01-02T00:00:00", None]),
    "an index": (pd.Index([BIG, 2]), [BIG, 2]),
    "masked": (np.ma.masked_array([1.5, 2.5], [False, True]), [1.5, None]),
    "masked dates": (
        np.ma.masked_array(np.array(["2026-01-02", "2026-01-03"], "M8[ns]"), [False, True]),
        ["2026-01-02T00:00:00", None],
    ),
    "longdouble": (np.array([1.5, 2.5], "longdouble"), [1.5, 2.5]),
    "texts": (["a\0", "b"], ["a\0", "b"]),
    "objects": (np.array(["a\0", pd.NaT], dtype=object), ["a\0", None]),
    "missing": ([pd.NaT, pd.NA], [None, None]),
    "missing dates": (np.array(["NaT", "2026-01-02"], "M8[s]"), [None, "2026-01-02T00:00:00"]),
    "numbers": ([np.longdouble(1.5), np.float32("nan")], [1.5, None]),
    "records": (
        [{"at": pd.NaT, "n": [pd.NA]}, {"at": None}],
        [{"at": None, "n": [None]}, {"at": None}],
    ),
    "models": ([Stamped.model_construct(at=pd.NaT), Kept(pd.NaT)], [{"at": None}, {"value": None}]),
    "frames": ([frame(), {"inner": frame()["count"]}], [RECORDS, {"inner": [BIG, None]}]),
}
"""What methods return, of two entries each, and what it is as JSON."""


@service
class Giving:
    """Gives what it is asked for."""

    @api(batch=True, max_batch_size=2, max_latency_ms=10_000)
    def batch(self, names: list[str]) -> Any:
        value = VALUES[names[0]][0]
        return value if len(names) == 2 else [value[0]]

    @api
    def plain(self, name: str) -> Any:
        return VALUES[name][0]

    @api
    async def soon(self, name: str) -> Any:
        return VALUES[name][0]

    @api
    def twice(self) -> Any:
        return pd.DataFrame([[1, 2]], columns=["a", "a"])


@pytest.fixture(scope="module")
def url() -> Any:
    with serving(Giving) as server:
        yield server.url


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("route", ["plain", "soon"])
def test_a_result_keeps_its_values(url: str, route: str, name: str) -> None:
    assert httpx.post(f"{url}/{route}", json=name).json() == VALUES[name][1]


@pytest.mark.parametrize("name", VALUES)
def test_each_row_of_a_batch_keeps_its_values(url: str, name: str) -> None:
    body = f"{json.dumps(name)}\n{json.dumps(name)}"
    headers = {"Content-Type": "application/x-ndjson"}
    answer = httpx.post(f"{url}/batch", content=body, headers=headers)
    assert [json.loads(line) for line in answer.text.splitlines()] == VALUES[name][1]


def test_a_frame_with_two_columns_of_one_name_is_refused(url: str) -> None:
    answer = httpx.post(f"{url}/twice")
    assert answer.status_code == 500
    assert "two columns of the frame have the name 'a'" in answer.json()["message"]


class Numbers(BaseModel):
    """A model of numbers."""

    values: list[float]


@service
class Reading:
    """Takes numbers, each in another way."""

    @api
    def listed(self, values: list[float]) -> Any:
        return values

    @api
    def anything(self, values: Any) -> Any:
        return values

    @api
    def named(self, values: float, other: Any = None) -> Any:
        return [values, other]

    @api(batch=True)
    def models(self, items: list[Numbers]) -> list[Any]:
        return items

    @api(batch=True)
    def mappings(self, items: list[dict[str, Any]]) -> list[Any]:
        return items

    @api(batch=True)
    def rows(self, items: Annotated[np.ndarray, Array("float64", (1,))]) -> np.ndarray:
        return items

    @api(batch=True)
    def arrays(self, items: Annotated[np.ndarray, Array("float64", (None,))]) -> np.ndarray:
        return items

    @api(batch=True)
    def names(self, items: Annotated[np.ndarray, Array("str", (2,))]) -> Any:
        return items.tolist()


BODIES: Final = {
    "listed": "[%s]",
    "anything": '{"a": [%s]}',
    "named": '{"values": 1, "other": [%s]}',
    "models": '{"values": [%s]}',
    "mappings": '{"a": {"b": %s}}',
    "rows": "[%s]",
    "arrays": "[%s]",
}


@pytest.fixture(scope="module")
def reading() -> Any:
    with serving(Reading) as server:
        yield server.url


@pytest.mark.parametrize("number", ["1e999", "-1E+400", "1" * 200 + "e200", "Infinity", "NaN"])
@pytest.mark.parametrize("route", BODIES)
def test_no_number_becomes_infinite(reading: str, route: str, number: str) -> None:
    for query in ("", "?a=1"):
        answer = httpx.post(f"{reading}/{route}{query}", content=BODIES[route] % number)
        assert answer.status_code in {400, 422}, answer.text
        assert answer.json()["code"] in {"malformed_body", "invalid_item"}


@pytest.mark.parametrize("number", ["1e308", "1" * 300, "0e999", "1e-999"])
@pytest.mark.parametrize("route", BODIES)
def test_large_numbers_are_read(reading: str, route: str, number: str) -> None:
    answer = httpx.post(f"{reading}/{route}", content=BODIES[route] % number)
    assert answer.status_code == 200, answer.text


def test_a_whole_number_of_any_length_is_read(reading: str) -> None:
    answer = httpx.post(f"{reading}/anything", content="1" * 400)
    assert (answer.status_code, answer.text) == (200, "1" * 400)


@pytest.mark.parametrize("query", ["", "?a=1"])
def test_a_text_that_numpy_would_cut_is_refused(reading: str, query: str) -> None:
    """NumPy's texts cannot end in NUL: the method would get another text than was sent."""
    answer = httpx.post(f"{reading}/names{query}", json=["a\0", "b"])
    assert (answer.status_code, answer.json()["details"]) == (
        422,
        [{"loc": [0], "message": "Input should not end in NUL, which NumPy's texts drop"}],
    )
    assert httpx.post(f"{reading}/names{query}", json=["\0a", "b"]).json() == ["\0a", "b"]
