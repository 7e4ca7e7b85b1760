"""Every hook call of a run, in order: each boundary in the server and the batcher is there."""

import json
import signal
from pathlib import Path
from typing import Any

import httpx

from support.distributions import install
from support.holding import HELD, UNTRACED, in_one_batch
from support.serving import subprocess_server

SUPPORT = Path(__file__).parents[2] / "support"
LOOP, RUNNER = "MainThread", "spanserve-runner"
LOADER = "spanserve-loader"


async def recorded(tmp_path: Path, items: list[Any]) -> list[dict[str, Any]]:
    """Serve with the recording tracer, run the items as one batch, stop, return all calls."""
    install(tmp_path, "recorder", "1", {"recorder": "support.fake_tracers.recorder:Recorder"})
    config = tmp_path / "config.json"
    config.write_text(
        json.dumps(
            {
                "tracing": {
                    "type": "recorder",
                    "excluded_urls": UNTRACED,
                    "recorder": {"colour": "red"},
                    # All that is recorded goes out at the end, in one call.
                    "queue": {"flush_interval_ms": 600_000},
                }
            }
        )
    )
    environment = {"PYTHONPATH": f"{tmp_path}:{SUPPORT.parent}"}
    with subprocess_server(str(HELD), "--config", str(config), env=environment) as server:
        async with httpx.AsyncClient(base_url=server.url) as client:
            answers = await in_one_batch(client, items)
        assert [answer.json() for answer in answers] == [item * 2 for item in items]
        server.stop(signal.SIGTERM)
    return [json.loads(line) for line in server.printed]


def live(calls: list[dict[str, Any]]) -> list[tuple[str, str, str, str]]:
    """Return the live calls as (+ or -, name, trace, thread), traces by their first mention."""
    traces: dict[str, str] = {}
    lines = []
    for call in calls:
        if call["hook"] in {"span_started", "span_ended"}:
            trace = traces.setdefault(call["trace"], f"trace {len(traces) + 1}")
            sign = "+" if call["hook"] == "span_started" else "-"
            lines.append((sign, call["name"], trace, call["thread"]))
    return lines


def request_begins(trace: str) -> list[tuple[str, str, str, str]]:
    return [
        ("+", "POST /predict", trace, LOOP),
        ("+", "decode", trace, LOOP),
        ("-", "decode", trace, LOOP),
        ("+", "queue", trace, LOOP),
    ]


def request_ends(trace: str) -> list[tuple[str, str, str, str]]:
    return [
        ("+", "encode", trace, LOOP),
        ("-", "encode", trace, LOOP),
        ("-", "POST /predict", trace, LOOP),
    ]


def run_on_runner(trace: str) -> list[tuple[str, str, str, str]]:
    return [
        ("+", "collate", trace, RUNNER),
        ("-", "collate", trace, RUNNER),
        ("+", "run", trace, RUNNER),
        ("+", "scale", trace, RUNNER),
        ("+", "multiply", trace, RUNNER),
        ("-", "multiply", trace, RUNNER),
        ("-", "scale", trace, RUNNER),
        ("-", "run", trace, RUNNER),
        ("+", "split", trace, RUNNER),
        ("-", "split", trace, RUNNER),
    ]


async def test_three_requests_in_one_batch_call_every_hook_in_order(tmp_path: Path) -> None:
    calls = await recorded(tmp_path, [1.0, 2.0, 3.0])
    traces = ["trace 1", "trace 2", "trace 3"]
    assert live(calls) == [
        *(line for trace in traces for line in request_begins(trace)),
        ("+", "batch /predict", "trace 4", LOOP),
        *(("-", "queue", trace, RUNNER) for trace in traces),
        *run_on_runner("trace 4"),
        ("-", "batch /predict", "trace 4", RUNNER),
        *(line for trace in traces for line in request_ends(trace)),
    ]
    others = [call for call in calls if call["hook"] not in {"span_started", "span_ended"}]
    member = ["POST /predict", "decode", "queue", "run", "scale", "multiply", "encode"]
    batch = ["batch /predict", "collate", "run", "scale", "multiply", "split"]
    exporter = "spanserve-recorder"
    assert others == [
        {"hook": "tracer_settings", "thread": LOOP},
        {"hook": "tracer_propagators", "thread": LOOP},
        {"hook": "tracer_target", "thread": LOOP, "colour": "red"},
        {"hook": "tracer_warnings", "thread": LOOP, "colour": "red"},
        {"hook": "extend_app", "thread": LOADER, "title": "Held"},
        {"hook": "tracer_started", "thread": LOOP, "colour": "red", "service": "Held"},
        {"hook": "export_spans", "thread": exporter, "names": [*member * 3, *batch]},
        {"hook": "tracer_stopping", "thread": exporter, "in_time": True},
    ]


async def test_a_batch_of_one_lies_in_its_requests_trace(tmp_path: Path) -> None:
    calls = await recorded(tmp_path, [1.0])
    assert live(calls) == [
        *request_begins("trace 1"),
        ("-", "queue", "trace 1", RUNNER),
        *run_on_runner("trace 1"),
        *request_ends("trace 1"),
    ]


async def test_live_spans_and_exported_ones_have_the_same_parents(tmp_path: Path) -> None:
    calls = [c for c in await recorded(tmp_path, [1.0, 2.0]) if c["hook"].startswith("span_")]
    started = {call["span"]: call for call in calls if call["hook"] == "span_started"}
    ended = {call["span"]: call for call in calls if call["hook"] == "span_ended"}
    assert started.keys() == ended.keys()
    for span, call in ended.items():
        assert {**call, "hook": ""} == {**started[span], "hook": "", "thread": call["thread"]}
        assert call["parent"] is None or call["parent"] in started
