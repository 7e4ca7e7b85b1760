"""`client` and `async_client`: a served service to ask in a test, with the traces it made.

The whole server runs in this process, so that breakpoints stop in the service's code: the app, the
batcher, the runner and the HTTP protocols are those of `spanserve serve`.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

try:
    import httpx
except ImportError as error:  # pragma: no cover - an extra
    raise ImportError("spanserve.testing needs httpx; try: pip install 'spanserve[testing]'") from (
        error
    )

from spanserve.testing.running import RunningServer, TestedTracer
from spanserve.testing.traces import Trace

TRACE_TIMEOUT_S: Final = 10.0
_REQUEST_ID: Final = "x-request-id"
_OPTIONS: Final[Mapping[str, Any]] = {"timeout": None, "trust_env": False, "verify": False}
"""A debugger may stop the server for long, and it is this very process."""

Service = type[Any] | str | Path
Configuration = Mapping[str, Any] | str | Path | None


class Client(httpx.Client):
    """httpx's client of a server of this process; `base_url` is where others can ask it."""

    def __init__(self, server: RunningServer) -> None:
        super().__init__(
            base_url=server.url, timeout=None, trust_env=False, verify=False
        )  # a debugger may stop it; it is this process
        self._running = server

    @property
    def url(self) -> str:
        """Where the server listens, for clients of other kinds."""
        return self._running.url

    def trace(self, response: httpx.Response) -> Trace:
        """Return the trace of the request that this answers, as far as it is the request's own.

        Waits until it was exported; LookupError where that does not come to pass.
        """
        return _trace(self._running, response)

    def traces(self) -> list[Trace]:
        """Return all traces that were exported so far: requests, batches, the start."""
        return self._running.keeper.traces()


class AsyncClient(httpx.AsyncClient):
    """The same for tests that are async; the server's event loop is another one."""

    def __init__(self, server: RunningServer) -> None:
        super().__init__(
            base_url=server.url, timeout=None, trust_env=False, verify=False
        )  # as above
        self._running = server

    @property
    def url(self) -> str:
        """Where the server listens, for clients of other kinds."""
        return self._running.url

    async def trace(self, response: httpx.Response) -> Trace:
        """Return the trace of the request that this answers, as far as it is the request's own.

        Waits until it was exported; LookupError where that does not come to pass.
        """
        return await asyncio.to_thread(_trace, self._running, response)

    def traces(self) -> list[Trace]:
        """Return all traces that were exported so far: requests, batches, the start."""
        return self._running.keeper.traces()


@contextmanager
def client(
    service: Service, *, config: Configuration = None, tracers: Sequence[TestedTracer] = ()
) -> Iterator[Client]:
    """Serve a service in this process, and give a client of it: `with client(Digits) as served:`.

    `service` is a class with `@service`, or what `spanserve serve` takes. `config` is a mapping as
    in a config file, or such a file; variables such as `SPANSERVE__SERVER__PORT` do not count, nor
    do the server's `host`, `port` and `workers`, nor the tracers that it names. `tracers` are
    plugins under test: objects with hooks, or names as in `tracing.type`, each alone or in a pair
    with its settings: `tracers=[(Mine, {"url": url})]`. A tracer that exports in a process of its
    own does so where it is given by its name.

    Raises what stops the start: ConfigError, or StartError for what failed in the service's code.
    """
    server = RunningServer(service, config, tracers)
    server.start()
    try:
        with Client(server) as asking:
            yield asking
    finally:
        server.stop()


@asynccontextmanager
async def async_client(
    service: Service, *, config: Configuration = None, tracers: Sequence[TestedTracer] = ()
) -> AsyncIterator[AsyncClient]:
    """Do the same in a test that is async: `async with async_client(Digits) as served:`."""
    server = await asyncio.to_thread(RunningServer, service, config, tracers)
    await asyncio.to_thread(server.start)
    try:
        async with AsyncClient(server) as asking:
            yield asking
    finally:
        await asyncio.to_thread(server.stop)


def _trace(server: RunningServer, response: httpx.Response) -> Trace:
    request_id = response.headers.get(_REQUEST_ID)
    if request_id is None:
        raise LookupError("the response has no X-Request-Id: it does not come from this server")
    found = server.keeper.wait_for_request(request_id, TRACE_TIMEOUT_S)
    if found is None:
        raise LookupError(
            f"request {request_id} has no trace after {TRACE_TIMEOUT_S:g} s: it was not sampled "
            "(tracing.sample_rate, tracing.excluded_urls), or its answer was not read to the end"
        )
    return found
