"""Handwritten digits: 64 grey values in, the digit out."""

from typing import Annotated

import joblib
import numpy as np

from spanserve import Array, api, bundle_path, service, span

Images = Annotated[np.ndarray, Array("float32", (64,))]  # one item: 64 floats, 0 to 16


@service
class Digits:
    """Read handwritten digits of 8 by 8 pixels."""

    def __init__(self) -> None:
        self.model = joblib.load(bundle_path("model.joblib"))

    def warm_up(self) -> None:
        """Run once before the first request, which would pay for it otherwise."""
        self.model.predict(np.zeros((1, 64), np.float32))

    @api(batch=True, max_batch_size=64, max_latency_ms=50)
    def predict(self, images: Images) -> np.ndarray:
        """Say which digit is on an image; one run answers all that came together."""
        with span("scale"):
            scaled = images / 16
        return np.asarray(self.model.predict(scaled))

    @api
    async def describe(self) -> dict[str, str]:
        """Say what the model is."""
        return {"model": type(self.model).__name__, "data": "scikit-learn's digits"}
