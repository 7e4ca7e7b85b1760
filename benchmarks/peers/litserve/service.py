"""LitServe with its dynamic batching: service.py MODEL PORT."""

import os
import sys
import time
from collections.abc import Callable
from typing import Any

import joblib
import litserve as ls
import numpy as np
from fastapi.middleware.cors import CORSMiddleware

# The documentation names no figure: the default, 0, keeps a core busy while nothing arrives, and
# the docstring's example, 0.1, adds 100 ms to a lone request. 10 ms is in between.
BATCH_TIMEOUT_S = 0.01


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


class Api(ls.LitAPI):
    """One model, with the hooks that LitServe calls."""

    def setup(self, device: str) -> None:  # noqa: ARG002  # LitServe's signature
        """Load the model, in the worker."""
        self.model = model(sys.argv[1])

    def decode_request(self, request: dict[str, Any]) -> np.ndarray:
        """Return one row."""
        return np.asarray(request["input"], dtype=np.float32)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Run the model on a batch, which LitServe stacked."""
        return self.model(x)

    def encode_response(self, output: np.ndarray) -> dict[str, Any]:
        """Return one row's answer."""
        return {"output": output.tolist()}


PARTS = os.environ.get("PEER_PARTS", "").split(",")  # a key is LitServe's own: LIT_SERVER_API_KEY
CORS = [(CORSMiddleware, {"allow_origins": ["https://app.example.org"]})]

if __name__ == "__main__":
    api = Api(max_batch_size=64, batch_timeout=BATCH_TIMEOUT_S)
    # fast_queue is what the documentation says to use above a hundred requests a second
    server = ls.LitServer(
        api,
        accelerator="cpu",
        workers_per_device=1,
        fast_queue=True,
        middlewares=CORS if "cors" in PARTS else None,
    )
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[2]),
        num_api_servers=1,
        log_level="info" if "access_log" in PARTS else "warning",
        access_log="access_log" in PARTS,
        generate_client_file=False,
    )
