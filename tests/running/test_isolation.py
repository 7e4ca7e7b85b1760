"""The search for the items that make a batch raise."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanserve.running.isolation import HOPELESS_RUNS, isolated, most_runs


class Model:
    """A model that raises where any of the culprits is in its batch."""

    def __init__(self, culprits: set[int]) -> None:
        self.culprits = culprits
        self.runs: list[list[int]] = []

    def __call__(self, positions: Sequence[int]) -> list[int]:
        self.runs.append(list(positions))
        if found := self.culprits & set(positions):
            raise ValueError(min(found))
        return list(positions)


def always(_: BaseException) -> bool:
    return True


def search(
    size: int, model: Model, may_retry: Callable[[BaseException], bool] = always
) -> list[Any]:
    return isolated(size, ValueError("all"), model, may_retry=may_retry)


def failed(results: list[Any]) -> set[int]:
    return {place for place, result in enumerate(results) if isinstance(result, ValueError)}


@given(st.integers(2, 200), st.data())
def test_one_or_two_culprits_fail_alone(size: int, data: st.DataObject) -> None:
    place = st.integers(0, size - 1)
    model = Model(data.draw(st.sets(place, min_size=1, max_size=2)))
    results = search(size, model)
    assert failed(results) == model.culprits
    assert all(results[each] == each for each in set(range(size)) - model.culprits)
    assert len(model.runs) <= most_runs(size)


@given(st.integers(2, 200), st.data())
def test_whatever_is_wrong_the_search_is_bounded_and_blames_no_one_for_nothing(
    size: int, data: st.DataObject
) -> None:
    model = Model(data.draw(st.sets(st.integers(0, size - 1))))
    results = search(size, model)
    assert len(results) == size
    assert model.culprits <= failed(results)
    assert len(model.runs) <= most_runs(size)
    answered = {place for run in model.runs if not model.culprits & set(run) for place in run}
    assert failed(results) == set(range(size)) - answered


@pytest.mark.parametrize("size", [16, 64, 1000])
def test_a_model_that_always_raises_is_soon_given_up(size: int) -> None:
    model = Model(set(range(size)))
    assert failed(search(size, model)) == set(range(size))
    assert len(model.runs) == HOPELESS_RUNS


def test_a_batch_of_eight_with_one_culprit_takes_six_runs() -> None:
    model = Model({5})
    search(8, model)
    assert model.runs == [[0, 1, 2, 3], [4, 5, 6, 7], [4, 5], [6, 7], [4], [5]]


def test_what_failed_once_and_never_again_is_answered() -> None:
    assert search(4, Model(set())) == [0, 1, 2, 3]


def test_without_leave_nothing_runs() -> None:
    model = Model({1})
    assert failed(search(4, model, lambda _: False)) == {0, 1, 2, 3}
    assert model.runs == []
