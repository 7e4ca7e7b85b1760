"""`spanserve.testing`: a service served in the test's own process."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

import httpx
import pytest
from pydantic import BaseModel

from spanserve import Span, SpanStart, api, hookimpl, service, span
from spanserve.errors import ConfigError, StartError
from spanserve.testing import async_client, client

ROOT: Final = Path(__file__).parents[2]
EXAMPLE: Final = ROOT / "docs" / "examples" / "squares"
CALLER: Final = "0af7651916cd43dd8448eb211c80319c"


class Settings(BaseModel):
    factor: float = 2.0


@service
class Scales:
    def __init__(self, settings: Settings) -> None:
        self.factor = settings.factor
        self.thread = threading.current_thread()

    @api(batch=True)
    def scale(self, numbers: list[float]) -> list[float]:
        with span("multiply"):
            return [self.factor * number for number in numbers]

    @api
    async def count(self, number: int) -> AsyncIterator[int]:
        for each in range(number):
            yield each


@service
class Broken:
    def __init__(self) -> None:
        raise OSError("no such model")

    @api
    def ask(self) -> None: ...


class Boundaries:
    def __init__(self) -> None:
        self.seen: list[str] = []

    @hookimpl
    def span_started(self, start: SpanStart) -> None:
        self.seen.append(f"+{start.name}")

    @hookimpl
    def export_spans(self, spans: Sequence[Span]) -> None:
        self.seen += [each.name for each in spans]


def test_a_response_has_its_trace() -> None:
    parent = {"traceparent": f"00-{CALLER}-b7ad6b7169203331-01"}
    with client(Scales, config={"service": {"factor": 3}}) as served:
        responses = [served.post("/scale", json=number, headers=parent) for number in (1, 2)]
        traces = [served.trace(response) for response in responses]

    assert [response.json() for response in responses] == [3.0, 6.0]
    [parts] = traces[1].tree().values()
    assert list(parts) == ["decode", "queue", "collate", "run", "split", "encode"]
    assert [trace.id for trace in traces] == [CALLER] * 2
    assert traces[0].root.span_id != traces[1].root.span_id, "each has its own request alone"
    assert traces[0].children(traces[0].span("run")) == [traces[0].span("multiply")]


def test_a_stream_comes_as_it_is_made_and_its_trace_after_it() -> None:
    with client(Scales) as served:
        with served.stream("POST", "/count", json=3) as response:
            lines = list(response.iter_lines())
        trace = served.trace(response)

    assert lines == ["0", "1", "2"]
    assert trace.root.name == "POST /count"


async def test_many_async_requests_are_batched() -> None:
    async with async_client(Scales, config={"server": {"trace_headers": False}}) as served:
        responses = await asyncio.gather(*(served.post("/scale", json=n) for n in range(20)))
        traces = await asyncio.gather(*map(served.trace, responses))

    assert [response.json() for response in responses] == [2.0 * n for n in range(20)]
    sizes = [trace.span("queue").attributes["spanserve.batch.size"] for trace in traces]
    assert sizes != [1] * 20


def test_what_was_not_sampled_is_said() -> None:
    config = {"tracing": {"excluded_urls": ["/scale"]}}
    with client(Scales, config=config) as served, pytest.MonkeyPatch.context() as patch:
        patch.setattr("spanserve.testing.clients.TRACE_TIMEOUT_S", 0.05)
        response = served.post("/scale", json=1)
        with pytest.raises(LookupError, match="it was not sampled"):
            served.trace(response)


def test_a_start_that_fails_is_raised_and_leaves_nothing_behind() -> None:
    threads = set(threading.enumerate())
    with pytest.raises(StartError, match="no such model"), client(Broken):
        pass
    with pytest.raises(ConfigError, match=r"server\.prot \(the test's config\)"):  # noqa: SIM117
        with client(Scales, config={"server": {"prot": 1}}):
            pass

    assert set(threading.enumerate()) == threads


def test_the_environment_says_nothing_but_fills_a_file_s_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "c.yml"
    file.write_text("tracing: {type: zipkin}\nservice:\n  factor: $" + "{FACTOR}\n")
    monkeypatch.setenv("SPANSERVE__SERVICE__FACTOR", "7")
    monkeypatch.setenv("FACTOR", "5")

    with client(Scales, config=file) as served:
        assert served.post("/scale", json=1).json() == 5.0


def test_a_file_is_served_as_serve_would_and_others_can_ask_it() -> None:
    with client(EXAMPLE / "service.py") as served:
        assert httpx.post(f"{served.url}/square", json=3, trust_env=False).json() == 9.0
        assert served.get("/readyz").text == "ready\n"


def test_a_plugin_s_hooks_are_called() -> None:
    plugin = Boundaries()
    with client(Scales, tracers=[plugin]) as served:
        served.trace(served.post("/scale", json=1))

    assert {"+run", "+multiply", "run", "multiply"} <= set(plugin.seen)


def test_the_example_s_tests_pass_and_are_those_of_the_page() -> None:
    example = EXAMPLE / "test_service.py"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(example)]
    done = subprocess.run(command, cwd=EXAMPLE, capture_output=True, text=True, check=False)

    assert "4 passed" in done.stdout, done.stdout
    assert example.read_text() in (ROOT / "docs/how-to/test-a-service.md").read_text()
