"""The smallest batched service: squares of numbers."""

import numpy as np

from spanserve import api, service, span


@service
class Squares:
    @api(batch=True, max_batch_size=64, max_latency_ms=20)
    def square(self, numbers: np.ndarray) -> np.ndarray:
        """Square each item, a number or a list of numbers."""
        with span("multiply", rows=len(numbers)):
            return numbers * numbers

    @api
    async def describe(self) -> dict[str, str]:
        """Say what this service does."""
        return {"does": "squares"}

    @api
    def power(self, base: float, exponent: float = 2.0) -> float:
        """Raise a number to a power, one request at a time."""
        return base**exponent
