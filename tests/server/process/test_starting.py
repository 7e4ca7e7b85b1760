"""From the first moment to `ready`: the port is listened on, and signals are heard."""

import re
import signal
import socket
import sys
import textwrap
from pathlib import Path

import httpx
import pytest

from spanserve.config.model import ServerConfig
from support.serving import (
    DEADLINE_S,
    SubprocessServer,
    lives,
    server_by,
    signal_to_group,
    subprocess_server,
    until,
)

SERVICE = """
    import os
    import time
    from pathlib import Path

    from spanserve import api, service


    def at_gate(name):
        here = Path(__file__).parent
        (here / f"{name} reached {os.getpid()}").touch()
        while (here / f"{name} closed").exists():
            time.sleep(0.005)


    at_gate("import")


    @service
    class Slow:
        def __init__(self):
            at_gate("init")

        def warm_up(self):
            at_gate("warm_up")

        @api(batch=True)
        def double(self, numbers: list[int]) -> list[int]:
            return [2 * number for number in numbers]

        @api
        async def pid(self) -> int:
            return os.getpid()
"""


@pytest.fixture
def service(tmp_path: Path) -> Path:
    file = tmp_path / "slow.py"
    file.write_text(textwrap.dedent(SERVICE))
    return file


def close(service: Path, name: str) -> Path:
    """Close a gate: the file that it gives holds the service there, until it is removed."""
    gate = service.parent / f"{name} closed"
    gate.touch()
    return gate


def reached(service: Path, name: str) -> list[int]:
    """Return the processes that were at a gate."""
    return [int(each.name.split()[-1]) for each in service.parent.glob(f"{name} reached *")]


def listens(server: SubprocessServer) -> str:
    """Return the URL that the server says it listens on, as soon as it does."""
    found: list[str] = []

    def said() -> bool:
        assert server.process.poll() is None, server.text()
        found.extend(re.findall(r"listening on (http\S+),", server.text()))
        return bool(found)

    assert until(said), server.text()
    return found[0]


def answers(url: str) -> dict[str, tuple[int, str]]:
    """Return what is said to GET requests."""
    paths = ("/livez", "/healthz", "/readyz", "/v2/health/live", "/v2/health/ready")
    found = {path: httpx.get(url + path) for path in paths}
    return {path: (each.status_code, each.text) for path, each in found.items()}


STARTING = {
    "/livez": (200, "ok\n"),
    "/healthz": (200, "ok\n"),
    "/readyz": (503, "starting\n"),
    "/v2/health/live": (200, '{"live":true}'),
    "/v2/health/ready": (503, '{"ready":false}'),
}
WORKERS = pytest.mark.parametrize("workers", ["1", "2"])


@pytest.mark.parametrize(
    ("workers", "gate"), [("1", "import"), ("1", "init"), ("1", "warm_up"), ("2", "import")]
)
def test_while_the_service_loads_the_server_says_so_and_then_it_serves(
    service: Path, tmp_path: Path, gate: str, workers: str
) -> None:
    closed, url_file = close(service, gate), tmp_path / "url"
    url_file.write_text("http://of.a.killed.one\n")
    env = {"SPANSERVE__SERVER__URL_FILE": str(url_file)}
    args = (str(service), "--workers", workers)
    with subprocess_server(*args, env=env, wait=False) as server:
        url = listens(server)
        assert until(lambda: len(reached(service, gate)) == int(workers))
        assert answers(url) == STARTING
        refused = httpx.post(f"{url}/double", json=1)
        body = refused.json()
        assert body.pop("request_id") == refused.headers["x-request-id"]
        message = "the service is loading; try again in 1 s"
        assert (refused.status_code, body) == (503, {"code": "starting", "message": message})
        assert refused.headers["retry-after"] == "1"
        assert " ready\n" not in server.text()
        assert not url_file.exists()
        closed.unlink()
        server.wait_until_ready()
        assert until(url_file.exists)
        assert url_file.read_text() == f"{url}\n"
        assert until(lambda: server.text().count(" ready\n") == int(workers))
        assert httpx.post(f"{url}/double", json=4).json() == 8
        assert server.stop(signal.SIGTERM) == 0
    assert not url_file.exists()
    assert "Traceback" not in server.text()


def test_a_connection_that_was_opened_while_the_service_loaded_goes_on_to_work(
    service: Path,
) -> None:
    closed = close(service, "init")
    with (
        subprocess_server(str(service), wait=False) as server,
        httpx.Client(base_url=listens(server)) as client,
    ):
        assert client.get("/readyz").status_code == 503
        assert client.post("/double", json=1).status_code == 503
        closed.unlink()
        assert until(lambda: client.get("/readyz").status_code == 200)
        # The direct way alone tells of the queue and the run of a batch endpoint without a task.
        answer = client.post("/double", json=21)
        assert (answer.json(), answer.http_version) == (42, "HTTP/1.1")
        assert "queue;dur=" in answer.headers["server-timing"]


def test_the_prefix_of_a_proxy_is_known_while_the_service_loads(service: Path) -> None:
    close(service, "init")
    env = {"SPANSERVE__SERVER__ROOT_PATH": "/models/slow"}
    with subprocess_server(str(service), env=env, wait=False) as server:
        assert answers(listens(server)) == STARTING


