"""What the start of a service writes down: a trace of its own, where anybody has a use for it."""

from collections.abc import Callable
from typing import Any

from spanserve.tracing.model.failure import Failure
from spanserve.tracing.recording.base import Record
from spanserve.tracing.recording.custom import CustomSpan


class StartupRecord(Record):
    """The start of a service in one process: its `__init__` and its `warm_up`."""

    failure: Failure | None = None
    of_use: bool = False
    """Whether it has spans in it, or its ids are known elsewhere, as in the log."""

    is_sent: bool = False
    on_late_use: "Callable[[StartupRecord], None] | None" = None
    """Told where it turns out to be of use after the start, to code that lives on."""

    def __init__(
        self,
        trace_id: str,
        root_id: int,
        service: str,
        started_ns: int,
        *,
        recording: bool,
    ) -> None:
        self.trace_id = trace_id
        self.root_id = root_id
        self.service = service
        self.started_ns = started_ns
        self.sampled = self.recording = recording

    def span_id(self, place: int) -> str:
        """Return the id of the span at this place; from now on the trace is of use."""
        self._use()
        return super().span_id(place)

    def custom_started(self, *known: Any, **more: Any) -> CustomSpan:
        """Write down that a custom span begins; from now on the trace is of use."""
        self._use()
        return super().custom_started(*known, **more)

    def _use(self) -> None:
        self.of_use = True
        if self.left_ns and self.recording and self.on_late_use is not None:
            self.on_late_use(self)
