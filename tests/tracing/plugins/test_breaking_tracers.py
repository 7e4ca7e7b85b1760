"""A tracer that fails at any moment: its own failure, one line that names it, and no request's."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from support.distributions import install
from support.holding import HELD
from support.serving import SubprocessServer, metrics_of, subprocess_server, until

TESTS = Path(__file__).parents[2]
SAID_HOW = {"exit": "SystemExit: 3", "raise": "OSError: no such device"}


@contextmanager
def server(home: Path, breaks: str, *, wait: bool) -> Iterator[SubprocessServer]:
    """Serve with a sound tracer, which works in this folder, and one that fails."""
    install(home, "breaking", "1.0", {"breaking": "support.fake_tracers.breaking:Breaking"})
    install(home, "solo", "1.0", {"solo": "support.fake_tracers.solo:Solo"})
    env = {
        "PYTHONPATH": os.pathsep.join([str(home), str(TESTS)]),
        "SOLO_HOME": str(home),
        "BREAKS": breaks,
        "SPANSERVE__TRACING__TYPE": "solo,breaking",
    }
    with subprocess_server(str(HELD), env=env, wait=wait) as running:
        yield running


@pytest.mark.parametrize("how", ["exit", "raise"])
@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("import", "failed to import: "),
        ("creation", "cannot be created: "),
        ("tracer_settings", "failed in tracer_settings: "),
        ("tracer_isolation", "failed in tracer_isolation: "),
        ("extend_app", "failed in extend_app: "),
        ("tracer_started", "failed in tracer_started: "),
    ],
)
def test_what_fails_before_anything_is_served_ends_the_start_with_one_line(
    where: str, how: str, words: str, tmp_path: Path
) -> None:
    with server(tmp_path, f"{where} {how}", wait=False) as running:
        assert running.process.wait(60) not in {0, 3}
    expected = f"tracer 'breaking' (from breaking 1.0) {words}{SAID_HOW[how]}"
    said = running.text() + "".join(running.printed)
    assert expected in said
    assert "Traceback" not in said
    if where == "tracer_started":  # the other one was started before
        assert (tmp_path / "stopped").read_text().split() == [str(running.process.pid)]


def test_settings_that_cannot_be_sent_to_its_process_end_the_start(tmp_path: Path) -> None:
    with server(tmp_path, "pickle", wait=False) as running:
        assert running.process.wait(60) != 0
    said = running.text() + "".join(running.printed)
    assert "tracer 'breaking' (from breaking 1.0) exports in a process of its own, and its" in said
    assert "set `tracing.exporter: thread`" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("how", ["exit", "raise"])
@pytest.mark.parametrize("where", ["span_started", "span_ended", "export_spans"])
def test_what_fails_while_requests_are_served_is_seen_and_costs_no_request(
    where: str, how: str, tmp_path: Path
) -> None:
    with server(tmp_path, f"{where} {how}", wait=True) as running:
        with httpx.Client(base_url=running.url) as client:

            def failing(tracer: str) -> float:
                metrics = metrics_of(client.get("/metrics").text)
                return metrics[f'spanserve_tracer_failing{{tracer="{tracer}"}}']

            answers = [client.post("/predict", json=2) for _ in range(3)]
            assert [(each.status_code, each.json()) for each in answers] == [(200, 4.0)] * 3
            assert until(lambda: failing("breaking"))
            assert failing("solo") == 0
            solo, breaking = client.get("/metadata").json()["tracers"]
            assert solo == {"type": "solo", "target": "solo"}
            assert breaking["failing"] == f"it raised {SAID_HOW[how]}"
        assert running.stop(signal.SIGTERM) == 0
    said = [line for line in running.log if "tracer breaking" in line]
    assert len([line for line in said if "lost" not in line]) == 1
    assert "Traceback" not in running.text()


@pytest.mark.parametrize("where", ["span_started", "span_ended"])
def test_a_live_hook_that_holds_requests_up_is_said_once_and_counted(
    where: str, tmp_path: Path
) -> None:
    with server(tmp_path, f"{where} slow", wait=True) as running:
        with httpx.Client(base_url=running.url) as client:
            answers = [client.post("/predict", json=2) for _ in range(2)]
            assert [(each.status_code, each.json()) for each in answers] == [(200, 4.0)] * 2
            metrics = metrics_of(client.get("/metrics").text)
        assert running.stop(signal.SIGTERM) == 0
    # Each request has its root, decode, queue, collate, run, split and encode, and more.
    assert metrics['spanserve_tracer_slow_calls_total{tracer="breaking"}'] >= 14
    assert metrics['spanserve_tracer_failing{tracer="breaking"}'] == 0
    said = [line for line in running.log if "ms in a live hook, for which requests wait" in line]
    assert len(said) == 1


@pytest.mark.parametrize("how", ["exit", "raise"])
def test_one_that_fails_to_stop_is_said(how: str, tmp_path: Path) -> None:
    with server(tmp_path, f"tracer_stopping {how}", wait=True) as running:
        assert running.stop(signal.SIGTERM) == 0
    assert f"tracer breaking failed to stop: {SAID_HOW[how]}" in running.text()
    assert "Traceback" not in running.text()
