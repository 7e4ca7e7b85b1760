"""`spanserve check FILE --send` in tests: the command, its tracers, and what it says."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from spanserve import Resource
from spanserve.cli import app
from spanserve.commands.send import Patience
from spanserve.tracing.plugins.loading import LoadedTracer, opened
from spanserve_jaeger.tracer import Jaeger
from spanserve_zipkin.settings import ZipkinSettings
from spanserve_zipkin.tracer import Zipkin

QUICK = Patience(retry_s=0, settle_s=0.2, look_up_s=0, stop_s=0.1)
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


def check_send(tracing: Mapping[str, Any]) -> Result:
    """Write c.yml and run `spanserve check c.yml --send` in the current folder."""
    Path("c.yml").write_text(json.dumps({"tracing": tracing}))
    return CliRunner().invoke(app, ["check", "c.yml", "--send"])


def told(result: Result, lines: int) -> list[str]:
    """Return the last lines of what was printed, their trace ids as <id>."""
    return [re.sub(r"[0-9a-f]{32}", "<id>", each) for each in result.stdout.splitlines()[-lines:]]


def jaeger(query_port: int, **settings: Any) -> LoadedTracer:
    """Return the Jaeger tracer, whose query API is at this port."""
    return opened(Jaeger(query_port=query_port), "jaeger", "spanserve-jaeger", "1").configured(
        settings, {}
    )


def found_by_zipkin(url: str, trace_id: str = TRACE_ID) -> bool | None:
    tracer = Zipkin()
    tracer.tracer_started(ZipkinSettings(url=url), Resource("test", {}))
    try:
        return tracer.find_trace(trace_id)
    finally:
        tracer.tracer_stopping()
