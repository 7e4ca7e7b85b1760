"""The running service: its instance on the runner, and the executors of its plain methods."""

from concurrent.futures import ThreadPoolExecutor

from spanserve.batching.runner import InlineRunner, ThreadRunner
from spanserve.service.bundle import LoadedService
from spanserve.service.spec import ApiSpec
from spanserve.tracing.clock import Clock


class Running:
    """What of a service lives in this process, from `start` to `close`."""

    def __init__(self, service: LoadedService, clock: Clock) -> None:
        self.cls = service.spec.cls
        self.runner = ThreadRunner(service.instantiate, clock)
        self.inline = InlineRunner(self.runner, clock)
        self._executors = {
            api.name: ThreadPoolExecutor(api.threads, f"spanserve-{api.name}")
            for api in service.spec.apis
            if api.threads > 1
        }

    def executor(self, api: ApiSpec) -> ThreadPoolExecutor:
        """Return the threads of a method that wants several."""
        return self._executors[api.name]

    async def start(self) -> None:
        """Make the instance and warm it up; raises what the user's code raises."""
        await self.runner.start()

    async def close(self) -> None:
        """Close the instance and end all threads."""
        for executor in self._executors.values():
            executor.shutdown(wait=False, cancel_futures=True)
        await self.runner.close()
