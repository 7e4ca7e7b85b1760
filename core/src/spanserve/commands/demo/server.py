"""The demo's server: a real one, on a thread and a port of its own."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

import uvicorn

from spanserve.commands.demo.traces import NAME, Collector, Traces, as_tracer
from spanserve.config.load import Loaded
from spanserve.errors import SpanserveError
from spanserve.server.app import create_app
from spanserve.server.process.listening import listening_socket
from spanserve.server.worker import resource_of
from spanserve.service.bundle.load import LoadedService
from spanserve.tracing.plugins.registry import LoadedTracer
from spanserve.tracing.tracing import Tracing

CLOSE_WITHIN_S: Final = 5


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of one tracer's spans; `sent` is None where it takes none, but looks on."""

    name: str
    target: str
    sent: int | None = None
    dropped: dict[str, int] = field(default_factory=dict)


class DemoServer:
    """Serves inside its `with`; afterwards it is gone, and all spans are delivered.

    `traces` and `deliveries` are known after the `with`; `trace_urls_elsewhere` is asked inside.
    """

    def __init__(
        self, loaded: Loaded, service: LoadedService, tracers: Sequence[LoadedTracer]
    ) -> None:
        config = loaded.config
        self._listener = listening_socket(config.server)
        self.url = f"http://{config.server.host}:{self._listener.getsockname()[1]}"
        self._collector = Collector()
        self._tracing = Tracing(
            (*tracers, as_tracer(self._collector)), config.tracing, resource_of(config, service)
        )
        self._started = False
        self._settled = threading.Event()
        app = create_app(config, service, self._tracing, on_ready=self._now_ready, url=self.url)
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="on",
                ws="none",
                server_header=False,
                timeout_graceful_shutdown=CLOSE_WITHIN_S,
            )
        )
        self._thread = threading.Thread(target=self._serve, name="spanserve-demo", daemon=True)

    @property
    def traces(self) -> Traces:
        """All that was recorded."""
        return Traces(self._collector.spans)

    def trace_urls_elsewhere(self, trace_ids: Sequence[str]) -> dict[str, str]:
        """Return where a person can look at these traces after this server is gone."""
        urls = ((trace_id, self._tracing.trace_url(trace_id)) for trace_id in trace_ids)
        return {
            trace_id: url for trace_id, url in urls if url and not url.startswith(f"{self.url}/")
        }

    @property
    def deliveries(self) -> list[Delivery]:
        """What became of the spans of each tracer of the configuration."""
        counters = {each.name: each.counters for each in self._tracing.exporters}
        return [
            Delivery(
                tracer.name,
                tracer.target,
                counted.delivered + counted.unconfirmed,
                {why.value: count for why, count in counted.dropped.items() if count},
            )
            if (counted := counters.get(tracer.name))
            else Delivery(tracer.name, tracer.target)
            for tracer in self._tracing.tracers
            if tracer.name != NAME
        ]

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._await_start()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    def _close(self) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._listener.close()

    def _await_start(self) -> None:
        self._settled.wait()
        if not self._started:
            raise SpanserveError("the demo's server did not start; the log says why")

    def _now_ready(self) -> None:
        self._started = True
        self._settled.set()

    def _serve(self) -> None:
        try:
            self._server.run(sockets=[self._listener])
        finally:
            self._settled.set()
