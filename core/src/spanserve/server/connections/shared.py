"""What all connections of one process have in common."""

import logging
from collections import Counter
from typing import Any, Final

from spanserve.config.model import ServerConfig
from spanserve.server.access.access_log import AccessLog
from spanserve.server.connections.budget import BodyBudget
from spanserve.server.connections.limits import Limits
from spanserve.server.connections.refusals import REFUSALS
from spanserve.server.connections.watch import Watch
from spanserve.tracing.model.clock import Ids

log = logging.getLogger(__name__)

NO_WEBSOCKETS: Final = (
    "a client asked for a websocket, and no library for them is installed; "
    "try: pip install websockets"
)
_LONGEST_LOOK_S: Final = 1.0
_LOOKS_A_TIMEOUT: Final = 5


class Connections:
    """Limits, who is watched for them, and what was refused, for `/metrics`."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        shortest_s = min(limits.header_timeout_s, limits.body_timeout_s)
        self.watch = Watch(min(_LONGEST_LOOK_S, shortest_s / _LOOKS_A_TIMEOUT))
        self.bodies = BodyBudget(limits.max_buffered_bytes)
        self.refused: Counter[tuple[int, str]] = Counter(dict.fromkeys(REFUSALS, 0))
        self.access: AccessLog | None = None
        self.new_id = Ids().texts().__next__
        self._said_no_websockets = False

    def say_no_websockets(self) -> None:
        """Log once that a client asked for what needs a library that is not there."""
        if not self._said_no_websockets:
            self._said_no_websockets = True
            log.warning(NO_WEBSOCKETS)


def connections_of(app: Any) -> Connections:
    """Return those of an app of ours, which other apps may be around."""
    while app is not None:
        found = getattr(app, "connections", None)
        if isinstance(found, Connections):
            return found
        app = getattr(app, "app", None)
    return Connections(Limits.of(ServerConfig()))
