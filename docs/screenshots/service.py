"""A model that takes its time, as one on an accelerator does: it sleeps."""

import time

from spanserve import api, service, span


@service
class Embed:
    """Make vectors of texts."""

    @api(batch=True, max_batch_size=16, max_latency_ms=100)
    def embed(self, texts: list[str]) -> list[float]:
        """Return one number a text; an empty text is refused."""
        with span("tokenize", texts=len(texts)):
            time.sleep(0.002)
        with span("forward"):
            time.sleep(0.018 + 0.001 * len(texts))
        if "" in texts:
            raise ValueError("a text is empty")
        return [float(len(text)) for text in texts]
