"""Models that cost what is said of them, and nothing else."""

import os
import time
from typing import Annotated

import numpy as np

from spanserve import Array, api, service

Rows = Annotated[np.ndarray, Array("float32", (64,))]
LongRows = Annotated[np.ndarray, Array("float32", (16_384,))]


@service
class Noop:
    """64 floats to 10: a model of microseconds."""

    @api(batch=True, max_batch_size=64, inline=True)
    def predict(self, rows: Rows) -> np.ndarray:
        """Return zeros."""
        return np.zeros((len(rows), 10))


@service
class NoopOnThread:
    """The same on the runner's thread."""

    @api(batch=True, max_batch_size=64)
    def predict(self, rows: Rows) -> np.ndarray:
        """Return zeros."""
        return np.zeros((len(rows), 10))


@service
class Long:
    """16,384 floats to 10: 64 KiB of JSON, and a model of microseconds."""

    @api(batch=True, max_batch_size=64, inline=True)
    def predict(self, rows: LongRows) -> np.ndarray:
        """Return zeros."""
        return np.zeros((len(rows), 10))


@service
class Accelerator:
    """10 ms a run and 0.1 ms an item, without using the processor."""

    @api(batch=True, max_batch_size=64, max_latency_ms=100)
    def predict(self, rows: Rows) -> np.ndarray:
        """Sleep, and return zeros."""
        time.sleep((10 + 0.1 * len(rows)) / 1e3)
        return np.zeros((len(rows), 10))


@service
class Digits:
    """A fitted model of scikit-learn, from the file that `MODEL` names."""

    def __init__(self) -> None:
        import joblib  # noqa: PLC0415  # only this model needs it

        self.model = joblib.load(os.environ["MODEL"])

    @api(batch=True, max_batch_size=64)
    def predict(self, rows: Rows) -> np.ndarray:
        """Return the digit of each row."""
        return np.asarray(self.model.predict(rows))
