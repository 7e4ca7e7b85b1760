"""Every variable and key that the docs name reaches a server that serves: seen from outside."""

import json
import re
import ssl
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from support.certificates import new_certificate
from support.otlp_sink import OtlpGrpcSink, OtlpHttpSink
from support.serving import SubprocessServer, metrics_of, server_by, until
from support.thrift_sink import ThriftSink
from support.zipkin_sink import ZipkinSink

ROOT: Final = Path(__file__).parents[2]
SERVICE: Final = """
import os, time
from opentelemetry import propagate, trace
from spanserve import api, outgoing_headers, service

@service
class Probe:
    @api(batch=True)
    def square(self, numbers: list[float]) -> list[float]:
        return [number * number for number in numbers]

    @api
    def sent_on(self) -> dict[str, dict[str, str]]:
        by_otel = {}
        with trace.get_tracer(__name__).start_as_current_span("call", attributes={"a": 1, "b": 2}):
            propagate.inject(by_otel)
        return {"spanserve": outgoing_headers(), "otel": by_otel}

    @api
    def fail(self) -> None:
        raise ValueError("words of its own")

    @api
    def slow(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds
"""
TRACE_ID: Final = "0af7651916cd43dd8448eb211c80319c"
CALLER: Final = {"traceparent": f"00-{TRACE_ID}-b7ad6b7169203331-01"}
TOKEN: Final = "*a #token: !of 16 characters"
PREFIX: Final = "SPANSERVE__"
ZIPKIN: Final = {"TRACING__TYPE": "zipkin", "TRACING__ZIPKIN__URL": "SINK"}


@dataclass(frozen=True)
class Served:
    """A server that is asked, the sink that it sends to, and a folder that both know."""

    server: SubprocessServer
    sink: Any
    folder: Path

    def post(self, path: str, body: object, **options: Any) -> httpx.Response:
        """Ask the server; certificates are not checked."""
        return httpx.post(f"{self.server.url}{path}", json=body, verify=False, **options)

    def squared(self, **options: Any) -> httpx.Response:
        """Have a request answered, of which there is a trace."""
        answer = self.post("/square", 3, **options)
        assert (answer.status_code, answer.json()) == (200, 9)
        return answer

    def spans(self, count: int = 1) -> list[dict[str, Any]]:
        """Wait for spans at the sink."""
        spans: list[dict[str, Any]] = self.sink.wait_for_spans(count)
        return spans

    def logs(self, text: str) -> bool:
        """Wait for a text in the server's log."""
        return until(lambda: text in self.server.text())


@dataclass(frozen=True)
class Case:
    """Variables (keys without their SPANSERVE__), and by what they are known to count.

    In values SINK stands for where the sink is, PORT for its port, and FOLDER for the folder.
    """

    name: str
    variables: Mapping[str, str]
    seen: Callable[[Served], None]
    sink: Callable[[], AbstractContextManager[Any]] = ZipkinSink
    files: Callable[[Path], None] | None = None
    full: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        full = {
            name if name.startswith(PREFIX) or "__" not in name else f"{PREFIX}{name}": value
            for name, value in self.variables.items()
        }
        object.__setattr__(self, "full", full)


def sent_to_zipkin(served: Served) -> None:
    served.squared()
    spans = served.spans()
    assert {span["localEndpoint"]["serviceName"] for span in spans} == {"shop"}
    headers = served.sink.requests[0].headers
    assert (headers["x-api-key"], headers["content-encoding"]) == (TOKEN, "gzip")
    assert not [span for span in spans if span["name"] == "run" and "position" in str(span)]
    failed = served.post("/fail", None)
    assert failed.status_code == 500
    assert until(lambda: "ValueError" in json.dumps(served.sink.spans))
    assert "words of its own" not in json.dumps(served.sink.spans)
    before = len(served.sink.traces())
    assert httpx.get(f"{served.server.url}/livez").status_code == 200
    assert served.post("/slow", 0).status_code == 200
    assert len(served.sink.traces()) == before


