"""The server's log: lines for people, objects for machines, and the ids of traces in both."""

import json
import re
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.serving import subprocess_server

TALKATIVE = Path(__file__).parent / "support" / "services" / "talkative.py"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def logged(tmp_path: Path, form: str) -> tuple[str, dict[str, httpx.Response]]:
    config = tmp_path / "config.yaml"
    config.write_text(f"tracing: {{type: console}}\nlogging: {{format: {form}}}\n")
    with subprocess_server(str(TALKATIVE), "--config", str(config)) as server:
        with httpx.Client(base_url=server.url) as client:
            answers = {
                "batched": client.post("/batched", json=1),
                "plain": client.post("/plain"),
                "soon": client.post("/soon"),
            }
        assert server.stop(signal.SIGTERM) == 0, server.text()
    assert {answer.status_code for answer in answers.values()} == {200}
    return server.text(), answers


@pytest.fixture(scope="module")
def as_json(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[list[dict[str, Any]], dict[str, httpx.Response]]:
    text, answers = logged(tmp_path_factory.mktemp("json"), "json")
    # The console tracer draws its traces there, too.
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")], answers


def own(as_json: tuple[list[dict[str, Any]], Any]) -> dict[str, dict[str, Any]]:
    """Return the service's own lines by the first word of their messages."""
    lines = [line for line in as_json[0] if line["logger"] == "talkative"]
    return {line["message"].split()[0]: line for line in lines}


def test_every_line_is_an_object_with_the_same_first_keys(as_json: Any) -> None:
    lines, _ = as_json
    assert len(lines) >= 6
    for line in lines:
        assert list(line)[:4] == ["time", "level", "logger", "message"]
        assert TIME.fullmatch(line["time"])
    assert "spanserve" in {line["logger"] for line in lines}


def test_lines_of_the_users_code_carry_the_ids_of_where_it_runs(as_json: Any) -> None:
    lines, answers = own(as_json), as_json[1]
    assert list(lines) == ["made", "batched", "plain", "soon"]
    for name, answer in answers.items():
        line = lines[name]
        assert line["trace_id"] == line["asked_trace"] == answer.headers["x-trace-id"]
        assert line["span_id"] == line["asked_span"]
        assert line["request_id"] == answer.headers["x-request-id"]
    assert lines["made"]["trace_id"] == lines["made"]["asked_trace"]
    assert "request_id" not in lines["made"]


def test_extras_and_exceptions_are_in_the_object(as_json: Any) -> None:
    lines = own(as_json)
    assert (lines["batched"]["rows"], lines["batched"]["odd"]) == (1, "{1}")
    assert (lines["plain"]["message"], lines["plain"]["level"]) == ("plain 1", "error")
    assert lines["plain"]["exception"].endswith("'a number\\nof two lines'")
    assert (lines["soon"]["message"], lines["soon"]["level"]) == ('soon "ü"', "warning")


def test_text_lines_carry_the_ids_too(tmp_path: Path) -> None:
    text, answers = logged(tmp_path, "text")
    [line] = [line for line in text.splitlines() if "talkative: batched" in line]
    trace_id = answers["batched"].headers["x-trace-id"]
    assert re.search(rf" trace={trace_id} span=[0-9a-f]{{16}}$", line)
