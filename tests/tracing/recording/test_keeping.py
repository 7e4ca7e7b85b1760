"""What is recorded beyond head sampling: kept, forced, not trusted, and changed while serving."""

import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanserve import api, service
from spanserve.tracing.model import names
from spanserve.tracing.propagation.context import Remote
from spanserve.tracing.propagation.jaeger import read
from support.gate import Watch, answered, begun, gate, queued, released, run
from support.serving import serving, subprocess_server, until
from support.traces import Keeps, check_all, is_batch, one, traces

TOKEN = "a-token-of-24-characters"
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@service
class Picky:
    """Fails where it is told to, as an item and as a batch."""

    def __init__(self) -> None:
        self.open = threading.Event()

    @api(batch=True, max_batch_size=8, max_latency_ms=10_000)
    def check(self, numbers: np.ndarray) -> list[Any]:
        """Refuse what is below zero."""
        return [ValueError("below zero") if number < 0 else float(number) for number in numbers]

    @api
    def hold(self) -> None:
        """Keep the runner busy."""
        self.open.wait(30)

    @api
    async def release(self) -> None:
        """Let it go on."""
        self.open.set()


def in_one_batch(url: str, numbers: list[float]) -> list[int]:
    with ThreadPoolExecutor(16) as pool, httpx.Client(base_url=url) as client:
        hold = pool.submit(client.post, "/hold")
        assert until(lambda: "spanserve_runner_busy 1.0" in client.get("/metrics").text)
        sent = [pool.submit(client.post, "/check", json=number) for number in numbers]
        wanted = f'spanserve_queue_depth{{endpoint="/check"}} {float(len(numbers))}'
        assert until(lambda: wanted in client.get("/metrics").text)
        client.post("/release")
        assert hold.result().status_code == 200
        return [each.result().status_code for each in sent]


def test_a_failed_request_is_kept_whole_with_its_batch_and_no_other() -> None:
    kept = Keeps()
    config = {"tracing": {"sample_rate": 0, "keep": {"errors": True}}}
    with serving(Picky, config, tracers=[("kept", kept, {})]) as server:
        assert sorted(in_one_batch(server.url, [1, 2, -3, 4])) == [200, 200, 200, 500]
        metrics = server.metrics()
    check_all(kept.spans)
    found = traces(kept.spans)
    assert len(found) == 2
    [batch] = filter(is_batch, kept.spans)
    [link] = batch.links
    request = one("POST /check", kept.spans)
    assert link.trace_id == request.trace_id
    assert batch.attributes[names.BATCH_SIZE] == 4
    assert request.attributes[names.KEPT_BY] == "error"
    assert {span.name for span in found[request.trace_id]} == {
        *("POST /check", "decode", "queue", "run", "encode")
    } - {"encode"}
    assert metrics['spanserve_traces_kept_total{rule="error"}'] == 1
    assert metrics['spanserve_traces_kept_total{rule="slow"}'] == 0


def test_a_slow_request_is_kept_and_a_quick_one_is_not() -> None:
    kept, watch = Keeps(), Watch()
    tracing = gate(kept, watch=watch, sample_rate=0.0, keep={"slower_than_ms": 100.0})
    tracing.start()
    for seconds in (0.1, 0.2):
        record = begun(tracing)
        item = queued(tracing, record)
        run(tracing, released(tracing, [item]))
        watch.advance(seconds)
        answered(tracing, record)
    tracing.stop(5)
    [request] = [span for span in kept.spans if span.parent_id is None]
    assert (request.duration_ms, request.attributes[names.KEPT_BY]) == (200, "slow")


def test_a_batch_of_which_nobody_is_kept_makes_no_trace() -> None:
    kept = Keeps()
    tracing = gate(kept, sample_rate=0.0, keep={"errors": True})
    tracing.start()
    records = [begun(tracing) for _ in range(3)]
    batch = released(tracing, [queued(tracing, record) for record in records])
    run(tracing, batch)
    for record in records:
        answered(tracing, record)
    tracing.stop(5)
    assert kept.spans == []
    assert batch.pending == 0


def test_what_may_be_kept_says_in_its_headers_that_it_is_not_sampled() -> None:
    tracing = gate(Keeps(), sample_rate=0.0, keep={"errors": True})
    headers = tracing.headers_for(begun(tracing), CALLER)
    assert headers["traceparent"].endswith("-00")


FORCED = [
    {"b3": f"{TRACE}-{CALLER}-d"},
    {"b3": "d"},
    {"X-B3-Flags": "1"},
    {"X-B3-TraceId": TRACE, "X-B3-SpanId": CALLER, "X-B3-Flags": "1"},
    {"uber-trace-id": f"{TRACE}:{CALLER}:0:3"},
    {"jaeger-debug-id": "why-so-slow"},
    {"uber-trace-id": f"{TRACE}:{CALLER}:0:0", "jaeger-debug-id": "why-so-slow"},
]


