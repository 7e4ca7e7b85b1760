"""Under `opentelemetry-instrument`: nobody traces exporters, and their processes start clean."""

import os
import signal
from pathlib import Path

import httpx
import pytest

from support.holding import HELD
from support.serving import children_of, subprocess_server, until
from support.zipkin_sink import ZipkinSink

INSTRUMENT = Path(__file__).parents[1] / "support" / "instrument" / "auto_instrumentation"


@pytest.mark.parametrize("exporter", ["process", "thread"])
def test_what_exporters_send_is_no_trace_and_their_process_is_not_instrumented(
    exporter: str, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    with ZipkinSink() as sink:
        env = {
            "PYTHONPATH": os.pathsep.join([str(INSTRUMENT), str(tmp_path)]),
            "INSTRUMENTED": str(notes),
            "SPANSERVE__TRACING__TYPE": "zipkin",
            "SPANSERVE__TRACING__EXPORTER": exporter,
            "SPANSERVE__TRACING__ZIPKIN__URL": sink.url,
        }
        with subprocess_server(str(HELD), env=env) as server:
            assert httpx.post(f"{server.url}/predict", json=2).json() == 4.0
            assert until(lambda: len(sink.spans) > 5)
            assert len(children_of(server.process.pid)) == (exporter == "process")
            assert server.stop(signal.SIGTERM) == 0, server.text()
            assert notes.read_text() == f"{server.process.pid} instrumented\n"
        assert sink.violations == []
