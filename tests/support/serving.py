"""Real servers for tests: one in a thread of this process, and one in a process of its own."""

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import httpx
import uvicorn
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from spanserve.config.model import Config
from spanserve.config.service_settings import settings_of
from spanserve.server.app import create_app
from spanserve.server.process.listening import listening_socket
from spanserve.server.process.options import http_protocol
from spanserve.service.bundle.activation import Home
from spanserve.service.bundle.load import LoadedService, load
from spanserve.service.service import service_spec
from spanserve.tracing.model.clock import Clock, Ids
from spanserve.tracing.model.span import Resource
from spanserve.tracing.plugins.loading import LoadedTracer, opened
from spanserve.tracing.tracing import Tracing

DEADLINE_S = 30.0
"""How long a test waits for what must happen; it fails then."""
GRACE_S = 10.0

TracerLike = LoadedTracer | tuple[str, object, Mapping[str, Any]]


class _LocalService(LoadedService):
    """A service whose class stands in a test: there is no folder to import it from."""

    def instantiate(self) -> Any:
        return self.spec.make(self.settings)


def service_of(cls: type[Any], *, name: str | None = None) -> LoadedService:
    """Return a class with `@service`, defined in a test, as a service that can be served."""
    spec = service_spec(cls)
    root = Path(__file__).parent
    return _LocalService(
        spec=spec,
        name=name or spec.name,
        version=None,
        requirements=(),
        root=root,
        target=f"{cls.__module__}:{cls.__qualname__}",
        home=Home(root, root, frozenset()),
        modules={},
    )


def tracer_of(name: str, plugin: object, settings: Mapping[str, Any]) -> LoadedTracer:
    """Return a tracer's object as the loader would, without an entry point."""
    return opened(plugin, name, "tests", "0").configured(settings, {})


@dataclass(slots=True)
class Serving:
    """A server that runs in a thread."""

    app: FastAPI
    port: int
    tracing: Tracing

    @property
    def url(self) -> str:
        """Return where it is reached."""
        return f"http://127.0.0.1:{self.port}"

    def metrics(self) -> dict[str, float]:
        """Return the samples of `/metrics`, keyed as they are written: `name{label="value"}`."""
        return metrics_of(httpx.get(f"{self.url}/metrics").text)


def metrics_of(text: str) -> dict[str, float]:
    """Parse Prometheus' text format into samples by name and sorted labels."""
    return {
        f"{sample.name}{{{labels}}}" if labels else sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        for labels in [",".join(f'{k}="{v}"' for k, v in sorted(sample.labels.items()))]
    }


class _Server(uvicorn.Server):
    """Says when it is up, or that it never will be."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.decided = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.decided.set()

    def run_thread(self, listener: socket.socket) -> None:
        try:
            self.run([listener])
        except SystemExit:  # how uvicorn says that the start failed
            pass
        finally:
            self.decided.set()


@contextmanager
def serving(
    service: type[Any] | str | LoadedService,
    config: Mapping[str, Any] | Config | None = None,
    *,
    tracers: Sequence[TracerLike] = (),
    clock: Clock | None = None,
    ids: Ids | None = None,
    http: Literal["h11", "httptools"] | None = None,
) -> Iterator[Serving]:
    """Serve in a thread with a loop of its own, on a free port; drained and ended at exit.

    `service` is a class with `@service`, a target for `load`, or a loaded service; a tracer is
    loaded or `(name, plugin object, settings)`; `http` is a protocol of uvicorn's, in place of
    ours. Raises RuntimeError if the start fails.
    """
    config = config if isinstance(config, Config) else Config.model_validate(config or {})
    loaded = _loaded(service)
    settings = settings_of(loaded.spec.settings_model, config.service, {}, service=loaded.name)
    loaded = loaded.with_settings(settings)
    name = config.tracing.service_name or loaded.name
    tracing = Tracing(
        [each if isinstance(each, LoadedTracer) else tracer_of(*each) for each in tracers],
        config.tracing,
        Resource(name, {"service.name": name}),
        clock=clock,
        ids=ids,
    )
    app = create_app(config, loaded, tracing)
    with _running(app, config, http) as port:
        yield Serving(app, port, tracing)


def _loaded(service: type[Any] | str | LoadedService) -> LoadedService:
    if isinstance(service, LoadedService):
        return service
    return load(service) if isinstance(service, str) else service_of(service)


@contextmanager
def _running(app: FastAPI, config: Config, http: Any) -> Iterator[int]:
    place = config.server.model_copy(update={"host": "127.0.0.1", "port": 0})
    with listening_socket(place) as listener:
        port = int(listener.getsockname()[1])
        server = _Server(
            uvicorn.Config(
                app,
                http=http or http_protocol(),
                log_config=None,
                access_log=False,
                lifespan="on",
                ws="auto",
                server_header=False,
                root_path=config.server.root_path,
                proxy_headers=config.server.proxy_headers,
                timeout_graceful_shutdown=round(config.server.drain_timeout_s),
            )
        )
        thread = threading.Thread(target=server.run_thread, args=(listener,), name="server")
        thread.start()
        try:
            assert server.decided.wait(DEADLINE_S), "the server did not start in time"
            if not server.started:
                raise RuntimeError("the server failed to start; its log says why")
            yield port
        finally:
            server.should_exit = True
            thread.join(DEADLINE_S)
            assert not thread.is_alive(), "the server did not stop in time"


_SERVES = re.compile(r'serves (?P<name>.+) on (?P<url>https?://[^\s"]+)')


@dataclass(slots=True)
class SubprocessServer:
    """A process of `spanserve serve`; so far, its `log` on stderr and what it `printed`."""

    process: "subprocess.Popen[str]"
    url: str = ""
    name: str = ""
    log: list[str] = field(default_factory=list)
    printed: list[str] = field(default_factory=list)
    announced: threading.Event = field(default_factory=threading.Event)

    def wait_until_ready(self) -> None:
        """Wait for the line that says where it serves, and then until it is ready."""
        assert self.announced.wait(DEADLINE_S), self.text()
        assert self.url, self.text()
        assert until(self._ready), self.text()

    def text(self) -> str:
        """Return all of its log."""
        return "".join(self.log)

    def stop(self, number: int) -> int:
        """Send a signal, and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)

    def follow(self, stderr: IO[str]) -> None:
        """Read the log to its end."""
        for line in stderr:
            self.log.append(line)
            if not self.url and (found := _SERVES.search(line)):
                self.name, self.url = found["name"], found["url"]
                self.announced.set()
        self.announced.set()

    def keep(self, stdout: IO[str]) -> None:
        """Read what it prints to its end."""
        self.printed.extend(stdout)

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz").status_code == 200
        except httpx.TransportError:
            assert self.process.poll() is None, self.text()
            return False


