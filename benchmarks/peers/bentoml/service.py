"""BentoML with its adaptive batching, of the model that PEER_MODEL names."""

import os
import time
from collections.abc import Callable

import bentoml
import joblib
import numpy as np

# The documentation's own example. It is the latency above which requests are dropped with 503; the
# wait for a batch is not a setting, the dispatcher learns it from what it measures.
MAX_LATENCY_MS = 1000


def noop(batch: np.ndarray) -> np.ndarray:
    """Return zeros."""
    return np.zeros((len(batch), 10))


def accelerator(batch: np.ndarray) -> np.ndarray:
    """Sleep 10 ms a run and 0.1 ms an item, and return zeros."""
    time.sleep((10 + 0.1 * len(batch)) / 1000)
    return np.zeros((len(batch), 10))


def model(kind: str) -> Callable[[np.ndarray], np.ndarray]:
    """Return the model of this name."""
    if kind == "digits":
        predict: Callable[[np.ndarray], np.ndarray] = joblib.load(os.environ["MODEL"]).predict
        return predict
    return {"noop": noop, "accelerator": accelerator}[kind]


@bentoml.service(
    workers=1,
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
    monitoring={"enabled": False},
)
class Peer:
    """One model behind one batchable API."""

    def __init__(self) -> None:
        """Load the model."""
        self.model = model(os.environ["PEER_MODEL"])

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=MAX_LATENCY_MS)
    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Run the model on a batch, which BentoML joined."""
        return self.model(rows)
