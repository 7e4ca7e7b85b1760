"""An exporter's process: real ones, a tracer that behaves and misbehaves in them, and the books."""

import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus
from pathlib import Path

import pytest

from spanserve import Resource, api, service
from spanserve.config.model import Config, QueueConfig, TracingConfig
from spanserve.server.app import create_app
from spanserve.server.lifecycle import exporters_ready
from spanserve.tracing.export.exporter import Drop, Exporter
from spanserve.tracing.export.outcome import FAILING
from spanserve.tracing.export.process.restarts import Restarts, clean_environment
from spanserve.tracing.plugins.registry import load_tracers
from spanserve.tracing.tracing import Tracing
from support.distributions import install
from support.gate import answered, begun
from support.serving import (
    children_of,
    lives,
    service_of,
    signal_to,
    subprocess_server,
    until,
)
from support.zipkin_sink import ZipkinSink

WAIT_S = 20
SQUARES = str(Path(__file__).parents[3] / "docs" / "examples" / "squares" / "service.py")
RESOURCE = Resource("tests", {"service.name": "tests", "process.pid": os.getpid()})


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install the tracer `solo`; what it does and writes is in this folder."""
    install(tmp_path, "solo", "1.0", {"solo": "support.fake_tracers.solo:Solo"})
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("SOLO_HOME", str(tmp_path))
    monkeypatch.delitem(sys.modules, "support.fake_tracers.solo", raising=False)
    return tmp_path


@contextmanager
def started(
    *, exporter: str = "process", hang_after_s: float = 60
) -> Iterator[tuple[Tracing, Exporter]]:
    config = TracingConfig(
        type=("solo",),
        exporter=exporter,  # type: ignore[arg-type]  # one of its literals
        queue=QueueConfig(flush_interval_ms=1, retry_for_s=60, hang_after_s=hang_after_s),
    )
    tracing = Tracing(load_tracers(config), config, RESOURCE)
    tracing.start()
    try:
        yield tracing, tracing.exporters[0]
    finally:
        tracing.stop(WAIT_S)


def request(tracing: Tracing, status: int = 200) -> None:
    """Record a request of two spans."""
    answered(tracing, begun(tracing), status)


def settled(exporter: Exporter) -> bool:
    return until(lambda: not exporter.waiting_spans, WAIT_S)


def written(home: Path) -> list[tuple[int, str]]:
    lines = (home / "spans").read_text().splitlines() if (home / "spans").exists() else []
    return [(int(line.split()[0]), line.split(maxsplit=2)[2]) for line in lines]


def drops(exporter: Exporter) -> dict[Drop, int]:
    return {why: spans for why, spans in exporter.counters.dropped.items() if spans}


def is_failing(exporter: Exporter) -> bool:
    return exporter.state in FAILING


def stopped(home: Path) -> list[int]:
    return [int(line) for line in (home / "stopped").read_text().split()]


def test_spans_are_exported_by_another_process_which_ends_with_the_server(home: Path) -> None:
    with started() as (tracing, exporter):
        request(tracing)
        request(tracing)
    ((pid, _), *_) = written(home)
    assert [(each, name) for each, name in written(home)] == [
        (pid, "POST /predict"),
        (pid, "encode"),
    ] * 2
    assert pid != os.getpid()
    assert stopped(home) == [pid, os.getpid()]
    assert (exporter.counters.delivered, exporter.recorded_spans, drops(exporter)) == (4, 4, {})
    assert not lives(pid)


def test_the_config_keeps_it_on_a_thread_of_the_server(home: Path) -> None:
    with started(exporter="thread") as (tracing, _):
        request(tracing)
    assert [pid for pid, _ in written(home)] == [os.getpid()] * 2


def test_what_it_logs_is_in_the_server_s_log(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    with started() as (tracing, exporter):
        request(tracing)
        assert settled(exporter)
    line = ("solo", logging.WARNING, "wrote 2 spans")
    assert line in caplog.record_tuples
    assert written(home)


def test_what_it_is_to_retry_stays_with_it(home: Path) -> None:
    (home / "retry").touch()
    with started() as (tracing, exporter):
        request(tracing)
        assert settled(exporter)
    assert [name for _, name in written(home)] == ["encode"]
    assert (exporter.counters.delivered, exporter.recorded_spans, drops(exporter)) == (2, 2, {})


def test_a_tracer_that_raises_there_costs_its_spans(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (home / "raise").touch()
    with started() as (tracing, exporter):
        request(tracing)
        assert settled(exporter)
    assert drops(exporter) == {Drop.TRACER_RAISED: 2}
    assert "it raised OSError: the disk is gone" in caplog.text


def test_a_process_that_dies_takes_what_it_had_along_and_is_started_anew(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with started() as (tracing, exporter):
        request(tracing)
        assert settled(exporter)
        (home / "die").touch()
        request(tracing)
        assert settled(exporter)
        request(tracing)
    first, *_, last = [pid for pid, _ in written(home)]
    assert len(written(home)) == 4
    assert len({first, last, os.getpid()}) == 3
    assert (exporter.counters.delivered, drops(exporter)) == (4, {Drop.EXPORTER_DIED: 2})
    died = "the exporter process of tracer solo died (exit code 4); starting anew"
    assert died in caplog.messages


def test_a_process_that_dies_at_once_is_started_again_and_its_tracer_never_called_here(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (home / "die at start").touch()
    with started() as (tracing, exporter):
        request(tracing)
        assert until(lambda: "died" in caplog.text)
        (home / "die at start").unlink()
        assert settled(exporter)
        request(tracing)
    ((pid, _), *_) = written(home)
    assert [each for each, _ in written(home)] == [pid] * 4
    assert pid != os.getpid()
    assert (exporter.counters.delivered, drops(exporter)) == (4, {})
    died = "the exporter process of tracer solo died (exit code 3); starting anew"
    assert died in caplog.messages


def test_a_process_that_is_killed_at_each_call_costs_what_it_held_and_never_the_server(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (home / "kill at each call").touch()
    with started() as (tracing, exporter):
        for lost in (2, 4):
            request(tracing)
            assert until(lambda: sum(exporter.counters.dropped.values()) == lost, WAIT_S)  # noqa: B023
        assert is_failing(exporter)
        (home / "kill at each call").unlink()
        request(tracing)
        assert settled(exporter)
        assert not is_failing(exporter)
    assert os.getpid() not in [pid for pid, _ in written(home)]
    assert (exporter.counters.delivered, drops(exporter)) == (2, {Drop.EXPORTER_DIED: 4})
    assert exporter.recorded_spans == 6
    said = [line for line in caplog.messages if "the exporter process" in line]
    assert said == ["the exporter process of tracer solo died (by SIGKILL); starting anew"]


def test_a_process_whose_tracer_cannot_start_there_is_done_without(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (home / "raise at start").touch()
    with started() as (tracing, exporter):
        request(tracing)
        assert settled(exporter)
    assert [pid for pid, _ in written(home)] == [os.getpid()] * 2
    assert (exporter.counters.delivered, drops(exporter)) == (2, {})
    assert (
        "tracer solo cannot have a process of its own (it raised OSError: no such device); its "
        "tracer is called on a thread of the server"
    ) in caplog.messages


HANGS_IN_A_PROCESS = (
    "tracer solo hangs: no sign of its exporter process for 0.5 s; it is killed and started anew, "
    "and the spans that it holds are lost"
)


@pytest.mark.parametrize("how", ["stopped", "hanging"])
def test_a_process_that_hangs_is_killed_and_started_anew_and_what_it_held_is_counted(
    how: str, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with started(hang_after_s=0.5) as (tracing, exporter):
        request(tracing)
        assert settled(exporter)
        ((first, _), *_) = written(home)
        if how == "stopped":
            signal_to(first, signal.SIGSTOP)
        else:
            (home / "hang").touch()
        request(tracing)
        assert until(lambda: sum(exporter.counters.dropped.values()) == 2, WAIT_S)
        (home / "hang").touch()  # the next hangs, too, and is not said again
        request(tracing)
        assert until(lambda: sum(exporter.counters.dropped.values()) == 4, WAIT_S)
        (home / "hang").unlink()
        assert is_failing(exporter)
        request(tracing)
        assert settled(exporter)
        assert not is_failing(exporter)
    last = written(home)[-1][0]
    assert len({first, last, os.getpid()}) == 3
    assert not alive(first)
    assert (exporter.counters.delivered, drops(exporter)) == (4, {Drop.EXPORTER_HUNG: 4})
    assert exporter.recorded_spans == 8
    assert [line for line in caplog.messages if line.startswith("tracer solo")] == [
        HANGS_IN_A_PROCESS,
        "tracer solo delivers again; 4 spans were dropped so far",
    ]


def test_a_process_that_is_stopped_while_it_waits_for_an_answer_is_found_all_the_same(
    home: Path,
) -> None:
    with started(hang_after_s=1) as (tracing, exporter):
        request(tracing)
        assert settled(exporter)
        ((pid, _), *_) = written(home)
        (home / "wait").touch()
        request(tracing)
        assert until((home / "waits").exists, WAIT_S)
        (home / "wait").unlink()
        signal_to(pid, signal.SIGSTOP)
        assert settled(exporter)
        request(tracing)
    assert (exporter.counters.delivered, drops(exporter)) == (4, {Drop.EXPORTER_HUNG: 2})


def test_a_slow_process_that_gives_signs_of_life_is_left_alone(home: Path) -> None:
    (home / "slow").touch()
    with started(hang_after_s=2) as (tracing, exporter):
        request(tracing)
        assert settled(exporter)
    assert (exporter.counters.delivered, drops(exporter)) == (2, {})


@pytest.mark.parametrize("how", ["stopped", "hanging"])
def test_a_stop_waits_no_longer_than_it_may_and_says_what_is_lost(
    how: str, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with started() as (tracing, exporter):
        request(tracing)
        assert settled(exporter)
        ((first, _), *_) = written(home)
        if how == "stopped":
            signal_to(first, signal.SIGSTOP)
        else:
            (home / "hang").touch()
        request(tracing)
        request(tracing)
        tracing.stop(0.3)
        assert (drops(exporter), exporter.waiting_spans) == ({Drop.STOPPED: 4}, 0)
        assert (exporter.counters.delivered, exporter.recorded_spans) == (2, 6)
        assert until(lambda: not alive(first), WAIT_S)
    assert [line for line in caplog.messages if "solo" in line] == [
        "tracer solo did not stop in time; 4 spans are lost"
    ]


def test_a_process_starts_without_instrumentation_that_the_server_was_started_with() -> None:
    given = {"PYTHONPATH": os.pathsep.join(["/a", "/x/auto_instrumentation", "/b"]), "HOME": "/"}
    assert clean_environment(given) == {"PYTHONPATH": f"/a{os.pathsep}/b", "HOME": "/"}
    assert clean_environment({"HOME": "/"}) == {"HOME": "/"}


def test_restarts_come_at_once_after_one_that_worked_and_then_ever_later() -> None:
    restarts = Restarts()
    pauses = []
    now_s = 100.0
    for works in (True, True, False, False, False, False, False, False, False):
        restarts.started(now_s)
        if works:
            restarts.delivered()
        restarts.died(now_s + 1)
        pauses.append(restarts.wait_s(now_s + 1))
        now_s += 1
    assert pauses == [0, 1, 2, 4, 8, 16, 32, 60, 60]
    restarts.started(now_s)
    assert restarts.died(now_s + 3600)
    assert restarts.wait_s(now_s + 3600) == 0.5


def test_it_is_ready_once_its_tracer_is(home: Path) -> None:
    os.mkfifo(home / "late")
    with started() as (tracing, exporter):
        request(tracing)
        assert not exporter.wait_until_ready(0)
        (home / "late").write_bytes(b"")
        assert exporter.wait_until_ready(WAIT_S)
    assert len(written(home)) == 2


@service
class Echo:
    """Gives back what it gets."""

    @api(batch=True)
    def echo(self, items: list[int]) -> list[int]:
        """Return them."""
        return items


@asynccontextmanager
async def served() -> AsyncIterator[Exporter]:
    config = Config.model_validate({"tracing": {"type": "solo"}})
    tracing = Tracing(load_tracers(config.tracing), config.tracing, RESOURCE)
    app = create_app(config, service_of(Echo), tracing)
    async with app.router.lifespan_context(app):
        yield tracing.exporters[0]


@pytest.mark.usefixtures("home")
async def test_a_server_is_ready_once_its_exporters_are(caplog: pytest.LogCaptureFixture) -> None:
    async with served() as exporter:
        assert exporter.wait_until_ready(0)
    assert "is not ready" not in caplog.text


async def test_a_server_does_not_wait_for_its_exporters_for_ever(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    os.mkfifo(home / "late")
    with started() as (tracing, _):
        await exporters_ready(tracing, longest_s=0.01)
        (home / "late").write_bytes(b"")
    said = "tracer solo is not ready after 0.01 s; its spans wait, as long as there is room"
    assert said in caplog.messages


def test_a_status_that_is_an_enum_s_crosses_too(home: Path) -> None:
    with started() as (tracing, exporter):
        request(tracing, HTTPStatus.IM_A_TEAPOT)
        assert settled(exporter)
    assert len(written(home)) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_it_ends_however_the_server_ends(number: signal.Signals) -> None:
    with ZipkinSink() as sink:
        env = {"SPANSERVE__TRACING__TYPE": "zipkin", "SPANSERVE__TRACING__ZIPKIN__URL": sink.url}
        with subprocess_server(SQUARES, env=env) as server:
            (child,) = children_of(server.process.pid)
            signal_to(server.process.pid, number)
            server.process.wait(WAIT_S)
            assert until(lambda: not alive(child), WAIT_S)


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