def end(process: "subprocess.Popen[str]") -> None:
    """Tell a process to stop, so that it stops what it started too; kill it where it does not."""
    process.terminate()
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def closed_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def refusing_port() -> Iterator[int]:
    """Give a port at which connections are refused, and that nobody else gets meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield int(bound.getsockname()[1])


def children_of(pid: int) -> list[int]:
    """Return the ids of a process's own processes."""
    threads = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for thread in threads for child in thread.read_text().split()]


def workers_of(pid: int) -> list[int]:
    """Return the ids of a supervisor's workers: `multiprocessing` has a process of its own, too."""
    commands = {child: Path(f"/proc/{child}/cmdline").read_bytes() for child in children_of(pid)}
    return [child for child, command in commands.items() if b"--multiprocessing-fork" in command]


def signal_to(pid: int, number: int) -> None:
    """Send a signal to a process that this one started, itself or through others; to no other."""
    _began(pid)
    os.kill(pid, number)


def signal_to_group(pid: int, number: int) -> None:
    """Send a signal to all processes of the group that such a process leads."""
    _began(pid)
    assert os.getpgid(pid) == pid, f"{pid} leads no group"
    os.killpg(pid, number)


def _began(pid: int) -> None:
    parent = pid
    while parent > 1 and parent != os.getpid():
        found = subprocess.run(
            ["ps", "-o", "ppid=", "-p", str(parent)], capture_output=True, text=True, check=False
        )
        parent = int(found.stdout or 0)
    assert parent == os.getpid() != pid, f"{pid} is not a process that these tests started"


def until(happened: Any, deadline_s: float = DEADLINE_S) -> bool:
    """Ask again and again, for what cannot be waited for, until it happened or it is too late."""
    pause = threading.Event()
    for _ in range(int(deadline_s / 0.02)):
        if happened():
            return True
        pause.wait(0.02)
    return False


def lives(pid: int) -> bool:
    """Whether a process runs, and does not only wait for its parent to ask for its exit code."""
    command = ["ps", "-o", "stat=", "-p", str(pid)]
    state = subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")


@contextmanager
def subprocess_server(
    *args: str,
    env: Mapping[str, str] | None = None,
    wait: bool = True,
    python: str | Path = sys.executable,
) -> Iterator[SubprocessServer]:
    """Run `python -m spanserve serve *args` on a free port; ended at exit if it still runs.

    `python` is the interpreter of another environment. With `wait=False` it is yielded at once,
    for a start that fails.
    """
    command = [str(python), "-m", "spanserve", "serve", *args]
    if "--port" not in args:
        command += ["--port", "0"]
    with server_by(command, env=env, wait=wait) as server:
        yield server


@contextmanager
def server_by(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    wait: bool = True,
    own_group: bool = False,
) -> Iterator[SubprocessServer]:
    """Run a command that becomes a server, as `subprocess_server` does.

    In its `own_group`, signals can be sent to all of its processes at once.
    """
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("SPANSERVE", "OTEL"))}
    with subprocess.Popen(
        command,
        cwd=cwd,
        env={**clean, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=own_group,
    ) as process:
        server = SubprocessServer(process)
        assert process.stderr is not None
        assert process.stdout is not None
        readers = [
            threading.Thread(target=server.follow, args=(process.stderr,)),
            threading.Thread(target=server.keep, args=(process.stdout,)),
        ]
        for reader in readers:
            reader.start()
        try:
            if wait:
                server.wait_until_ready()
            yield server
        finally:
            end(process)
            for reader in readers:
                reader.join(DEADLINE_S)
