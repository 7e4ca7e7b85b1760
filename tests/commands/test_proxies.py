"""Behind a corporate proxy: what is on this machine is asked without it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from spanserve.commands.loopback import keep_loopback_direct
from support.otlp_sink import OtlpGrpcSink, OtlpHttpSink
from support.serving import closed_port, subprocess_server
from support.zipkin_sink import ZipkinSink

SQUARES = str(Path(__file__).parents[2] / "docs" / "examples" / "squares" / "service.py")
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy")


@pytest.fixture
def behind_a_proxy() -> dict[str, str]:
    """An environment whose proxy does not answer, and that excepts nothing from it."""
    proxy = f"http://127.0.0.1:{closed_port()}"
    names = [each for name in PROXIES for each in (name, name.upper())]
    return {**dict.fromkeys(names, proxy), "no_proxy": "", "NO_PROXY": "corp.example"}


def spanserve(*args: str, env: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "spanserve", *args],
        env={**os.environ, **env},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_demo_runs(behind_a_proxy: dict[str, str], tmp_path: Path) -> None:
    run = spanserve("demo", env=behind_a_proxy, folder=tmp_path)

    assert (run.returncode, run.stderr) == (0, "")
    assert "1798 answers" in run.stdout


@pytest.mark.parametrize("kind", ["otlp-http", "otlp-grpc", "otel", "zipkin"])
def test_a_check_reaches_a_backend_on_this_machine(
    kind: str, behind_a_proxy: dict[str, str], tmp_path: Path
) -> None:
    sink = {"otlp-grpc": OtlpGrpcSink, "zipkin": ZipkinSink}.get(kind, OtlpHttpSink)()
    with sink:
        (tmp_path / "c.yml").write_text(json.dumps({"tracing": tracing_to(kind, sink)}))
        run = spanserve("check", "c.yml", "--send", env=behind_a_proxy, folder=tmp_path)

        sink.wait_for_spans(1)
    assert run.returncode == 0, run.stdout + run.stderr


def tracing_to(kind: str, sink: Any) -> dict[str, Any]:
    if kind == "zipkin":
        return {"type": "zipkin", "zipkin": {"url": sink.url}}
    if kind == "otel":
        endpoint = f"{sink.endpoint}/v1/traces"
        options = {"exporter": "otlp_proto_http", "options": {"endpoint": endpoint}}
        return {"type": "otel", "otel": options}
    return {"type": "jaeger", "jaeger": {"protocol": kind, "endpoint": sink.endpoint}}


def test_a_server_reaches_a_collector_on_this_machine(
    behind_a_proxy: dict[str, str], tmp_path: Path
) -> None:
    with OtlpHttpSink() as sink:
        config = tmp_path / "c.yml"
        config.write_text(json.dumps({"tracing": tracing_to("otlp-http", sink)}))
        with subprocess_server(SQUARES, "--config", str(config), env=behind_a_proxy) as server:
            assert httpx.post(f"{server.url}/square", json=3).json() == 9.0
            assert server.stop(signal.SIGTERM) == 0
        assert "POST /square" in {span["name"] for span in sink.wait_for_spans(8)}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"HOME": "/"}, None),
        ({"NO_PROXY": "corp"}, None),
        ({"HTTP_PROXY": "http://p", "no_proxy": "*"}, None),
        ({"HTTP_PROXY": "http://p"}, "localhost,127.0.0.1,::1"),
        ({"https_proxy": "http://p", "NO_PROXY": "corp"}, "corp,localhost,127.0.0.1,::1"),
        ({"ALL_PROXY": "http://p", "no_proxy": "::1", "NO_PROXY": "x"}, "::1,localhost,127.0.0.1"),
        ({"HTTP_PROXY": "http://p", "no_proxy": "", "NO_PROXY": "x"}, "x,localhost,127.0.0.1,::1"),
    ],
)
def test_what_was_excepted_stays_excepted(before: dict[str, str], after: str | None) -> None:
    environ = dict(before)

    keep_loopback_direct(environ)
    keep_loopback_direct(environ)

    added = {} if after is None else {"no_proxy": after, "NO_PROXY": after}
    assert environ == {**before, **added}
