"""The running service: its instance on the runner, and the threads of its plain methods."""

from functools import partial

from spanserve.batching.pool import ThreadPool
from spanserve.batching.runner import InlineRunner, ThreadRunner
from spanserve.service.bundle import LoadedService
from spanserve.service.spec import ApiSpec
from spanserve.tracing.tracing import Tracing


class Running:
    """What of a service lives in this process, from `start` to `close`."""

    def __init__(self, service: LoadedService, tracing: Tracing) -> None:
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
        """Make the instance and warm it up; raises what the user's code raises."""
        await self.runner.start()
        for pool in self._pools.values():
            pool.start(self.runner.instance)

    async def close(self, timeout_s: float) -> None:
        """Close the instance and end all threads; give up on what still runs after `timeout_s`."""
        for pool in self._pools.values():
            pool.close()
        await self.runner.close(timeout_s)
