"""The running service: its instance on the runner, and the threads of its plain methods."""

import shlex
from functools import partial

from spanserve.batching.pool import ThreadPool
from spanserve.batching.runner import CarriedError, InlineRunner, ThreadRunner
from spanserve.errors import StartError
from spanserve.service.bundle import LoadedService
from spanserve.service.failures import explained
from spanserve.service.spec import ApiSpec
from spanserve.tracing.tracing import Tracing


class Running:
    """What of a service lives in this process, from `start` to `close`."""

    def __init__(self, service: LoadedService, tracing: Tracing) -> None:
        self._service = service
        self.cls = service.spec.cls
        self.runner = ThreadRunner(
            service.instantiate, tracing.clock, partial(tracing.starting, service.name)
        )
        self.inline = InlineRunner(self.runner, tracing.clock)
        self._pools = {
            api.name: ThreadPool(api.threads, f"spanserve-{api.name}")
            for api in service.spec.apis
            if api.threads > 1
        }

    def pool(self, api: ApiSpec) -> ThreadPool:
        """Return the threads of a method that wants several."""
        return self._pools[api.name]

    async def start(self) -> None:
        """Make the instance and warm it up; StartError says what of the user's code failed."""
        try:
            await self.runner.start()
        except Exception as error:
            own = error.__cause__ if isinstance(error, CarriedError) else error
            raise start_error(self._service, own or error) from error
        for pool in self._pools.values():
            pool.start(self.runner.instance)

    async def close(self, timeout_s: float) -> None:
        """Close the instance and end all threads; give up on what still runs after `timeout_s`."""
        for pool in self._pools.values():
            pool.close()
        await self.runner.close(timeout_s)


def start_error(service: LoadedService, error: BaseException) -> StartError:
    """Say what of the service's own code failed, and how."""
    folder, cls = service.home.folder, service.spec.cls
    alone = f"from {cls.__module__} import {cls.__qualname__}; {cls.__qualname__}()"
    retry = f"cd {shlex.quote(str(folder))} && python -c {shlex.quote(alone)}"
    return StartError(explained(f"{service.name} cannot start", error, folder, retry=retry))
