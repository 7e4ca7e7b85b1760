"""Batches that are data frames and several arrays, several items in a JSON array, generators."""

import gzip
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Final

import httpx
import numpy as np
import pandas as pd
import pytest
from fastapi import HTTPException
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from typing_extensions import TypedDict

from spanserve import Array, api, service, span
from spanserve.errors import ServiceError
from spanserve.server.formats.items_array import entries
from spanserve.service.codecs.problems import InvalidBody
from spanserve.service.codecs.steps import finished
from spanserve.testing import client
from support.serving import DEADLINE_S, Serving, serving

ITEMS: Final = {"Content-Type": "application/x-items+json"}
Row = Annotated[np.ndarray, Array("float32", (2,))]
Words = Annotated[np.ndarray, Array("str", (None,))]
closed = threading.Event()


class House(BaseModel):
    area: float
    rooms: int | None = None
    city: str = "Rome"


@dataclass
class Point:
    x: int


class Named(TypedDict):
    name: str


@service
class Shapes:
    @api(batch=True)
    def price(self, houses: Annotated[pd.DataFrame, House]) -> list[float]:
        if (houses["area"] < 0).any():
            raise HTTPException(404, "no such house")
        return (houses["area"] * houses["rooms"].fillna(1.0)).tolist()

    @api(batch=True)
    def kinds(self, houses: Annotated[pd.DataFrame, House]) -> list[dict[str, str]]:
        return [{str(name): houses[name].dtype.kind for name in houses}] * len(houses)

    @api(batch=True)
    def points(self, points: Annotated[pd.DataFrame, Point]) -> pd.DataFrame:
        return points * 2

    @api(batch=True)
    def names(self, named: Annotated[pd.DataFrame, Named]) -> list[str]:
        return named["name"].str.upper().tolist()

    @api(batch=True)
    def score(self, pixels: Row, *, words: Words) -> np.ndarray:
        lengths: np.ndarray = np.char.str_len(words).sum(axis=1)
        return np.asarray(pixels.sum(axis=1) + lengths)

    @api
    def count(self, number: int) -> Iterator[int]:
        with span("counting"):
            for each in range(number):
                if each == 7:
                    raise HTTPException(409, "seven")
                yield each

    @api(threads=2)
    def texts(self, text: str) -> Iterator[str]:
        yield from text

    @api
    def endless(self) -> Iterator[int]:
        try:
            yield from iter(int, 1)
        finally:
            closed.set()


@pytest.fixture(scope="module", params=["direct", "h11"])
def served(request: pytest.FixtureRequest) -> Iterator[Serving]:
    with serving(Shapes, http=None if request.param == "direct" else "h11") as server:
        yield server


def test_a_frame_has_a_row_for_each_item_and_the_model_s_columns(served: Serving) -> None:
    def asked(path: str, item: Any) -> Any:
        return httpx.post(f"{served.url}/{path}", json=item).json()

    assert asked("price", {"area": 2.5, "rooms": 2}) == 5.0
    assert asked("price", {"are": 2})["message"] == "item.area: Field required"
    assert asked("kinds", {"area": 1}) == {"area": "f", "rooms": "f", "city": "O"}
    assert (asked("points", {"x": 2}), asked("names", {"name": "a"})) == ({"x": 4}, "A")


def test_a_frame_without_a_model_is_refused() -> None:
    with pytest.raises(ServiceError, match=r"write Annotated\[DataFrame, Item\]"):

        @service
        class Unknown:
            @api(batch=True)
            def m(self, rows: pd.DataFrame) -> list[int]:
                return [1] * len(rows)


def test_an_item_of_several_arrays_is_an_object_of_them(served: Serving) -> None:
    url = f"{served.url}/score"
    fine = httpx.post(url, json={"pixels": [1, 2], "words": ["ab", "c"]})
    wrong = httpx.post(url, json={"pixels": [1], "words": ["ab"]})
    missing = httpx.post(url, json={"pixels": [1, 2]})
    lines = "\n".join(json.dumps({"pixels": [n, n], "words": ["a"] * n}) for n in range(1, 4))
    many = httpx.post(url, content=lines, headers={"Content-Type": "application/x-ndjson"})

    assert fine.json() == 6.0
    assert (wrong.status_code, missing.status_code) == (422, 422)
    assert "the body is an object with pixels, words" in wrong.json()["message"]
    assert many.text.split() == ["3.0", "6.0", "9.0"]


