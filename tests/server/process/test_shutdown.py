"""From the signal to the exit: nothing accepted is lost, and the exit code says how it went."""

import re
import signal
import socket
import tempfile
import textwrap
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from spanserve.server.process import share
from support.serving import (
    DEADLINE_S,
    SubprocessServer,
    lives,
    metrics_of,
    signal_to,
    subprocess_server,
    until,
    workers_of,
)

CLIENTS = 12
SERVICE = """
    import asyncio
    import os
    import time
    from pathlib import Path

    from spanserve import api, bundle_path, service

    def wait_for(name):
        while not (Path(__file__).parent / name).exists():
            time.sleep(0.005)


    @service
    class Slow:
        def __init__(self):
            if "BROKEN" in os.environ:
                raise ValueError("no weights")

        @api(batch=True, max_batch_size=4)
        def batched(self, numbers: list[int]) -> list[int]:
            return [self.slowly(n) for n in numbers]

        @api
        def plain(self, number: int) -> int:
            return self.slowly(number)

        @api(threads=12)
        def wide(self, number: int) -> int:
            return self.slowly(number)

        @api
        async def forever(self, number: int) -> None:
            (Path(__file__).parent / f"entered {number}").touch()
            await asyncio.Event().wait()

        def slowly(self, number):
            (Path(__file__).parent / f"entered {number}").touch()
            wait_for("open")
            return -number

        def close(self):
            time.sleep(float(os.environ.get("CLOSE_S", 0)))
            (Path(__file__).parent / f"closed {os.getpid()}").touch()
"""


@pytest.fixture
def service(tmp_path: Path) -> Path:
    file = tmp_path / "slow.py"
    file.write_text(textwrap.dedent(SERVICE))
    return file


def gate(service: Path) -> Path:
    """Return the file that lets the service go on."""
    return service.parent / "open"


def closed(service: Path) -> int:
    """Return how many instances were closed."""
    return len(list(service.parent.glob("closed *")))


def busy(server: SubprocessServer) -> float:
    """Return how many items wait or run in the batcher; one process only."""
    metrics = metrics_of(httpx.get(f"{server.url}/metrics").text)
    label = '{endpoint="/batched"}'
    return metrics[f"spanserve_queue_depth{label}"] + metrics[f"spanserve_batch_size_sum{label}"]


def posted(
    callers: ThreadPoolExecutor, server: SubprocessServer, path: str, count: int
) -> list["Future[httpx.Response]"]:
    return [
        callers.submit(httpx.post, f"{server.url}{path}", json=n, timeout=DEADLINE_S)
        for n in range(count)
    ]


def bodies(answers: list["Future[httpx.Response]"]) -> list[Any]:
    return [answer.result(DEADLINE_S).json() for answer in answers]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_under_load_loses_no_accepted_request(
    service: Path, number: signal.Signals
) -> None:
    with subprocess_server(str(service)) as server, ThreadPoolExecutor(CLIENTS) as callers:
        answers = posted(callers, server, "/batched", CLIENTS)
        assert until(lambda: busy(server) == CLIENTS)
        server.process.send_signal(number)
        assert until(lambda: refused(server)), "the listener closes while requests still run"
        gate(service).touch()
        assert bodies(answers) == [-n for n in range(CLIENTS)]
        assert server.process.wait(DEADLINE_S) == 0
    assert closed(service) == 1
    assert "Traceback" not in server.text()
    assert "ERROR" not in server.text()


def refused(server: SubprocessServer) -> bool:
    port = httpx.URL(server.url).port
    assert port is not None
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) != 0


def test_while_it_waits_to_drain_it_serves_and_says_that_it_goes_away(service: Path) -> None:
    gate(service).touch()
    env = {"SPANSERVE__SERVER__DRAIN_DELAY_S": "600"}
    with subprocess_server(str(service), env=env) as server:
        server.process.send_signal(signal.SIGTERM)
        assert until(lambda: httpx.get(f"{server.url}/readyz").status_code == 503)
        assert httpx.get(f"{server.url}/readyz").text == "draining\n"
        assert httpx.get(f"{server.url}/healthz").status_code == 200
        assert httpx.post(f"{server.url}/batched", json=1).json() == -1
        assert server.stop(signal.SIGTERM) == 0, "told again, it does not wait"
    assert closed(service) == 1


def test_the_delay_before_draining_ends_by_itself(service: Path) -> None:
    gate(service).touch()
    with subprocess_server(str(service), env={"SPANSERVE__SERVER__DRAIN_DELAY_S": "0.2"}) as server:
        assert server.stop(signal.SIGTERM) == 0
    assert closed(service) == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_a_second_ctrl_c_ends_the_server_at_once_without_a_stack(
    service: Path, workers: int
) -> None:
    with (
        subprocess_server(str(service), "--workers", f"{workers}") as server,
        ThreadPoolExecutor(1) as callers,
    ):
        assert until(lambda: server.text().count(" ready\n") == workers)
        (answer,) = posted(callers, server, "/plain", 1)
        assert until(lambda: entered(service) == 1)
        server.process.send_signal(signal.SIGINT)
        assert until(lambda: refused(server))
        assert server.stop(signal.SIGINT) == 0
        with pytest.raises(httpx.TransportError):
            answer.result(DEADLINE_S)
    assert "told to stop again: ended at once" in server.text()
    assert "Traceback" not in server.text()


