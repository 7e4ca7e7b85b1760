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
from spanserve.server import lifecycle
from spanserve.server.app import create_app
from spanserve.tracing.exporting import Drop, Exporter
from spanserve.tracing.plugins import load_tracers
from spanserve.tracing.tracing import Tracing
from support.distributions import install
from support.gate import answered, begun
from support.serving import service_of, subprocess_server, until
from support.zipkin_sink import ZipkinSink

WAIT_S = 20
SQUARES = str(Path(__file__).parents[1] / "docs" / "examples" / "squares" / "service.py")
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
def started(*, exporter: str = "process") -> Iterator[tuple[Tracing, Exporter]]:
    config = TracingConfig(
        type=("solo",),
        exporter=exporter,  # type: ignore[arg-type]  # one of its literals
        queue=QueueConfig(flush_interval_ms=1, retry_for_s=60),
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
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


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


def test_a_process_that_dies_at_once_is_done_without(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (home / "die at start").touch()
    with started() as (tracing, exporter):
        request(tracing)
        assert settled(exporter)
        request(tracing)
    assert [pid for pid, _ in written(home)] == [os.getpid()] * 4
    assert (exporter.counters.delivered, drops(exporter)) == (4, {})
    (died,) = [line for line in caplog.messages if "exporter process" in line]
    assert died == (
        "the exporter process of tracer solo died (exit code 3); "
        "its tracer is called on a thread of the server"
    )


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
    home: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "LONGEST_PREPARATION_S", 0)
    os.mkfifo(home / "late")
    async with served():
        (home / "late").write_bytes(b"")
    said = "tracer solo is not ready after 0 s; its spans wait, as long as there is room"
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
            (child,) = children(server.process.pid)
            os.kill(server.process.pid, number)
            server.process.wait(WAIT_S)
            assert until(lambda: not alive(child), WAIT_S)


def children(pid: int) -> list[int]:
    threads = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for thread in threads for child in thread.read_text().split()]


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
