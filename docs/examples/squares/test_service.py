"""Tests of the squares: what they answer, and what their traces say."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from service import Squares
from spanserve.testing import Client, client


@pytest.fixture(scope="module")
def served() -> Iterator[Client]:
    with client(Squares, config={"batching": {"max_batch_size": 8}}) as running:
        yield running


def test_a_number_is_squared(served: Client) -> None:
    response = served.post("/square", json=3)

    assert (response.status_code, response.json()) == (200, 9.0)


def test_a_word_is_refused(served: Client) -> None:
    response = served.post("/square", json="three")

    assert (response.status_code, response.json()["code"]) == (422, "invalid_item")


def test_the_trace_has_the_multiplication(served: Client) -> None:
    trace = served.trace(served.post("/square", json=3))

    assert trace.tree()["POST /square"]["run"] == {"multiply": {}}
    assert trace.span("multiply").attributes["rows"] == 1


def test_requests_that_come_together_share_batches(served: Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda number: served.post("/square", json=number), range(8)))

    assert [response.json() for response in responses] == [number**2 for number in range(8)]
    queues = [served.trace(response).span("queue") for response in responses]
    sizes = [queue.attributes["spanserve.batch.size"] for queue in queues]
    assert all(1 <= size <= 8 for size in sizes)