@pytest.mark.parametrize("path", ["/batched", "/plain", "/wide"])
def test_what_does_not_end_in_time_is_answered_503_and_does_not_keep_the_server(
    service: Path, path: str
) -> None:
    env = {"SPANSERVE__SERVER__DRAIN_TIMEOUT_S": "1"}
    with subprocess_server(str(service), env=env) as server, ThreadPoolExecutor(1) as callers:
        (answer,) = posted(callers, server, path, 1)
        assert until(lambda: entered(service) == 1)
        assert server.stop(signal.SIGTERM) == 0
        response = answer.result(DEADLINE_S)
    body = response.json()
    assert body.pop("request_id") == response.headers["x-request-id"]
    message = "the server stops, and the answer took longer than server.drain_timeout_s"
    assert (response.status_code, body) == (503, {"code": "draining", "message": message})


def test_the_service_is_closed_though_a_request_took_all_the_time(service: Path) -> None:
    env = {"SPANSERVE__SERVER__DRAIN_TIMEOUT_S": "1", "CLOSE_S": "0.2"}
    with subprocess_server(str(service), env=env) as server, ThreadPoolExecutor(1) as callers:
        (answer,) = posted(callers, server, "/forever", 1)
        assert until(lambda: entered(service) == 1)
        assert server.stop(signal.SIGTERM) == 0
        assert answer.result(DEADLINE_S).status_code == 503
    assert closed(service) == 1
    assert "left behind" not in server.text()


def entered(service: Path) -> int:
    """Return how many requests have reached the service's code."""
    return len(list(service.parent.glob("entered *")))


def test_several_workers_serve_and_drain(service: Path) -> None:
    with (
        subprocess_server(str(service), "--workers", "2") as server,
        ThreadPoolExecutor(CLIENTS) as callers,
    ):
        assert until(lambda: server.text().count(" ready\n") == 2)
        answers = posted(callers, server, "/wide", CLIENTS)
        assert until(lambda: entered(service) == CLIENTS)
        server.process.send_signal(signal.SIGTERM)
        assert until(lambda: refused(server))
        gate(service).touch()
        assert bodies(answers) == [-n for n in range(CLIENTS)]
        assert server.process.wait(DEADLINE_S) == 0
    assert closed(service) == 2
    assert "Traceback" not in server.text()


def test_ctrl_c_that_reaches_the_workers_too_starts_no_others(service: Path) -> None:
    with subprocess_server(str(service), "--workers", "2") as server:
        assert until(lambda: server.text().count(" ready\n") == 2)
        log = server.text()
        workers = workers_of(server.process.pid)
        assert len(workers) == 2
        server.process.send_signal(signal.SIGSTOP)  # so that it learns of it when they are gone
        for pid in (*workers, server.process.pid):
            signal_to(pid, signal.SIGINT)
        assert until(lambda: not any(map(lives, workers)))
        server.process.send_signal(signal.SIGCONT)
        assert server.process.wait(DEADLINE_S) == 0
    assert server.text() == log


def test_workers_share_a_folder_in_memory_where_nothing_else_can_be_written(
    service: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(service))  # a file: no folder can be made in it
    with share.shared_folder(memory=tmp_path) as folder:
        assert folder.parent == tmp_path
        assert folder.is_dir()
    assert not folder.exists()


def test_no_folder_to_share_stops_the_start_of_several_workers(
    service: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(service))
    why = r"server\.workers above 1 needs a folder .*: Not a directory; set TMPDIR"
    absent = service / "absent"
    with pytest.raises(share.SharedFolderError, match=why), share.shared_folder(memory=absent):
        pass


def failed(service: Path, *args: str, **env: str) -> tuple[int, str]:
    """Return the exit code and the log of a start that fails."""
    with subprocess_server(str(service), *args, env=env, wait=False) as server:
        code = server.process.wait(DEADLINE_S)
    return code, server.text()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_service_that_cannot_be_made_ends_the_start_with_its_own_frames(
    service: Path, workers: str
) -> None:
    code, text = failed(service, "--workers", workers, BROKEN="1")
    assert code == 3
    assert "ValueError: no weights\n" in text
    assert re.search(r"\n  \|   slow\.py, line \d+, in __init__: ", text)
    assert "Application startup failed. Exiting." in text


def test_a_port_in_use_is_one_line_and_exit_code_2(service: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, text = failed(service, "--port", f"{port}")
    assert (code, text) == (
        2,
        (
            f"error: cannot listen on 127.0.0.1:{port}: Address already in use; "
            "choose another with --host and --port\n"
        ),
    )


def test_every_ended_span_is_flushed(service: Path) -> None:
    gate(service).touch()
    env = {"SPANSERVE__TRACING__TYPE": "console"}
    with subprocess_server(str(service), env=env) as server:
        for n in range(3):
            httpx.post(f"{server.url}/batched", json=n)
        assert server.stop(signal.SIGTERM) == 0
    roots = Counter(re.findall(r"POST /batched", server.text()))
    assert roots["POST /batched"] >= 3
