"""Zipkin's own server, with storage in memory."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from servers.process import HOST, free_ports, serving
from servers.releases import ZIPKIN, fetch


@dataclass(frozen=True)
class ZipkinServer:
    """Where a running Zipkin is: everything is on one port."""

    jar: Path
    folder: Path
    port: int

    name = ZIPKIN.name
    version = ZIPKIN.version
    major = 3

    @property
    def url(self) -> str:
        """The base of its API, and its web page's."""
        return f"http://{HOST}:{self.port}"

    @property
    def spans_url(self) -> str:
        """Where spans are posted: the value of `tracing.zipkin.url`."""
        return f"{self.url}/api/v2/spans"

    @property
    def addresses(self) -> Mapping[str, str]:
        """What a person wants to know, by what it is."""
        return {"web page, query API": f"{self.url}/zipkin/", "tracing.zipkin.url": self.spans_url}

    @property
    def log(self) -> Path:
        """What it prints."""
        return self.folder / "zipkin.log"

    @property
    def command(self) -> Sequence[str]:
        """How it is started; only loopback connections are accepted."""
        listen = "--armeria.ports[0]"
        return [
            *("java", "-Xmx512m", "-jar", str(self.jar)),
            *(f"{listen}.ip={HOST}", f"{listen}.port={self.port}", f"{listen}.protocols[0]=http"),
        ]

    @property
    def environ(self) -> Mapping[str, str]:
        """How it is configured."""
        return {"STORAGE_TYPE": "mem", "SELF_TRACING_ENABLED": "false"}

    @property
    def ready_urls(self) -> Sequence[str]:
        """What answers once it can be used."""
        return [f"{self.url}/health"]


def zipkin_server(
    *, deadline_s: float = 90.0, keep_log: Callable[[], bool] = lambda: False
) -> AbstractContextManager[ZipkinServer]:
    """Run Zipkin, fetched first where need be; raises ServersError where it does not start."""
    jar = fetch(ZIPKIN)
    return serving(
        lambda folder: ZipkinServer(jar, folder, *free_ports(1)),
        deadline_s=deadline_s,
        keep_log=keep_log,
    )