def kept_here(served: Served) -> None:
    served.squared()
    url = f"{served.server.url}/traces/api/status"
    assert httpx.get(url).status_code == 401
    with httpx.Client(headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        assert until(lambda: client.get(url).json().get("spans"))
        found = client.get(url).json()
    assert (found["max_bytes"], found["max_age_s"]) == (64 * 1024 * 1024, 172_800)
    assert (served.folder / "kept.db").stat().st_mode & 0o777 == 0o600


def two_keys(folder: Path) -> None:
    (folder / "keys").write_text("gateway: key-of-the-gateway\n")


def guarded_by_file(served: Served) -> None:
    page = {"Origin": "https://app.example", "X-Mine": "1"}
    asks = {**page, "Access-Control-Request-Method": "POST"}
    for path in ("/square", "/metrics"):
        assert served.post(path, 3, headers=page).status_code == 401
    for key in ("key-of-the-gateway", "first-of-two-keys"):
        answer = served.post("/square", 3, headers={**page, "X-API-Key": key})
        assert (answer.status_code, answer.json()) == (200, 9)
        assert answer.headers["access-control-allow-origin"] == page["Origin"]
        assert answer.headers["access-control-allow-credentials"] == "true"
    asked = httpx.options(f"{served.server.url}/square", headers=asks)
    assert asked.headers["access-control-max-age"] == "30"
    assert "x-mine" in asked.headers["access-control-allow-headers"]
    assert until(lambda: '"spanserve.key.name": "gateway"' in json.dumps(served.spans()))


def kept(served: Served) -> None:
    served.squared()
    assert served.post("/fail", None).status_code == 500
    assert served.post("/slow", 0.2).status_code == 200
    names = {"POST /fail", "POST /slow"}
    assert until(lambda: names <= {span["name"].replace("post", "POST") for span in served.spans()})
    assert "/square" not in json.dumps(served.sink.spans)


def not_joined(served: Served) -> None:
    answer = served.squared(headers=CALLER)
    assert answer.headers["x-trace-id"] != TRACE_ID
    assert TRACE_ID not in served.sink.traces()
    control = f"{served.server.url}/tracing"
    assert httpx.get(control).status_code == 401
    assert httpx.get(control, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


def guarded(served: Served) -> None:
    assert served.post("/square", 3).status_code == 401
    own = {"X-API-Key": "*k1", "Origin": "https://app.example.com"}
    answer = served.squared(headers=own)
    assert answer.headers["access-control-allow-origin"] == "https://app.example.com"
    assert "x-trace-id" not in answer.headers
    assert served.post("/square", [1] * 100, headers=own).status_code == 413
    assert served.post("/square", 3, headers={**own, "X-Long": "a" * 6000}).status_code == 431
    assert served.post("/slow", 2, headers=own).status_code == 504
    assert (served.folder / "url").read_text() == f"{served.server.url}\n"
    assert httpx.get(f"{served.server.url}/docs").status_code == 401
    assert served.server.url.startswith("http://127.0.0.2:")
    preflight = {**own, "Access-Control-Request-Method": "POST"}
    told = httpx.options(f"{served.server.url}/square", headers=preflight).headers
    assert told["access-control-max-age"] == "7"
    assert told["access-control-allow-credentials"] == "true"
    assert "x-of-page" in told["access-control-allow-headers"].lower()
    log = [json.loads(line) for line in served.server.log]
    assert any("POST /square" in json.dumps(entry) for entry in log)
    paths = httpx.get(f"{served.server.url}/openapi.json", headers=own).json()
    assert paths["servers"] == [{"url": "/models/a"}]


def by_tls(served: Served) -> None:
    assert served.server.url.startswith("https://")
    assert served.squared().status_code == 200
    served.spans()


def by_workers(served: Served) -> None:
    served.squared()
    assert not served.server.url.endswith(":8000")

    def up() -> int:
        metrics = metrics_of(httpx.get(f"{served.server.url}/metrics").text)
        return len([name for name in metrics if name.startswith("spanserve_worker_up")])

    assert until(lambda: up() == 2)
    served.spans()


def in_replicas(served: Served) -> None:
    served.squared()
    replicas = httpx.get(f"{served.server.url}/metadata").json()["runner"]["replicas"]
    environments = [Path(f"/proc/{each['pid']}/environ").read_bytes() for each in replicas]
    devices = [re.search(rb"MY_GPU=(\w+)", each) for each in environments]
    assert [found and found[1] for found in devices] == [b"4", b"5"]
    hung = served.post("/slow", 60, timeout=30)
    assert (hung.status_code, hung.json()["code"]) == (503, "runner_gone")
    assert "lasted longer than 0.5 s (runner.hang_after_s)" in hung.json()["message"]
    served.squared()
    served.spans(2)


def batched(served: Served) -> None:
    served.squared()
    served.spans()
    metadata = httpx.get(f"{served.server.url}/metadata").json()
    [square] = [each for each in metadata["endpoints"] if each["route"] == "/square"]
    said = [square[key] for key in ("max_batch_size", "max_latency_ms", "max_queue")]
    assert said == [3, 7.5, 11]


def delivered(served: Served) -> None:
    served.squared()
    served.spans()


def with_header(served: Served) -> None:
    delivered(served)
    assert served.sink.headers[0]["x-api-key"] == TOKEN


def by_udp(served: Served) -> None:
    delivered(served)
    assert served.sink.batches[0].service_name == "Probe"


def printed(served: Served) -> None:
    served.squared()
    file = served.folder / "traces.txt"
    assert until(lambda: file.is_file() and "POST /square" in file.read_text())
    assert "\x1b[" in file.read_text()


def as_resource(served: Served) -> None:
    served.squared()
    resource = served.spans()[0]["resource"]
    assert (resource["service.name"], resource["team"]) == ("digits", "ml ops")


def limits_said(served: Served) -> None:
    assert served.logs("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT is not read: it is no whole number")
    assert served.post("/sent_on", None).status_code == 200
    assert until(lambda: "call" in {span["name"] for span in served.spans()})


def limits_kept(served: Served) -> None:
    assert served.post("/sent_on", None).status_code == 200
    assert until(lambda: [s for s in served.spans() if s["name"] == "call"])
    [call] = [span for span in served.spans() if span["name"] == "call"]
    assert len({"a", "b"} & set(call["tags"])) == 1


def off_is_said(served: Served) -> None:
    served.squared()
    words = "OTEL_EXPORTER_OTLP_ENDPOINT is set, and tracing is off: `tracing.type: otel` would"
    assert served.logs(words)
    assert served.sink.requests == 0


def with_config(folder: Path) -> None:
    (folder / "c.yml").write_text(
        "tracing:\n  type: zipkin\n  keep:\n  zipkin: {url: '${WHERE}'}\n"
    )


def with_certificate(folder: Path) -> None:
    new_certificate(folder, "cert.pem", "key.pem")


def with_keys(folder: Path) -> None:
    (folder / "keys").write_text("name: *k1\n")


def tls_zipkin(folder: Path) -> ZipkinSink:
    new_certificate(folder, "ca.pem", "ca.key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca.pem", folder / "ca.key")
    return ZipkinSink(tls=context)


QUEUE: Final = {
    "TRACING__QUEUE__MAX_SPANS": "1000",
    "TRACING__QUEUE__FLUSH_INTERVAL_MS": "10",
    "TRACING__QUEUE__MAX_EXPORT_SPANS": "100",
    "TRACING__QUEUE__RETRY_FOR_S": "0.5",
    "TRACING__QUEUE__HANG_AFTER_S": "9",
    "TRACING__QUEUE__FLUSH_TIMEOUT_S": "1",
}
OTLP: Final = {"TRACING__TYPE": "otel", "TRACING__OTEL__EXPORTER": "otlp_proto_http"}
CASES: Final = (
    Case(
        "zipkin",
        {
            **ZIPKIN,
            **QUEUE,
            "TRACING__ZIPKIN__HEADERS__X_API_KEY": TOKEN,
            "TRACING__ZIPKIN__TIMEOUT_S": "2.5",
            "TRACING__ZIPKIN__COMPRESSION": "gzip",
            "TRACING__SERVICE_NAME": "shop",
            "TRACING__EXPORTER": "thread",
            "TRACING__BATCH_SPANS": "linked",
            "TRACING__EXCEPTIONS": "type",
            "TRACING__EXCLUDED_URLS": "/slow,/livez",
        },
        sent_to_zipkin,
    ),
    Case(
        "keys and pages",
        {
            **ZIPKIN,
            "SERVER__AUTH__KEYS": "first-of-two-keys,second-of-two-keys",
            "SERVER__AUTH__KEY_FILE": "FOLDER/keys",
            "SERVER__AUTH__GUARD": "metrics",
            "SERVER__CORS__ORIGINS": "https://app.example",
            "SERVER__CORS__HEADERS": "X-Mine",
            "SERVER__CORS__CREDENTIALS": "true",
            "SERVER__CORS__MAX_AGE_S": "30",
        },
        guarded_by_file,
        files=two_keys,
    ),
    Case(
        "keep",
        {
            **ZIPKIN,
            "TRACING__SAMPLE_RATE": "0",
            "TRACING__KEEP__ERRORS": "true",
            "TRACING__KEEP__SLOWER_THAN_MS": "100",
        },
        kept,
    ),
    Case(
        "trust and control",
        {**ZIPKIN, "TRACING__TRUST_INCOMING": "off", "TRACING__CONTROL__TOKEN": TOKEN},
        not_joined,
    ),
    Case(
        "server",
        {
            **ZIPKIN,
            "SERVER__HOST": "127.0.0.2",
            "SERVER__URL_FILE": "FOLDER/url",
            "SERVER__LOAD_TIMEOUT_S": "60",
            "SERVER__MAX_REQUEST_BYTES": "100",
            "SERVER__REQUEST_TIMEOUT_MS": "900",
            "SERVER__DRAIN_DELAY_S": "0.1",
            "SERVER__DRAIN_TIMEOUT_S": "3",
            "SERVER__HANG_AFTER_S": "30",
            "SERVER__KEEP_ALIVE_TIMEOUT_S": "20",
            "SERVER__HEADER_TIMEOUT_S": "9",
            "SERVER__BODY_TIMEOUT_S": "9",
            "SERVER__MAX_HEADER_BYTES": "5000",
            "SERVER__MAX_BUFFERED_BYTES": "10000000",
            "SERVER__MAX_JSON_BYTES": "50000",
            "SERVER__TRACE_HEADERS": "false",
            "SERVER__ACCESS_LOG": "yes",
            "SERVER__ROOT_PATH": "/models/a",
            "SERVER__PROXY_HEADERS": "true",
            "SERVER__AUTH__KEYS": "*k1",
            "SERVER__AUTH__GUARD": "docs",
            "SERVER__CORS__ORIGINS": "https://app.example.com",
            "SERVER__CORS__HEADERS": "X-Of-Page",
            "SERVER__CORS__CREDENTIALS": "true",
            "SERVER__CORS__MAX_AGE_S": "7",
            "LOGGING__LEVEL": "debug",
            "LOGGING__FORMAT": "json",
        },
        guarded,
    ),
    Case(
        "tls",
        {
            **ZIPKIN,
            "SERVER__SSL_CERTFILE": "FOLDER/cert.pem",
            "SERVER__SSL_KEYFILE": "FOLDER/key.pem",
        },
        by_tls,
        files=with_certificate,
    ),
    Case(
        "local",
        {
            "TRACING__TYPE": "local",
            "TRACING__LOCAL__PATH": "FOLDER/kept.db",
            "TRACING__LOCAL__MAX_BYTES": "64MiB",
            "TRACING__LOCAL__MAX_AGE": "2d",
            "TRACING__LOCAL__TOKEN": TOKEN,
        },
        kept_here,
        nullcontext,
    ),
    Case("workers", {**ZIPKIN, "SERVER__WORKERS": "2", "SERVER__PORT": "0"}, by_workers),
    Case(
        "replicas",
        {
            **ZIPKIN,
            "RUNNER__TYPE": "process",
            "RUNNER__REPLICAS": "2",
            "RUNNER__IN_FLIGHT": "2",
            "RUNNER__DEVICES": "4,5",
            "RUNNER__DEVICE_VARIABLE": "MY_GPU",
            "RUNNER__HANG_AFTER_S": "0.5",
        },
        in_replicas,
    ),
    Case(
        "batching",
        {
            **ZIPKIN,
            "BATCHING__MAX_BATCH_SIZE": "3",
            "BATCHING__MAX_LATENCY_MS": "7.5",
            "BATCHING__MAX_QUEUE": "11",
        },
        batched,
    ),
    Case(
        "jaeger by UDP",
        {
            "TRACING__TYPE": "jaeger",
            "TRACING__JAEGER__ADDRESS": "127.0.0.1",
            "TRACING__JAEGER__PORT": "PORT",
        },
        by_udp,
        ThriftSink,
    ),
    Case(
        "jaeger by OTLP",
        {
            "TRACING__TYPE": "jaeger",
            "TRACING__JAEGER__PROTOCOL": "otlp-http",
            "TRACING__JAEGER__ENDPOINT": "http://127.0.0.1:PORT",
            "TRACING__JAEGER__HEADERS__X_API_KEY": TOKEN,
        },
        with_header,
        OtlpHttpSink,
    ),
    Case(
        "console",
        {
            "TRACING__TYPE": "console",
            "TRACING__CONSOLE__OUTPUT": "FOLDER/traces.txt",
            "TRACING__CONSOLE__COLOUR": "always",
        },
        printed,
        nullcontext,
    ),
    Case(
        "otel, all in variables",
        {
            **OTLP,
            "TRACING__OTEL__OPTIONS__ENDPOINT": "http://127.0.0.1:PORT/v1/traces",
            "TRACING__OTEL__OPTIONS__HEADERS__X_API_KEY": TOKEN,
            "TRACING__OTEL__OPTIONS__COMPRESSION": "gzip",
            "TRACING__OTEL__OPTIONS__TIMEOUT": "3",
        },
        with_header,
        OtlpHttpSink,
    ),
    Case(
        "otel, by OpenTelemetry's variables",
        {
            "TRACING__TYPE": "otel",
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:PORT",
            "OTEL_SERVICE_NAME": "digits",
            "OTEL_RESOURCE_ATTRIBUTES": "service.name=other,team=ml%20ops",
        },
        as_resource,
        OtlpHttpSink,
    ),
    Case(
        "otel, by gRPC",
        {
            "TRACING__TYPE": "otel",
            "TRACING__OTEL__OPTIONS": "{compression: gzip, headers: 'X-API-Key=k', insecure: true}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:PORT",
        },
        delivered,
        OtlpGrpcSink,
    ),
    Case(
        "an exporter is asked for, and tracing is off",
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:PORT"},
        off_is_said,
        OtlpHttpSink,
    ),
    Case("a limit that is none", {**ZIPKIN, "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "abc"}, limits_said),
    Case("a limit", {**ZIPKIN, "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "1"}, limits_kept),
    Case(
        "a file",
        {"SPANSERVE_CONFIG": "FOLDER/c.yml", "WHERE": "SINK"},
        delivered,
        files=with_config,
    ),
)


@pytest.fixture
def service(tmp_path: Path) -> Path:
    (tmp_path / "service.py").write_text(SERVICE)
    return tmp_path / "service.py"


def run(case: Case, service: Path, sink: Any) -> Iterator[Served]:
    folder = service.parent
    places = {
        "SINK": getattr(sink, "url", ""),
        "PORT": str(getattr(sink, "port", "")),
        "FOLDER": str(folder),
    }
    environment = {
        name: re.sub("SINK|PORT|FOLDER", lambda found: places[found[0]], value)
        for name, value in case.full.items()
    }
    command = [sys.executable, "-m", "spanserve", "serve", str(service)]
    environment.setdefault("SPANSERVE__SERVER__PORT", "0")
    with server_by(command, env=environment, wait=False) as server:
        yield Served(server, sink, folder)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_the_docs_name_reaches_a_server_that_serves(case: Case, service: Path) -> None:
    if case.files:
        case.files(service.parent)
    with case.sink() as sink:
        for served in run(case, service, sink):
            assert served.logs("ready"), served.server.text()
            case.seen(served)


def test_a_certificate_of_its_own_is_what_zipkin_is_checked_by(service: Path) -> None:
    variables = {**ZIPKIN, "TRACING__ZIPKIN__CA_FILE": "FOLDER/ca.pem"}
    with tls_zipkin(service.parent) as sink:
        for served in run(Case("ca", variables, delivered), service, sink):
            assert served.logs("ready"), served.server.text()
            delivered(served)


@pytest.mark.parametrize(
    ("asked", "headers"),
    [
        ("b3", {"b3"}),
        ("b3multi", {"x-b3-traceid", "x-b3-spanid", "x-b3-sampled"}),
        ("jaeger", {"uber-trace-id"}),
        ("tracecontext,baggage,b3", {"traceparent", "b3"}),
        ("datadog,b3", {"b3"}),
    ],
)
def test_every_propagator_works_with_a_tracer(asked: str, headers: set[str], service: Path) -> None:
    case = Case("propagators", {**ZIPKIN, "OTEL_PROPAGATORS": asked}, delivered)
    with ZipkinSink() as sink:
        for served in run(case, service, sink):
            assert served.logs("ready"), served.server.text()
            answer = served.post("/sent_on", None)
            sent = {way: {n.lower() for n in names} for way, names in answer.json().items()}
            assert sent == {"spanserve": headers, "otel": headers}
            assert ("'datadog', which spanserve" in served.server.text()) == ("datadog" in asked)
            served.spans()


@pytest.mark.parametrize("asked", ["b3", "datadog"])
def test_every_propagator_works_without_a_tracer(asked: str, service: Path) -> None:
    with nullcontext() as nobody:
        for served in run(Case("none", {"OTEL_PROPAGATORS": asked}, delivered), service, nobody):
            assert served.logs("ready"), served.server.text()
            assert served.post("/sent_on", None).status_code == 200
            assert "Traceback" not in served.server.text()


def documented() -> dict[str, str]:
    """The keys of the reference, as variables, with their defaults."""
    reference = (ROOT / "docs" / "reference" / "configuration.md").read_text()
    rows = re.findall(r"^\| `([a-z_.]+)` \| .* \| `?(.*?)`? \| .* \|$", reference, re.MULTILINE)
    assert len(rows) > 50
    return {PREFIX + key.upper().replace(".", "__"): default for key, default in rows}


def driven() -> set[str]:
    """The variables of the cases above, by which more than the start is seen to count."""
    by_themselves = {"SPANSERVE__TRACING__ZIPKIN__CA_FILE", "OTEL_PROPAGATORS"}
    return {name for case in CASES for name in case.full} | by_themselves


def left_out() -> dict[str, str]:
    """The keys of no case, with their defaults."""
    names = driven()
    return {
        key: default
        for key, default in documented().items()
        if not any(name.startswith(key) for name in names)
    }


def test_keys_of_no_case_of_their_own_are_served_with_as_they_are_by_default(service: Path) -> None:
    said = {key: default for key, default in left_out().items() if default not in {"null", "empty"}}
    with ZipkinSink() as sink:
        for served in run(Case("rest", {**ZIPKIN, **said}, delivered), service, sink):
            assert served.logs("ready"), served.server.text()
            delivered(served)


def test_no_key_and_no_variable_of_the_docs_is_left_out() -> None:
    """What has no default that could be said needs a case."""
    assert {key for key, default in left_out().items() if default in {"null", "empty"}} == {
        "SPANSERVE__TRACING__PROPAGATORS"  # by OTEL_PROPAGATORS
    }
    texts = [page.read_text() for page in (ROOT / "docs").rglob("*.md")]
    named = {each for text in texts for each in re.findall(r"\b(?:OTEL|SPANSERVE)_[A-Z_]+", text)}
    # Two are the server's to set, one is an example.
    told = {"SPANSERVE_WORKER", "SPANSERVE_REPLICA", "SPANSERVE_DOCS_KEY"}
    keys = set(documented())
    names = {each for each in named - told - keys if not each.endswith("_")}
    # What a service declares for itself, `test_service_settings` serves with.
    names = {each for each in names if not each.startswith("SPANSERVE__SERVICE__")}
    assert {each for each in names if not any(name.startswith(each) for name in driven())} == set()