def test_of_two_servers_on_one_port_the_second_ends_at_once(service: Path) -> None:
    close(service, "import")
    args = (str(service),)
    with subprocess_server(*args, wait=False) as first:
        url = listens(first)
        port = str(httpx.URL(url).port)
        assert until(lambda: len(reached(service, "import")) == 1)
        with subprocess_server(*args, "--port", port, wait=False) as second:
            assert second.process.wait(DEADLINE_S) == 2
        assert second.text() == (
            f"error: cannot listen on 127.0.0.1:{port}: Address already in use; "
            "choose another with --host and --port\n"
        )
        assert len(reached(service, "import")) == 1, "the second loaded nothing"
        assert answers(url) == STARTING


@pytest.mark.parametrize(
    ("workers", "gate", "number"),
    [
        ("1", "import", signal.SIGTERM),
        ("1", "init", signal.SIGINT),
        ("2", "import", signal.SIGINT),
        ("2", "init", signal.SIGTERM),
    ],
)
def test_a_signal_while_the_service_loads_ends_the_start(
    service: Path, gate: str, number: signal.Signals, workers: str
) -> None:
    close(service, gate)
    with subprocess_server(str(service), "--workers", workers, wait=False) as server:
        assert until(lambda: len(reached(service, gate)) == int(workers))
        assert server.stop(number) == 0
    assert until(lambda: not any(map(lives, reached(service, gate))))
    assert "Traceback" not in server.text()
    assert "ERROR" not in server.text()


@WORKERS
def test_two_signals_at_once_end_a_start_without_a_stack(service: Path, workers: str) -> None:
    close(service, "init")
    with subprocess_server(str(service), "--workers", workers, wait=False) as server:
        assert until(lambda: len(reached(service, "init")) == int(workers))
        server.process.send_signal(signal.SIGINT)
        assert server.stop(signal.SIGINT) == 0
    assert "Traceback" not in server.text()


def test_ctrl_c_in_a_terminal_while_workers_begin_leaves_no_stack(service: Path) -> None:
    close(service, "import")
    command = [sys.executable, "-m", "spanserve", "serve", str(service)]
    command += ["--port", "0", "--workers", "2"]
    # A terminal sends it to all processes of the group, those included that only just begin.
    with server_by(command, wait=False, own_group=True) as server:
        listens(server)
        signal_to_group(server.process.pid, signal.SIGINT)
        assert server.process.wait(DEADLINE_S) == 0
    assert "Traceback" not in server.text()


def test_an_idle_connection_is_kept_as_long_as_the_config_says(service: Path) -> None:
    assert ServerConfig().keep_alive_timeout_s == 75
    env = {"SPANSERVE__SERVER__KEEP_ALIVE_TIMEOUT_S": "0.3"}
    with subprocess_server(str(service), env=env) as server:
        port = httpx.URL(server.url).port
        with socket.create_connection(("127.0.0.1", port or 0), DEADLINE_S) as client:
            client.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(12) == b"HTTP/1.1 200"
            while client.recv(4096):
                pass  # until the server closes it


@WORKERS
def test_a_load_that_takes_too_long_ends_the_start_with_one_line(
    service: Path, workers: str
) -> None:
    close(service, "init")
    env = {"SPANSERVE__SERVER__LOAD_TIMEOUT_S": "2"}
    with subprocess_server(str(service), "--workers", workers, env=env, wait=False) as server:
        assert server.process.wait(DEADLINE_S) == 3
    errors = [line for line in server.text().splitlines() if " ERROR " in line]
    assert errors
    for line in errors:
        assert re.search(
            r"the service did not load within 2 s \(server\.load_timeout_s\); "
            r"it is at \S.*:\d+, in \S+$",  # on a busy machine perhaps not at the gate
            line,
        )
    assert "Traceback" not in server.text()


@pytest.mark.parametrize(
    ("workers", "code", "message"),
    [
        ("1", "import absent", r"importing broken failed: ModuleNotFoundError: .*absent"),
        ("1", "import sys; sys.exit(5)", "SystemExit"),
        ("2", "x = 1", "broken.py has no service; write @service above a class"),
    ],
)
def test_a_service_that_cannot_be_imported_is_one_line_and_exit_code_2(
    tmp_path: Path, workers: str, code: str, message: str
) -> None:
    file = tmp_path / "broken.py"
    file.write_text(code)
    with subprocess_server(str(file), "--workers", workers, wait=False) as server:
        assert server.process.wait(DEADLINE_S) == 2
    *_, last = server.text().splitlines()
    assert re.search(f"^error: .*{message}", last)
    assert "Traceback" not in server.text()


def test_the_service_is_imported_made_and_run_off_the_event_loop(tmp_path: Path) -> None:
    file = tmp_path / "threads.py"
    file.write_text(
        textwrap.dedent("""
            import threading

            from spanserve import api, service

            IMPORTED = threading.current_thread() is threading.main_thread()


            @service
            class Threads:
                def __init__(self) -> None:
                    self.made = threading.current_thread() is threading.main_thread()

                @api
                async def on_main(self) -> list[bool]:
                    here = threading.current_thread() is threading.main_thread()
                    return [IMPORTED, self.made, here]
        """)
    )
    with subprocess_server(str(file)) as server:
        assert httpx.post(f"{server.url}/on_main").json() == [False, False, True]
