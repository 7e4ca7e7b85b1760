"""Replicas that die and hang under load: no request of a healthy item fails."""

import logging
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.replicas import SERVICE
from support.serving import Serving, serving, until

CLIENTS = 6


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    runner = {"type": "process", "replicas": 2, "in_flight": 2, "hang_after_s": 1}
    with serving(str(SERVICE), {"runner": runner}) as serves:
        yield serves


@pytest.fixture
def client(server: Serving) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as made:
        yield made


@contextmanager
def load(server: Serving) -> Iterator[Counter[str]]:
    """Ask for healthy items meanwhile, and count what comes back."""
    found: Counter[str] = Counter()
    over = threading.Event()

    def ask(first: int) -> None:
        number = first
        with httpx.Client(base_url=server.url, timeout=60) as own:
            while not over.is_set():
                number += CLIENTS
                answer = own.post("/things", json={"number": number, "takes_s": 0.002})
                right = answer.status_code == 200 and answer.json() == number
                found["right" if right else answer.text] += 1

    threads = [threading.Thread(target=ask, args=(first,)) for first in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        assert until(lambda: found["right"] > CLIENTS)
        yield found
        begun = found["right"]
        assert until(lambda: found["right"] > begun + CLIENTS), found
    finally:
        over.set()
        for thread in threads:
            thread.join()


def faulty(fate: str, marker: Path | None = None) -> dict[str, Any]:
    return {"number": -1, "fate": fate, "marker": str(marker or "")}


@pytest.mark.parametrize("fate", ["kill", "stop", "exit"])
def test_what_ends_its_replica_once_is_answered_by_another(
    server: Serving, client: httpx.Client, tmp_path: Path, fate: str
) -> None:
    with load(server) as found:
        answer = client.post("/things", json=faulty(fate, tmp_path / "done"))
    assert (answer.status_code, answer.json()) == (200, -1)
    assert found.keys() == {"right"}


def test_what_ends_each_replica_takes_no_neighbour_along(
    server: Serving, client: httpx.Client
) -> None:
    with load(server) as found:
        answer = client.post("/things", json=faulty("kill"))
    assert (answer.status_code, answer.json()["code"]) == (503, "runner_gone")
    assert "by SIGKILL" in answer.json()["message"]
    assert answer.headers["retry-after"] == "1"
    assert found.keys() == {"right"}


@pytest.mark.parametrize(("route", "status"), [("once", 503), ("one", 503), ("again", 200)])
def test_what_may_not_run_twice_does_not(
    server: Serving, client: httpx.Client, tmp_path: Path, route: str, status: int
) -> None:
    answer = client.post(f"/{route}", json=faulty("kill", tmp_path / "done"))
    assert answer.status_code == status
    assert until(lambda: server.metrics()['spanserve_replica_up{replica="0"}'] == 1)


def test_a_stream_breaks_off_and_is_not_run_again(
    server: Serving, client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.CRITICAL),
        pytest.raises(httpx.RemoteProtocolError),
        client.stream("POST", "/tokens", json={"count": 5, "fate": "kill"}) as answer,
    ):
        list(answer.iter_lines())
    assert until(lambda: server.metrics()['spanserve_replica_up{replica="1"}'] == 1)


def test_deaths_and_the_service_s_own_counters_are_told(
    server: Serving, client: httpx.Client
) -> None:
    before = server.metrics()
    assert before['spanserve_items_rerun_total{endpoint="/things"}'] > 0
    restarts = [before[f'spanserve_replica_restarts_total{{replica="{n}"}}'] for n in range(2)]
    assert sum(restarts) >= 6
    client.post("/things", json={"number": 1}).raise_for_status()
    after = server.metrics()
    assert after["replicated_runs_total"] == before["replicated_runs_total"] + 1
    replicas = client.get("/metadata").json()["runner"]["replicas"]
    assert [each["replica"] for each in replicas] == [0, 1]
    assert {each["state"] for each in replicas} <= {"up", "starting", "down"}


def test_readyz_says_503_while_no_replica_is_up() -> None:
    with (
        serving(str(SERVICE), {"runner": {"type": "process"}}) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        assert client.get("/readyz").text == "ready\n"
        lost = threading.Thread(target=lambda: client.post("/one", json=faulty("kill")))
        lost.start()
        assert until(lambda: httpx.get(f"{server.url}/readyz").status_code == 503)
        assert client.get("/livez").status_code == 200
        lost.join()
        assert client.post("/things", json={"number": 5}).json() == 5  # it waited
        assert client.get("/readyz").text == "ready\n"
