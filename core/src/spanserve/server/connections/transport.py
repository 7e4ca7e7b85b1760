"""What stands between a connection and its transport."""

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl


class StoppableFlow(FlowControl):
    """uvicorn's flow control, where reading may be stopped whatever the app wants."""

    is_stopped = False

    def resume_reading(self) -> None:
        """Read on, unless that is stopped."""
        if not self.is_stopped:
            super().resume_reading()


class ClosingTransport:
    """What an answer is written to: its closing waits for a client that still sends."""

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self._transport = transport
        self.write = transport.write
        self.close = close

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
