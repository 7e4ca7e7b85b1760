"""The server's log: lines for people, objects for machines, and the ids of traces in both."""

import io
import json
import logging
import re
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from spanserve import api, service
from spanserve.server.operations.logs import JsonFormatter, TextFormatter, logging_config
from support.serving import serving, subprocess_server, until
from support.traces import Keeps

TALKATIVE = Path(__file__).parents[2] / "support" / "services" / "talkative.py"
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


@service
class Fails:
    """Fails where its caller must find out by the log."""

    @classmethod
    def configure_app(cls, app: FastAPI) -> None:
        @app.get("/own")
        async def own() -> None:
            raise ValueError("own")

    @api(batch=True)
    def check(self, numbers: list[int]) -> list[int]:
        if 13 in numbers:
            raise ValueError("thirteen")
        return numbers

    @api
    async def words(self) -> AsyncIterator[str]:
        yield "one"
        raise ValueError("two")


class Lines(logging.StreamHandler[io.StringIO]):
    """The log as JSON has it."""

    def __init__(self) -> None:
        super().__init__(io.StringIO())
        self.setFormatter(JsonFormatter())

    def of(self, words: str) -> list[dict[str, Any]]:
        """Return the lines that have these words, or this id, anywhere."""
        return [json.loads(line) for line in self.stream.getvalue().splitlines() if words in line]


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler = Lines()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


@pytest.mark.parametrize(
    ("method", "path", "body", "message"),
    [
        ("POST", "/check", b"13", "/check failed for a batch of 1 (request {})"),
        ("GET", "/own", b"", "GET /own failed for request {}: ValueError('own')"),
        ("POST", "/words", b"", "/words broke off its answer to request {}"),
    ],
)
def test_what_failed_is_found_by_the_id_that_the_client_got(
    lines: Lines, method: str, path: str, body: bytes, message: str
) -> None:
    headers = {"Content-Type": "application/json"}
    with (
        serving(Fails, tracers=[("kept", Keeps(), {})]) as server,
        suppress(httpx.RemoteProtocolError),
        httpx.stream(method, f"{server.url}{path}", content=body, headers=headers) as answer,
    ):
        answer.read()
    request_id, trace_id = answer.headers["x-request-id"], answer.headers["x-trace-id"]
    [line] = lines.of(request_id)
    assert line["message"] == message.format(request_id)
    assert line["trace_id"] == trace_id
    assert line["request_id"] == request_id


def test_a_batch_that_failed_for_an_item_names_its_request(lines: Lines) -> None:
    body = b"1\n2\n13\n4"
    with serving(Fails, tracers=[("kept", Keeps(), {})]) as server:
        answer = httpx.post(
            f"{server.url}/check", content=body, headers={"Content-Type": "application/x-ndjson"}
        )
    request_id = answer.headers["x-request-id"]
    [line] = lines.of(request_id)
    assert line["message"] == f"/check failed for item 2 of a batch of 4 (request {request_id})"


def test_the_end_of_a_change_has_not_the_ids_of_who_asked_for_it(
    lines: Lines, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    token = "thirty-two-characters-at-random-"
    config = {"tracing": {"control": {"token": token}}}
    with serving(Fails, config, tracers=[("kept", Keeps(), {})]) as server:
        httpx.patch(
            f"{server.url}/tracing",
            json={"sample_rate": 0.5, "for_s": 0.01},
            headers={"Authorization": f"Bearer {token}"},
        )
        assert until(lambda: lines.of("goes by its configuration again"))
    [asked] = lines.of("changed tracing until")
    [line] = lines.of("goes by its configuration again")
    assert "trace_id" in asked
    assert not {"trace_id", "request_id"} & line.keys()


FORGED = "2026-12-01 00:00:00,000 ERROR   spanserve.owned: all is lost"
EVENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ +[\w.]+: ")
ENDS = ["\n", "\r", "\v", "\f", "\x1b[2K", "\x85", "\u2028", "\u2029", "\u202e", "\ud800", "\0"]
TEXTS = st.lists(st.sampled_from([*ENDS, FORGED, " | ", "\t"]) | st.text(max_size=5)).map("".join)


@given(message=TEXTS, raised=TEXTS, form=st.sampled_from(["text", "json"]))
def test_an_event_begins_one_line_whatever_it_says(message: str, raised: str, form: str) -> None:
    text = TextFormatter(logging_config("info")["formatters"]["text"]["format"])
    formatter = JsonFormatter() if form == "json" else text
    error = (ValueError, ValueError(f"!{raised}"), None)
    record = logging.LogRecord("a", 40, "f", 1, "failed: %s", (message,), error)
    first, *rest = formatter.format(record).splitlines()
    if form == "json":
        assert rest == []
        assert json.loads(first)["message"] == f"failed: {message}"
        assert json.loads(first)["exception"] == f"ValueError: !{raised}"
        return
    assert EVENT.match(first)
    assert all(line.startswith("  | ") for line in rest)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\ud800-\udfff]", first)


RAISES = """
from spanserve import api, service

@service
class Raises:
    @api
    def say(self, text: str) -> None:
        raise ValueError(f"no {text}")

    @classmethod
    def configure_app(cls, app):
        @app.get("/own/{text}")
        async def own(text: str) -> None:
            raise ValueError(text)
"""


def test_no_caller_s_text_begins_a_line_of_the_log(tmp_path: Path) -> None:
    (tmp_path / "raises.py").write_text(RAISES)
    config = tmp_path / "config.yaml"
    config.write_text("server: {access_log: true}\n")
    forged = "".join(f"{end}{FORGED}" for end in ENDS if end != "\ud800")
    with subprocess_server(str(tmp_path / "raises.py"), "--config", str(config)) as server:
        url, path = server.url, quote(forged)
        assert httpx.get(f"{url}/own/{path}?{path}").status_code == 500
        assert httpx.post(f"{url}/say", json=forged).status_code == 500
        assert httpx.post(f"{url}/say{path}").status_code == 404
        assert server.stop(signal.SIGTERM) == 0, server.text()
    lines = server.text().splitlines()
    assert sum(FORGED in line for line in lines) >= 3
    assert [line for line in lines if line.lstrip().startswith(FORGED)] == []
    assert [line for line in lines if not (EVENT.match(line) or line.startswith("  | "))] == []
