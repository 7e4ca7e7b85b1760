"""A custom runtime of MLServer, of the model that PEER_MODEL names; model-settings.json runs it.

There max_batch_time is 10 ms, Ray Serve's default: the documentation names no figure ("these values
are usually found through experimentation") and a lone request waits for all of it. In `shape`, -1
leaves the length of a row free.
"""

import os
import time
from collections.abc import Callable

import joblib
import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


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


class Peer(MLModel):
    """One model behind the V2 protocol."""

    async def load(self) -> bool:
        """Load the model, in the inference worker."""
        self.model = model(os.environ["PEER_MODEL"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Run the model on a batch, which MLServer joined."""
        rows = NumpyCodec.decode_input(payload.inputs[0]).astype(np.float32)
        output = NumpyCodec.encode_output("output", self.model(rows))
        return InferenceResponse(model_name=self.name, outputs=[output])
