"""The running service: its instance or replicas behind a runner, and what runs beside that."""

import asyncio
import inspect
import logging
import shlex
from collections.abc import Awaitable, Callable
from functools import partial

from spanserve.config.model import Config
from spanserve.errors import StartError
from spanserve.running.discovery import ChosenRunner
from spanserve.running.faults import CarriedError
from spanserve.running.host import Host
from spanserve.running.pool import ThreadPool
from spanserve.running.process.runner import ProcessRunner
from spanserve.running.protocol import Place, Runner
from spanserve.running.surroundings import Surroundings
from spanserve.running.thread import InlineRunner, ThreadRunner
from spanserve.server.elsewhere import check_carried
from spanserve.server.operations.logs import logging_config
from spanserve.service.bundle.load import LoadedService
from spanserve.service.failures import explained
from spanserve.service.spec import ApiSpec
from spanserve.tracing.model.ids import ROOT
from spanserve.tracing.scope import current_record
from spanserve.tracing.tracing import Tracing

log = logging.getLogger(__name__)


class Running:
    """What of a service lives while the app does, from `start` to `close`."""

    def __init__(
        self, service: LoadedService, tracing: Tracing, config: Config, chosen: ChosenRunner
    ) -> None:
        self._service = service
        self._starting = partial(tracing.starting, service.name)
        self.cls = service.spec.cls
        self.has_healthy = service.spec.has_healthy
        logs = logging_config(config.logging.level, config.logging.format)
        self.kind = chosen.name
        self.runner = chosen.kind.runner(chosen.settings, Surroundings(service, tracing, logs))
        self.elsewhere = self.runner if isinstance(self.runner, ProcessRunner) else None
        """The runner, where the instance is in no reach of this process."""

        if self.elsewhere is not None:
            check_carried(service.spec, chosen.name)

        self._host: Host | None = None
        self.inline: Runner = self.runner
        if isinstance(self.runner, ThreadRunner):
            self._host = host = self.runner.host
            self.inline = InlineRunner(host, tracing.clock)
        self._pools = {
            api.name: ThreadPool(api.threads, f"spanserve-{api.name}")
            for api in service.spec.apis
            if api.threads > 1 and self._host is not None
        }

    def pool(self, api: ApiSpec) -> ThreadPool:
        """Return the threads of a method that wants several."""
        return self._pools[api.name]

    @property
    def instance(self) -> object:
        """The service's instance, while it serves; None where that is in other processes."""
        return None if self._host is None else self._host.instance

    async def start(self) -> None:
        """Make the instance and warm it up; StartError says what of the user's code failed."""
        if self.elsewhere is not None:
            with self._starting():
                self.elsewhere.starting_in(Place(current_record(), ROOT))
                await self.elsewhere.start()
            return
        try:
            await self.runner.start()
            if (warm_up := self._async_method("warm_up")) is not None:
                with self._starting():
                    await warm_up()
        except (Exception, SystemExit) as error:
            raise self.start_error(error) from error
        for pool in self._pools.values():
            assert self._host is not None  # noqa: S101  # only then there are pools
            pool.start(self._host)

    async def close(self, timeout_s: float) -> None:
        """Close the instance and end all threads; give up on what still runs after `timeout_s`."""
        for pool in self._pools.values():
            pool.close()
        loop = asyncio.get_running_loop()
        give_up_s = loop.time() + timeout_s
        if (close := self._async_method("close")) is not None:
            await within(timeout_s, close(), "the service's close()")
        await self.runner.close(max(0.0, give_up_s - loop.time()))

    def start_error(self, error: BaseException) -> StartError:
        """Return what to say of the user's code, that raised this as it started."""
        own = error.__cause__ if isinstance(error, CarriedError) else error
        return start_error(self._service, own or error)

    def _async_method(self, name: str) -> Callable[[], Awaitable[object]] | None:
        """Return an optional method of the instance that is awaited here, and not on its thread."""
        method = getattr(self.instance, name, None)
        return method if inspect.iscoroutinefunction(method) else None


async def within(timeout_s: float, ending: Awaitable[object], what: str) -> None:
    """Await the end of something of the user's; one that fails or hangs is said, and left."""
    try:
        async with asyncio.timeout(timeout_s):
            await ending
    except TimeoutError:
        log.warning("%s did not end within %.1f s; it is given up", what, timeout_s)
    except Exception:
        log.exception("%s failed", what)


def start_error(service: LoadedService, error: BaseException) -> StartError:
    """Say what of the service's own code failed, and how."""
    folder, cls = service.home.folder, service.spec.cls
    alone = f"from {cls.__module__} import {cls.__qualname__}; {cls.__qualname__}()"
    retry = f"cd {shlex.quote(str(folder))} && python -c {shlex.quote(alone)}"
    return StartError(explained(f"{service.name} cannot start", error, folder, retry=retry))
