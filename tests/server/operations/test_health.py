"""`/readyz` turns when the model cannot be trusted with requests, and turns back."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import httpx
import numpy as np
import pytest

from spanserve import Array, api, service
from spanserve.server.operations.health import HANGS, UNHEALTHY
from support.serving import DEADLINE_S, Serving, serving, until


def readiness(server: Serving) -> dict[str, tuple[int, str]]:
    paths = ("/readyz", "/v2/health/ready", "/v2/models/rows/ready")
    found = {path: httpx.get(server.url + path) for path in paths}
    return {path: (answer.status_code, answer.text) for path, answer in found.items()}


READY = {
    "/readyz": (200, "ready\n"),
    "/v2/health/ready": (200, '{"ready":true}'),
    "/v2/models/rows/ready": (200, '{"name":"rows","ready":true}'),
}


def not_ready(why: str) -> dict[str, tuple[int, str]]:
    return {
        "/readyz": (503, f"{why}\n"),
        "/v2/health/ready": (503, '{"ready":false}'),
        "/v2/models/rows/ready": (503, '{"name":"rows","ready":false}'),
    }


Rows = Annotated[np.ndarray, Array("float32", (1,))]


class _Patient:
    """Is as healthy as it is told, and counts who asks while it runs."""

    def __init__(self) -> None:
        self.answer: Any = True
        self.running = threading.Lock()
        self.asked = 0
        self.asked_by: set[str] = set()
        self.disturbed = False
        self.go_on = threading.Event()
        Known.instance = self

    def say(self) -> Any:
        self.asked += 1
        self.asked_by.add(threading.current_thread().name)
        self.disturbed = self.disturbed or self.running.locked()
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    def hold(self, numbers: list[int]) -> list[int]:
        with self.running:
            assert self.go_on.wait(DEADLINE_S)
        return numbers

    @api(batch=True)
    def rows(self, rows: Rows) -> Rows:
        """Be a model of the Open Inference Protocol."""
        return rows


class Known:
    """The last instance that was made."""

    instance: _Patient


@service
class Patient(_Patient):
    def healthy(self) -> Any:
        return self.say()

    @api(batch=True)
    def held(self, numbers: list[int]) -> list[int]:
        return self.hold(numbers)


@service
class AsyncPatient(_Patient):
    async def healthy(self) -> Any:
        return self.say()

    @api(batch=True)
    def held(self, numbers: list[int]) -> list[int]:
        return self.hold(numbers)


@pytest.mark.parametrize(
    ("cls", "answer", "said"),
    [
        (Patient, False, "healthy() returned False"),
        (Patient, SystemExit(3), "healthy() raised SystemExit: 3"),
        (AsyncPatient, None, "healthy() returned None"),
        (AsyncPatient, RuntimeError("CUDA error"), "healthy() raised RuntimeError: CUDA error"),
        (AsyncPatient, SystemExit(3), "healthy() raised SystemExit: 3"),
    ],
)
def test_a_service_that_says_it_is_broken_is_not_ready_until_it_says_otherwise(
    cls: type[Any], answer: Any, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with serving(cls) as server:
        assert readiness(server) == READY
        Known.instance.answer = answer
        assert until(lambda: readiness(server) == not_ready(UNHEALTHY))
        assert httpx.get(f"{server.url}/livez").status_code == 200
        told = "the service is not healthy, and /readyz says 503: "
        assert [each for each in caplog.messages if each.startswith(told)] == [told + said]
        Known.instance.answer = True
        assert until(lambda: readiness(server) == READY)
        assert "the service is healthy again" in caplog.messages
        by = "server" if cls is AsyncPatient else "spanserve-runner"
        assert Known.instance.asked_by == {by}


def test_the_service_is_never_asked_during_a_run_and_its_last_word_holds() -> None:
    with serving(Patient) as server, ThreadPoolExecutor(1) as callers:
        held = callers.submit(httpx.post, f"{server.url}/held", json=1, timeout=DEADLINE_S)
        patient = Known.instance
        assert until(patient.running.locked)
        patient.answer = False
        asked = patient.asked
        assert readiness(server) == READY, "the answer does not wait for the run"
        threading.Event().wait(1.2)  # by now it would have been asked
        assert (patient.asked, readiness(server)) == (asked, READY)
        patient.go_on.set()
        assert held.result().json() == 1
        assert until(lambda: readiness(server) == not_ready(UNHEALTHY))
        assert not patient.disturbed


@pytest.mark.parametrize("kind", ["batch", "plain"])
def test_a_run_that_lasts_too_long_turns_readiness_until_it_ends(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def hang(value: Any) -> Any:
        entered.set()
        assert go_on.wait(DEADLINE_S)
        return value

    @service
    class Hangs(_Patient):
        @api(batch=True)
        def batch(self, numbers: list[int]) -> list[int]:
            result: list[int] = hang(numbers)
            return result

        @api
        def plain(self, number: int) -> int:
            result: int = hang(number)
            return result

    config = {"server": {"hang_after_s": 0.2}}
    with serving(Hangs, config) as server, ThreadPoolExecutor(1) as callers:
        answer = callers.submit(httpx.post, f"{server.url}/{kind}", json=1, timeout=DEADLINE_S)
        assert entered.wait(DEADLINE_S)
        assert until(lambda: readiness(server) == not_ready(HANGS))
        go_on.set()
        assert answer.result().json() == 1
        assert until(lambda: readiness(server) == READY)
    (said,) = [each for each in caplog.messages if "lasts longer than" in each]
    assert said.startswith("a run of the model lasts longer than 0.2 s (server.hang_after_s)")
    assert "the model's run that hung has ended" in caplog.messages


def test_short_runs_one_after_the_other_are_no_hang() -> None:
    @service
    class Quick:
        @api(batch=True)
        def echo(self, numbers: list[int]) -> list[int]:
            threading.Event().wait(0.05)
            return numbers

    states: list[int] = []
    config = {"server": {"hang_after_s": 0.3}}
    with serving(Quick, config) as server, ThreadPoolExecutor(4) as callers:

        def ask(number: int) -> int:
            answer: int = httpx.post(f"{server.url}/echo", json=number).json()
            states.append(httpx.get(f"{server.url}/readyz").status_code)
            return answer

        assert list(callers.map(ask, range(24))) == list(range(24))
    assert set(states) == {200}
