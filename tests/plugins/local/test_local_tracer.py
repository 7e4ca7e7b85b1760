"""The local tracer as its users meet it: a server, its requests, and what the read API says."""

from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from spanserve import api, service, span
from spanserve_local.tracer import Local
from support.serving import serving, until


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