@pytest.mark.parametrize("headers", FORCED, ids=str)
def test_the_debug_headers_force_one_trace(headers: dict[str, str]) -> None:
    kept = Keeps()
    config = {"tracing": {"sample_rate": 0}}
    with serving(Picky, config, tracers=[("kept", kept, {})]) as server:
        httpx.post(f"{server.url}/check", json=1)
        answer = httpx.post(f"{server.url}/check", json=1, headers=headers)
    ids = {span.trace_id for span in kept.spans}
    assert ids == {answer.headers["x-trace-id"]}
    assert (TRACE in ids) == (TRACE in str(headers))
    request = one("POST /check", kept.spans)
    assert request.debug
    assert request.attributes.get("jaeger-debug-id") == headers.get("jaeger-debug-id")


@given(st.text(st.characters(max_codepoint=255)))
def test_any_debug_id_is_read_or_left_out(value: str) -> None:
    raw = value.encode("latin-1")
    wanted = value.strip(" \t") if len(raw) <= 128 else ""
    found = read({b"jaeger-debug-id": [raw]})
    expected = Remote("", "", sampled=True, debug=True, debug_id=wanted) if wanted else None
    assert found == expected


def test_a_caller_that_is_not_trusted_is_linked_and_not_joined() -> None:
    kept = Keeps()
    config = {"tracing": {"trust_incoming": False}}
    headers = {"traceparent": f"00-{TRACE}-{CALLER}-00", "tracestate": "a=b"}
    with serving(Picky, config, tracers=[("kept", kept, {})]) as server:
        httpx.post(f"{server.url}/check", json=1, headers=headers)
    check_all(kept.spans)
    request = one("POST /check", kept.spans)
    assert (request.trace_id != TRACE, request.parent_id) == (True, None)
    assert [(link.trace_id, link.span_id) for link in request.links] == [(TRACE, CALLER)]


def test_who_is_not_trusted_forces_no_trace() -> None:
    tracing = gate(Keeps(), sample_rate=0.0, trust_incoming=False)
    for headers in FORCED:
        record = begun(tracing, headers)
        assert not any((record.recording, record.sampled, record.debug, record.debug_id))


CONTROLLED = {"tracing": {"sample_rate": 0, "control": {"token": TOKEN}}}
BEARER = {"Authorization": f"Bearer {TOKEN}"}
CONFIGURED = {"sample_rate": 0.0, "keep": {"errors": False, "slower_than_ms": None}}


def test_what_is_recorded_changes_while_serving_and_back_again() -> None:
    kept = Keeps()
    with (
        serving(Picky, CONTROLLED, tracers=[("kept", kept, {})]) as server,
        httpx.Client(base_url=server.url, headers=BEARER) as client,
    ):
        assert client.get("/tracing").json() == {
            **CONFIGURED,
            "until": None,
            "configured": CONFIGURED,
        }
        changed = client.patch("/tracing", json={"sample_rate": 1, "for_s": 1000}).json()
        assert (changed["sample_rate"], changed["configured"]) == (1.0, CONFIGURED)
        assert changed["until"].endswith("Z")
        traced = client.post("/check", json=1).headers["x-trace-id"]
        client.patch("/tracing", json={"keep": {"errors": True}, "for_s": 0.01})
        assert until(lambda: client.get("/tracing").json()["until"] is None)
        assert client.get("/tracing").json()["keep"] == CONFIGURED["keep"]
        untraced = client.post("/check", json=2).headers["x-trace-id"]
    found = {span.trace_id for span in kept.spans}
    assert traced in found
    assert untraced not in found


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer no"}, {"Authorization": TOKEN}, {"Authorization": "Bearer"}],
    ids=str,
)
@pytest.mark.parametrize("method", ["GET", "PATCH"])
def test_without_the_token_nothing_is_told_or_changed(method: str, headers: dict[str, str]) -> None:
    with serving(Picky, CONTROLLED) as server:
        answer = httpx.request(method, f"{server.url}/tracing", headers=headers, json={})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.json()["code"] == "http_401"


@pytest.mark.parametrize(
    "change",
    [{"sample_rate": 2}, {"rate": 1}, {"for_s": 0}, {"for_s": 1e9}, {"keep": {"slow": 1}}],
    ids=str,
)
def test_a_wrong_change_is_422_and_changes_nothing(change: dict[str, Any]) -> None:
    with serving(Picky, CONTROLLED) as server:
        answer = httpx.patch(f"{server.url}/tracing", json=change, headers=BEARER)
        now = httpx.get(f"{server.url}/tracing", headers=BEARER).json()
    assert answer.status_code == 422
    assert now["until"] is None


def test_without_a_token_in_the_configuration_there_is_no_such_route() -> None:
    with serving(Picky) as server:
        assert httpx.get(f"{server.url}/tracing").status_code == 404


def test_a_change_reaches_every_worker(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        "server: {workers: 2}\n"
        f"tracing: {{type: console, sample_rate: 0, control: {{token: {TOKEN}}}}}\n"
    )
    held = Path(__file__).parents[2] / "support" / "services" / "held.py"
    with subprocess_server(str(held), "--config", str(config)) as server:
        changed = httpx.patch(f"{server.url}/tracing", headers=BEARER, json={"sample_rate": 0.5})
        assert changed.status_code == 200

        def all_know() -> bool:
            asked = [httpx.get(f"{server.url}/tracing", headers=BEARER) for _ in range(20)]
            return {each.json()["sample_rate"] for each in asked} == {0.5}

        assert until(all_know)
        assert server.stop(signal.SIGTERM) == 0
