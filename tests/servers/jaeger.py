"""Jaeger's own servers, all in one process with storage in memory: v2, and v1 with its agent."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Final, Literal

from servers.process import HOST, free_ports, serving
from servers.releases import JAEGER1, JAEGER2, fetch

_CONFIG: Final = Path(__file__).with_name("jaeger2.yaml")

# OpenTelemetry's own switch: Jaeger would trace its own query API into what it stores.
_NO_SELF_TRACING: Final = {"OTEL_TRACES_SAMPLER": "always_off"}


@dataclass(frozen=True)
class JaegerPorts:
    """Every port that a Jaeger listens on."""

    query_http: int
    query_grpc: int
    health: int
    health_grpc: int
    otlp_http: int
    otlp_grpc: int
    thrift_compact: int
    thrift_binary: int
    thrift_http: int
    jaeger_grpc: int
    zipkin: int
    sampling: int
    old_zipkin_udp: int

    @classmethod
    def free(cls) -> "JaegerPorts":
        """Choose them."""
        return cls(*free_ports(len(fields(cls))))


@dataclass(frozen=True)
class JaegerServer:
    """Where a running Jaeger is; `udp` addresses are of Thrift's compact protocol."""

    program: Path
    folder: Path
    major: Literal[1, 2]
    ports: JaegerPorts

    @property
    def name(self) -> str:
        """Its name among the releases."""
        return (JAEGER2 if self.major == 2 else JAEGER1).name

    @property
    def version(self) -> str:
        """Its version."""
        return (JAEGER2 if self.major == 2 else JAEGER1).version

    @property
    def url(self) -> str:
        """The base of its query API."""
        return f"http://{HOST}:{self.ports.query_http}"

    @property
    def udp_host(self) -> str:
        """The value of `tracing.jaeger.address`."""
        return HOST

    @property
    def udp_port(self) -> int:
        """The value of `tracing.jaeger.port`."""
        return self.ports.thrift_compact

    @property
    def otlp_http(self) -> str:
        """The value of `tracing.jaeger.endpoint` for `protocol: otlp-http`."""
        return f"http://{HOST}:{self.ports.otlp_http}"

    @property
    def otlp_grpc(self) -> str:
        """The value of `tracing.jaeger.endpoint` for `protocol: otlp-grpc`."""
        return f"http://{HOST}:{self.ports.otlp_grpc}"

    @property
    def spans_url(self) -> str:
        """Where Zipkin's spans are posted: Jaeger takes them, too."""
        return f"http://{HOST}:{self.ports.zipkin}/api/v2/spans"

    @property
    def addresses(self) -> Mapping[str, str]:
        """What a person wants to know, by what it is."""
        return {
            "query API": f"{self.url}/api/v3/services",
            "Thrift over UDP": f"{HOST}:{self.udp_port}",
            "OTLP over HTTP": self.otlp_http,
            "OTLP over gRPC": self.otlp_grpc,
            "Zipkin spans": self.spans_url,
        }

    @property
    def log(self) -> Path:
        """What it prints."""
        return self.folder / f"{self.name}.log"

    @property
    def command(self) -> Sequence[str]:
        """How it is started; only loopback connections are accepted."""
        if self.major == 2:
            return [str(self.program), "--config", str(_CONFIG)]
        flags = {
            "query.http-server": self.ports.query_http,
            "query.grpc-server": self.ports.query_grpc,
            "admin.http": self.ports.health,
            "collector.otlp.http": self.ports.otlp_http,
            "collector.otlp.grpc": self.ports.otlp_grpc,
            "collector.http-server": self.ports.thrift_http,
            "collector.grpc-server": self.ports.jaeger_grpc,
            "collector.zipkin": self.ports.zipkin,
            "http-server": self.ports.sampling,
            "processor.jaeger-compact.server": self.ports.thrift_compact,
            "processor.jaeger-binary.server": self.ports.thrift_binary,
            "processor.zipkin-compact.server": self.ports.old_zipkin_udp,
        }
        options = [
            f"--{flag}{'-' if flag.endswith('.server') else '.'}host-port={HOST}:{port}"
            for flag, port in flags.items()
        ]
        return [str(self.program), *options]

    @property
    def environ(self) -> Mapping[str, str]:
        """How it is configured: for v2, the ports that its config file names."""
        names = [f"{field.name.upper()}_PORT" for field in fields(self.ports)]
        ports = dict(zip(names, map(str, astuple(self.ports)), strict=True))
        return {**_NO_SELF_TRACING, **(ports if self.major == 2 else {})}

    @property
    def ready_urls(self) -> Sequence[str]:
        """What answers once it can be used."""
        health = f"http://{HOST}:{self.ports.health}"
        return [f"{health}/status" if self.major == 2 else health, f"{self.url}/api/v3/services"]


def jaeger_server(
    major: Literal[1, 2] = 2,
    *,
    deadline_s: float = 60.0,
    keep_log: Callable[[], bool] = lambda: False,
) -> AbstractContextManager[JaegerServer]:
    """Run Jaeger, built first where need be; raises ServersError where it does not start."""
    program = fetch(JAEGER2 if major == 2 else JAEGER1)
    return serving(
        lambda folder: JaegerServer(program, folder, major, JaegerPorts.free()),
        deadline_s=deadline_s,
        keep_log=keep_log,
    )
