"""A service with metrics of its own, that knows which worker it is in and can hold its loop."""

import os
import time

from prometheus_client import Counter, Gauge, Histogram

from spanserve import api, service

WORKER = os.environ["SPANSERVE_WORKER"]
"""As it is while the service is imported."""

PREDICTED = Counter("predicted", "Numbers that were predicted", ["kind"])
SIZES = Histogram("sizes", "Numbers in a batch", buckets=(1, 10, 100))
LOADED = Gauge("loaded_models", "Models in memory")


@service
class Counted:
    def __init__(self) -> None:
        LOADED.set(int(WORKER) + 1)

    @api(batch=True)
    def predict(self, numbers: list[int]) -> list[int]:
        """Return each number."""
        PREDICTED.labels("number").inc(len(numbers))
        SIZES.observe(len(numbers))
        return numbers

    @api
    async def who(self) -> list[int]:
        """Return the worker's number, and its process's."""
        return [int(WORKER), os.getpid()]

    @api
    async def hog(self, seconds: float) -> None:
        """Hold the event loop."""
        time.sleep(seconds)  # noqa: ASYNC251  # as bad services do