def test_an_array_of_items_is_answered_with_an_array_by_every_door(served: Serving) -> None:
    url, house = f"{served.url}/price", {"area": 2.0, "city": 'a,]}"\\'}
    items = [house, {"area": 1}, {"are": 1}, {"area": -1}, {"area": 3, "rooms": 2}]
    body = json.dumps(items).encode()
    packed = {**ITEMS, "Content-Encoding": "gzip"}
    answers = [
        httpx.post(url, content=body, headers=ITEMS),
        httpx.post(url, content=iter([body[:9], body[9:]]), headers=ITEMS),
        httpx.post(url, content=gzip.compress(body), headers=packed),
        httpx.post(f"{url}?a=b", content=body, headers={**ITEMS, "Accept": "application/json"}),
    ]

    types = [each.headers["content-type"] for each in answers]
    assert types == [ITEMS["Content-Type"]] * 3 + ["application/json"]
    for answer in answers:
        first, second, no_item, failed, last = answer.json()
        assert (first, second, last) == (2.0, 1.0, 6.0)
        assert (no_item["error"]["code"], no_item["index"]) == ("invalid_item", 2)
        assert (failed["error"]["message"], failed["index"]) == ("no such house", 3)


def test_arrays_and_none_at_all_may_be_items(served: Serving) -> None:
    item = {"pixels": [1, 2], "words": []}
    arrays = httpx.post(f"{served.url}/score", content=json.dumps([item] * 300), headers=ITEMS)
    none = httpx.post(f"{served.url}/score", content=" [ ] ", headers=ITEMS)
    bad = httpx.post(f"{served.url}/score", content=json.dumps([1] * 150), headers=ITEMS).json()

    assert (arrays.json(), none.json()) == ([3.0] * 300, [])
    assert bad[149] == {"error": {"code": "invalid_item"}, "index": 149}
    assert "message" in bad[0]["error"]


@pytest.mark.parametrize(
    "body", ["", "{}", "1", "[", "[1", '["a', "[1,,2]", "[1,]", "[,]", "[1] 2", "[[1]", "[1]]"]
)
def test_what_is_no_array_of_items_is_refused(served: Serving, body: str) -> None:
    answer = httpx.post(f"{served.url}/price", content=body, headers=ITEMS)

    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_body")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.lists(json_values), st.sampled_from([None, 1]), st.booleans())
def test_an_array_is_cut_where_its_entries_end(
    items: list[Any],
    indent: int | None,
    ascii_only: bool,  # noqa: FBT001  # hypothesis gives it
) -> None:
    text = json.dumps(items, indent=indent, ensure_ascii=ascii_only)
    body = text.encode("utf-8", "replace")

    bounds = finished(entries(body))

    assert [json.loads(body[start:end]) for start, end in bounds] == json.loads(body)


def is_json(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body), list)
    except ValueError:
        return False


@given(st.text('[]{}",\\ 1a').map(str.encode))
def test_any_other_bytes_are_cut_or_refused(body: bytes) -> None:
    try:
        bounds = finished(entries(body))
    except InvalidBody:
        assert not is_json(body)
    else:
        assert all(body[start:end].strip() for start, end in bounds)


def test_a_generator_that_is_not_async_streams_from_the_model_s_thread(served: Serving) -> None:
    counted = httpx.post(f"{served.url}/count", json=3)
    broken = httpx.post(f"{served.url}/texts", json="abc", headers={"Accept": "text/event-stream"})

    assert counted.text.split() == ["0", "1", "2"]
    assert broken.text == 'data: "a"\n\ndata: "b"\n\ndata: "c"\n\n'


def test_a_generator_s_spans_last_from_step_to_step_and_are_nobody_else_s() -> None:
    with client(Shapes) as served:
        trace = served.trace(served.post("/count", json=3))
        beside = served.trace(served.post("/names", json={"name": "a"}))

    assert trace.tree() == {"POST /count": {"decode": {}, "run": {"counting": {}}}}
    assert list(beside.tree()["POST /names"]["run"]) == []


def test_a_client_that_leaves_ends_a_generator_and_the_model_serves_on(served: Serving) -> None:
    closed.clear()
    with httpx.stream("POST", f"{served.url}/endless") as answer:
        next(answer.iter_lines())
        beside = httpx.post(f"{served.url}/names", json={"name": "a"})

    assert (beside.json(), closed.wait(DEADLINE_S)) == ("A", True)


def test_a_generator_that_raises_before_its_first_value_is_answered_so() -> None:
    @service
    class Fails:
        @api
        def m(self) -> Iterator[int]:
            if threading.current_thread() is not threading.main_thread():
                raise HTTPException(409, "never")
            yield 1

    with client(Fails) as served:
        answer = served.post("/m")

    assert (answer.status_code, answer.json()["message"]) == (409, "never")
