"""What each part of a span's way costs, ours beside OpenTelemetry's."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

from bench.processes import SERVER_CPU
from bench.servers import CACHE, HERE, SINK_PORT, UDP_PORT
from bench.tables import Sheet

URL = f"http://127.0.0.1:{SINK_PORT}/api/v2/spans"
OTEL = "fastapi_otel"  # the peer whose virtual environment has the SDK
PARTS = {
    "record": "record, on the event loop",
    "queue": "freeze and queue, on the event loop",
    "ship": "ship to the exporter's process, on a thread",
    "expand": "expand to spans",
    "encode": "encode",
    "send": "send",
    "exporter": "*the exporter's process at work: unpack, expand, encode, send*",
    "all": "*all of it at work*",
}


def parts(seconds: float) -> Sheet:
    """Measure each by itself; the sinks must be up."""
    ours = [sys.executable, str(HERE / "services" / "parts.py")]
    udp = {"address": "127.0.0.1", "port": UDP_PORT}
    file = {"path": str(CACHE / "parts-traces.db"), "max_bytes": 1 << 28}
    columns = {
        "spanserve, Zipkin": [*ours, "zipkin", json.dumps({"url": URL})],
        "spanserve, local": [*ours, "local", json.dumps(file)],
        "spanserve, Jaeger over UDP": [*ours, "jaeger", json.dumps(udp)],
    }
    otel = CACHE / OTEL / "bin" / "python"
    if otel.exists():
        program = str(HERE / "peers" / OTEL / "parts.py")
        columns["OpenTelemetry's SDK, Zipkin"] = [str(otel), program]
    figures = [_figures([*command, str(seconds)]) for command in columns.values()]
    rows = tuple(
        (title, *(f"{each[key]:.2f}" if key in each else "" for each in figures))
        for key, title in PARTS.items()
    )
    return Sheet("parts", "CPU µs a span, by parts", ("part", *columns), rows)


def _figures(command: Sequence[str]) -> Mapping[str, float]:
    pinned = ["taskset", "-c", str(SERVER_CPU), *command]
    env = {**os.environ, "ZIPKIN_URL": URL}
    done = subprocess.run(pinned, check=True, stdout=subprocess.PIPE, text=True, env=env)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures
