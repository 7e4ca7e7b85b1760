"""Ray Serve with its request batching: service.py MODEL PORT."""

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import joblib
import numpy as np
import ray
from ray import serve
from starlette.requests import Request

# The default; the documentation has it well below the latency aimed at less the model's time.
BATCH_WAIT_TIMEOUT_S = 0.01


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


# The default of 5 is all that a replica is given at once: no batch could be larger.
@serve.deployment(num_replicas=1, max_ongoing_requests=256)
class Peer:
    """One model in one replica."""

    def __init__(self, kind: str) -> None:
        """Load the model, in the replica."""
        self.model = model(kind)

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=BATCH_WAIT_TIMEOUT_S)
    async def predict(self, rows: list[Any]) -> list[Any]:
        """Run the model on a batch."""
        outputs: list[Any] = self.model(np.asarray(rows, dtype=np.float32)).tolist()
        return outputs

    async def __call__(self, request: Request) -> dict[str, Any]:
        """Answer one row."""
        return {"output": await self.predict((await request.json())["input"])}


if __name__ == "__main__":
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="warning",
        _node_ip_address="127.0.0.1",
    )
    serve.start(
        http_options={"host": "127.0.0.1", "port": int(sys.argv[2])},
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
    )
    serve.run(Peer.bind(sys.argv[1]), route_prefix="/predict")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    ray.shutdown()
