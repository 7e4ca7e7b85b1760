"""Without httptools and uvloop, as on platforms that lack them: all works, and not much slower."""

import os
import statistics
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest

from support.serving import DEADLINE_S, subprocess_server

TESTS = Path(__file__).parents[1]
SQUARES = str(TESTS.parent / "docs" / "examples" / "squares" / "service.py")
PLAIN = {"PYTHONPATH": str(TESTS / "support" / "plain")}
# What differs with the protocol: answers, refusals, and bodies that come or go in pieces.
SERVER_TESTS = (
    "test_server.py",
    "test_server_errors.py",
    "formats/test_streams.py",
    "formats/test_files.py",
)


def connected(url: str) -> HTTPConnection:
    """A connection that is kept, as clients keep theirs."""
    where = httpx.URL(url)
    return HTTPConnection(where.host, where.port, timeout=DEADLINE_S)


def cost_of(connection: HTTPConnection, method: str, path: str, body: bytes) -> float:
    """How long an answer takes, in seconds."""
    started_s = time.perf_counter()
    connection.request(method, path, body)
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200
    return time.perf_counter() - started_s


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_answer_costs_less_than_ten_times_that_with_them(workers: str) -> None:
    requests = [("POST", "/square", b"3"), ("GET", "/healthz", b"")]
    with (
        subprocess_server(SQUARES, "--workers", workers) as fast,
        subprocess_server(SQUARES, "--workers", workers, env=PLAIN) as plain,
    ):
        asked = [connected(server.url) for server in (fast, plain)]
        turns = [
            [cost_of(each, *request) for request in requests for each in asked] for _ in range(51)
        ]
        for each in asked:
            each.close()

    with_s, without_s, health_with_s, health_without_s = map(
        statistics.median, zip(*turns, strict=True)
    )
    told = "requests are read by h11, which costs more time: import of httptools"
    assert (told in fast.text(), told in plain.text()) == (False, True)
    assert without_s < 10 * with_s
    assert health_without_s < 10 * health_with_s


@pytest.mark.timeout(600)
def test_the_server_s_own_tests_pass_without_them() -> None:
    files = [str(TESTS / "server" / name) for name in SERVER_TESTS]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]

    run = subprocess.run(
        command,
        cwd=TESTS.parent,
        env={**os.environ, **PLAIN},
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stdout
