"""What is served: a little of every kind of endpoint."""

import time
from collections.abc import AsyncIterator

from spanserve import api, service


@service
class Target:
    @api(batch=True, max_latency_ms=200)
    def predict(self, numbers: list[float]) -> list[float]:
        """Double each number, in a millisecond."""
        time.sleep(0.001)
        return [number * 2 for number in numbers]

    @api(batch=True)
    def fail(self, texts: list[str]) -> list[str]:
        """Fail."""
        raise ValueError(f"{len(texts)} texts")

    @api
    def plain(self, text: str) -> int:
        """Return a text's length."""
        return len(text)

    @api
    async def stream(self, count: int) -> AsyncIterator[str]:
        """Send so many lines of a kilobyte."""
        for _ in range(count):
            yield "x" * 1023 + "\n"
