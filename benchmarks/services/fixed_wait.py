"""spanserve with another policy: `python fixed_wait.py WAIT_MS serve ...` always waits WAIT_MS."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from simulator.rivals import FixedWait
from spanserve.batching.policy import Limits
from spanserve.cli import main
from spanserve.server import app

WAIT_MS = float(sys.argv.pop(1))


class Fixed(FixedWait):
    """The simulator's, with what a server asks of a policy besides."""

    def __init__(self, *, max_batch_size: int, max_latency_ms: float) -> None:
        super().__init__(WAIT_MS, max_batch_size=max_batch_size)
        self.limits = Limits(max_batch_size, max_latency_ms)

    def predict_ms(self, queued_ahead: int, now_ms: float) -> None:
        """Know nothing."""


if __name__ == "__main__":
    app.Policy = Fixed  # type: ignore[misc, assignment]  # the one place where the server makes it
    main()
