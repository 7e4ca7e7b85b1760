"""The local tracer as its users meet it: a server, its requests, and what the read API says."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from spanserve import api, service, span
from spanserve_local.store.schema import MIGRATIONS, writing
from spanserve_local.tracer import Local
from support.serving import (
    DEADLINE_S,
    SubprocessServer,
    serving,
    subprocess_server,
    until,
    workers_of,
)


@service
class Squares:
    @api(batch=True)
    def square(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        with span("multiply", note="größer"):
            return numbers * numbers


def get(url: str, path: str, **query: Any) -> Any:
    answer = httpx.get(f"{url}/traces/api/{path}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_request_is_seen_soon_in_the_list_and_whole_in_its_trace(tmp_path: Path) -> None:
    tracer = ("local", Local(), {"path": tmp_path / "traces.db"})
    with serving(Squares, tracers=[tracer]) as server:
        answer = httpx.post(f"{server.url}/square", json=[3])
        assert answer.json() == [9.0]
        trace_id = answer.headers["x-trace-id"]
        assert until(lambda: get(server.url, "traces")["traces"], deadline_s=2)
        [entry] = get(server.url, "traces", endpoint="/square")["traces"]
        trace = get(server.url, f"traces/{trace_id}")
    told = {key: entry[key] for key in ("trace_id", "kind", "name", "status", "error", "spans")}
    assert told == {
        "trace_id": trace_id,
        "kind": "request",
        "name": "POST /square",
        "status": 200,
        "error": False,
        "spans": 8,
    }
    names = [each["name"] for each in trace["spans"]]
    assert names == [
        *("POST /square", "decode", "queue", "collate", "run", "multiply", "split", "encode"),
    ]
    [multiply] = [each for each in trace["spans"] if each["name"] == "multiply"]
    assert multiply["attributes"] == {"note": "größer"}


SERVICE = """
import asyncio
from spanserve import api, service, span


@service
class Later:
    @api
    async def answer(self, number: int) -> int:
        async def later() -> None:
            with span("after the answer"):
                await asyncio.sleep(0.3)

        self.task = asyncio.create_task(later())
        return number
"""


def served(
    folder: Path, *options: str, wait: bool = True
) -> AbstractContextManager[SubprocessServer]:
    (folder / "service.py").write_text(SERVICE)
    path = folder / "data" / "traces.db"
    env = {"SPANSERVE__TRACING__TYPE": "local", "SPANSERVE__TRACING__LOCAL__PATH": str(path)}
    return subprocess_server(str(folder / "service.py"), *options, env=env, wait=wait)


def test_a_start_says_where_traces_are_seen_and_a_late_span_is_in_its_trace(
    tmp_path: Path,
) -> None:
    with served(tmp_path) as server:
        assert f"see traces at {server.url}/traces/" in server.text()
        trace_id = httpx.post(f"{server.url}/answer", json=1).headers["x-trace-id"]

        def names() -> list[str]:
            answer = httpx.get(f"{server.url}/traces/api/traces/{trace_id}")
            return [each["name"] for each in answer.json().get("spans", ())]

        assert until(lambda: "after the answer" in names())
        assert names().count("POST /answer") == 1
        [entry] = get(server.url, "traces")["traces"]
        assert (entry["name"], entry["trace_id"]) == ("POST /answer", trace_id)


def test_every_worker_shows_the_traces_of_all(tmp_path: Path) -> None:
    with served(tmp_path, "--workers", "2") as server:
        ids = {httpx.post(f"{server.url}/answer", json=n).headers["x-trace-id"] for n in range(40)}

        def seen() -> set[str]:
            found = get(server.url, "traces", limit=1000)["traces"]
            return {entry["trace_id"] for entry in found}

        assert until(lambda: seen() >= ids)
        services = {
            get(server.url, f"traces/{trace_id}")["resource"]["process.pid"] for trace_id in ids
        }
        assert services == set(workers_of(server.process.pid))
        assert all(seen() >= ids for _ in range(10))


def test_a_start_without_a_tracer_says_how_to_see_traces(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(SERVICE)
    with subprocess_server(str(tmp_path / "service.py")) as server:
        assert (
            f"tracing is off (tracing.type picks a tracer); to see traces at {server.url}/traces/, "
            "start with SPANSERVE__TRACING__TYPE=local\n"
        ) in server.text()


def test_a_file_of_a_newer_version_stops_the_start_with_one_line(tmp_path: Path) -> None:
    file = tmp_path / "data" / "traces.db"
    file.parent.mkdir()
    writing(file, [*MIGRATIONS, "CREATE TABLE more (x)"]).close()
    with served(tmp_path, wait=False) as server:
        assert server.process.wait(DEADLINE_S) == 2
    [line] = [each for each in server.text().splitlines() if "error" in each]
    assert line.startswith("error: tracer 'local' (from spanserve-local 0.2.0.dev0) failed in ")
    assert "was written by a newer spanserve-local" in line
