"""A server in a thread of the test's process, on a port of this machine."""

import asyncio
import os
import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import uvicorn

from spanserve.config.load import Loaded, load_mapping
from spanserve.config.load import load as load_config
from spanserve.config.service_settings import settings_of
from spanserve.server.app import App, create_app
from spanserve.server.process.listening import listening_socket
from spanserve.server.process.options import uvicorn_config
from spanserve.server.worker import resource_of
from spanserve.service.bundle.activation import Home
from spanserve.service.bundle.load import LoadedService
from spanserve.service.bundle.load import load as load_service
from spanserve.service.service import service_spec
from spanserve.testing.traces import Keeper
from spanserve.tracing.plugins.loading import LoadedTracer, opened
from spanserve.tracing.plugins.registry import load_plugin
from spanserve.tracing.tracing import Tracing

_TESTS: Final = "the test"
_FLUSH_MS: Final = 1
_UNREAD: Final = ("SPANSERVE_", "OTEL_")
"""What the variables that would be read for a server, and not for a test, begin with."""


TestedTracer = object | tuple[object, Mapping[str, Any]]
"""An object with hooks, or a name as in `tracing.type`; in a pair with its settings."""


class ImportedService(LoadedService):
    """A service whose class is there already, wherever it was defined."""

    def instantiate(self) -> Any:
        """Make the service."""
        return self.spec.make(self.settings)


def service_of(service: type[Any] | str | Path) -> LoadedService:
    """Return a service: a class, or a file, module:Class or bundle's folder."""
    if not isinstance(service, type):
        return load_service(str(service))
    spec = service_spec(service)
    root = Path.cwd()
    return ImportedService(
        spec=spec,
        name=spec.name,
        version=None,
        requirements=(),
        root=root,
        target=f"{service.__module__}:{service.__qualname__}",
        home=Home(root, root, frozenset()),
        modules={},
    )


def config_of(config: Mapping[str, Any] | str | Path | None) -> Loaded:
    """Return a configuration: of a mapping, or of a file, that may have variables in it."""
    if config is None or isinstance(config, Mapping):
        return load_mapping(config or {}, "the test's config")
    environ = {key: os.environ[key] for key in os.environ if not key.startswith(_UNREAD)}
    return load_config(Path(config), environ, {})


class RunningServer:
    """The real app, batcher and runner, behind a real listener; `start` to `stop`.

    Tracers that the configuration names are left out: `tracers` are told of spans, and `keeper`
    keeps all of them.
    """

    def __init__(
        self,
        service: type[Any] | str | Path,
        config: Mapping[str, Any] | str | Path | None,
        tracers: Sequence[TestedTracer],
    ) -> None:
        self.keeper = Keeper()
        loaded = config_of(config)
        found = service_of(service)
        settings = settings_of(
            found.spec.settings_model, loaded.config.service, loaded.sources, service=found.name
        )
        place = loaded.config.server.model_copy(update={"host": "127.0.0.1", "port": 0})
        tracing = loaded.config.tracing
        if "tracing.queue.flush_interval_ms" not in _given(loaded):
            queue = tracing.queue.model_copy(update={"flush_interval_ms": _FLUSH_MS})
            tracing = tracing.model_copy(update={"queue": queue})
        self.config = loaded.config.model_copy(update={"server": place, "tracing": tracing})
        self._tracing = Tracing(
            [_object("testing", self.keeper, {}), *map(_tracer, tracers)],
            tracing,
            resource_of(self.config, found),
        )
        self.service = found.with_settings(settings)
        self.port = 0
        self._thread: threading.Thread
        self._decided = threading.Event()
        self._failure: BaseException | None = None
        self._server: uvicorn.Server | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        scheme = "https" if self.config.server.ssl_certfile else "http"
        return f"{scheme}://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Return once it is ready; raises what keeps it from that."""
        app = create_app(self.config, self.service, self._tracing)
        listener = listening_socket(self.config.server)
        self.port = int(listener.getsockname()[1])
        self._thread = threading.Thread(
            target=self._run, args=(app, listener), name="spanserve-testing"
        )
        self._thread.start()
        self._decided.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure

    def stop(self) -> None:
        """Finish what was accepted, and return once all has ended."""
        if self._server is not None:
            self._server.should_exit = True
        self._thread.join()

    def _run(self, app: App, listener: socket.socket) -> None:
        config = uvicorn_config(self.config, app, None)
        with listener, asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            try:
                runner.run(self._serve(app, config, listener))
            except BaseException as error:  # noqa: BLE001  # raised again where the test waits
                self._failure = error
            finally:
                self._decided.set()

    async def _serve(self, app: App, config: uvicorn.Config, listener: socket.socket) -> None:
        async with app.router.lifespan_context(app) as state:
            self._server = _Server(config, self._decided, dict(state or {}))
            await self._server.serve([listener])


class _Server(uvicorn.Server):
    """Says when it listens."""

    def __init__(
        self, config: uvicorn.Config, listens: threading.Event, state: Mapping[str, Any]
    ) -> None:
        super().__init__(config)
        self._listens = listens
        self._state = state

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.lifespan.state.update(self._state)
        await super().startup(sockets)
        self._listens.set()


def _tracer(given: object) -> LoadedTracer:
    """Return a tracer under test: an object with hooks or a name, perhaps with its settings."""
    plugin, section = given if isinstance(given, tuple) else (given, {})
    if isinstance(plugin, str):
        return load_plugin(plugin).configured(dict(section), {})
    kind = plugin if isinstance(plugin, type) else type(plugin)
    return _object(kind.__name__.lower(), plugin, section)


def _object(name: str, plugin: object, section: Mapping[str, Any]) -> LoadedTracer:
    tracer = opened(plugin, name, _TESTS, "0").configured(dict(section), {})
    # A process of its own could not find it: it would have to load it by a name.
    return replace(tracer, isolation="thread")


def _given(loaded: Loaded) -> set[str]:
    return {key for key, source in loaded.sources.items() if source.name}
