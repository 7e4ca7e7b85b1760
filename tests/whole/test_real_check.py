"""`spanserve check FILE --send` to real servers: what was sent is there, and is found."""

from pathlib import Path
from typing import Any

import pytest

from servers import JaegerServer, ZipkinServer
from spanserve.commands.send import Sent, send
from spanserve.config.model import TracingConfig
from support.checking import QUICK, TRACE_ID, check_send, found_by_zipkin, jaeger, told
from support.queries import JaegerQueries, ZipkinQueries
from support.thrift_sink import ThriftSink

SHORT_ID = "00000000000000008448eb211c80319c"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("SPANSERVE_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_real_zipkin_shows_what_was_sent(folder: Path, real_zipkin: ZipkinServer) -> None:
    del folder
    result = check_send({"type": "zipkin", "zipkin": {"url": real_zipkin.spans_url}})
    assert (result.exit_code, result.stderr) == (0, "")
    assert told(result, 2) == [
        f"# zipkin: delivered to {real_zipkin.spans_url}",
        f"# found: {real_zipkin.url}/zipkin/traces/<id>",
    ]
    trace_id = result.stdout.split()[-1].rpartition("/")[2]
    (span,) = ZipkinQueries(real_zipkin.url).trace(trace_id)
    assert (span.name, span.trace_id) == ("get /spanserve-check", trace_id)


@pytest.mark.parametrize("fixture", ["real_jaeger", "real_jaeger1"])
@pytest.mark.parametrize("protocol", ["udp", "otlp-http"])
def test_a_real_jaeger_shows_what_was_sent(
    request: pytest.FixtureRequest, fixture: str, protocol: str
) -> None:
    server: JaegerServer = request.getfixturevalue(fixture)
    port = server.ports.query_http
    settings: dict[str, Any] = {"address": server.udp_host, "port": server.udp_port}
    verdict = f"sent to udp://127.0.0.1:{server.udp_port} over UDP, which gives no answer"
    if protocol == "otlp-http":
        settings = {"protocol": protocol, "endpoint": server.otlp_http}
        verdict = f"delivered to {server.otlp_http}/v1/traces"
    sent = send(TracingConfig(), jaeger(port, **settings))
    trace_id = sent.lines[-1].rpartition("/")[2]
    found = f"found: http://127.0.0.1:{port}/trace/{trace_id}"
    assert sent == Sent(ok=True, lines=(f"jaeger: {verdict}", found))
    (span,) = JaegerQueries(server.url, major=server.major).trace(trace_id)
    assert (span.name, span.trace_id) == ("GET /spanserve-check", trace_id)


@pytest.mark.parametrize("fixture", ["real_jaeger", "real_jaeger1"])
def test_a_real_jaeger_says_that_it_has_not_a_trace(
    request: pytest.FixtureRequest, fixture: str
) -> None:
    port = request.getfixturevalue(fixture).ports.query_http
    with ThriftSink() as agent:
        sent = send(TracingConfig(), jaeger(port, address=agent.host, port=agent.port), QUICK)
    assert sent.lines[-1].startswith(f"not found yet: http://127.0.0.1:{port}/trace/")


@pytest.mark.parametrize("trace_id", [TRACE_ID, SHORT_ID])
def test_a_real_zipkin_says_that_it_has_not_a_trace(
    real_zipkin: ZipkinServer, trace_id: str
) -> None:
    assert found_by_zipkin(real_zipkin.spans_url, trace_id) is False
