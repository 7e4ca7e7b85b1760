"""A service whose runner can be held, so that a test decides what gathers in the queue.

`/hold` keeps the runner busy until `/release`; tests leave both out of the traces.
"""

import threading

import numpy as np

from spanserve import api, current_trace, outgoing_headers, service, span


@service
class Held:
    def __init__(self) -> None:
        self.released = threading.Event()

    @api(batch=True, max_batch_size=256, max_latency_ms=10_000, max_queue=2_000)
    def predict(self, numbers: np.ndarray) -> np.ndarray:
        """Double each item; a number below zero fails the batch."""
        with span("scale", rows=len(numbers)) as scale:
            if numbers.min() < 0:
                raise ValueError("a number below zero")
            scale.set(largest=numbers.max())
            with span("multiply"):
                return numbers * 2

    @api
    def hold(self) -> None:
        """Keep the runner busy."""
        self.released.wait(60)
        self.released.clear()

    @api
    async def release(self) -> None:
        """Let it go on."""
        self.released.set()

    @api
    async def ids(self) -> list[str]:
        """Say where this runs in a trace, and what continues it elsewhere."""
        ids = current_trace()
        assert ids is not None
        return [ids.trace_id, ids.span_id, outgoing_headers()["traceparent"]]
