"""How long a connection waits for its next request: one timer that goes on, not one a request."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as Base
else:
    Base = object


class KeepAlive(Base):
    """Stands before uvicorn's protocol, which makes and cancels a timer for each request."""

    idle_since_s: float | None = None

    def idle(self) -> None:
        """Wait for the next request."""
        self.idle_since_s = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._arm(self.timeout_keep_alive)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the timer, which would keep the connection alive."""
        super().connection_lost(exc)
        self.idle_since_s = None
        super()._unset_keepalive_if_required()

    def _unset_keepalive_if_required(self) -> None:
        # The timer goes on, and finds out.
        self.idle_since_s = None

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that was idle for long enough, or come back when it may be."""
        self.timeout_keep_alive_task = None
        if self.idle_since_s is None:
            return  # a response is on its way; at its end the timer is armed again
        left_s = self.idle_since_s + self.timeout_keep_alive - self.loop.time()
        if left_s > 0:
            self._arm(left_s)
        else:
            super().timeout_keep_alive_handler()

    def _arm(self, delay_s: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(
            delay_s, self.timeout_keep_alive_handler
        )
