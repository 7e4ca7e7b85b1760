"""Spans that a replica tells of after its replies: they go into the records they belong to."""

from collections import OrderedDict
from typing import Any, Final

from spanserve.running.wire.replies import opened
from spanserve.running.wire.traces import Opened
from spanserve.tracing.recording.base import Record
from spanserve.tracing.tracing import Tracing

MOST_LATE: Final = 1_000
"""Requests of which a replica may still tell spans; those of others are counted as dropped."""


class LateSpansOf:
    """What a replica may still tell of requests, by their tokens, that it has replied to."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing
        self._records: OrderedDict[int, tuple[Record, list[Opened]]] = OrderedDict()
        self._early: dict[int, list[Any]] = {}

    def replied(self, token: int, record: Record | None, spans: Any) -> None:
        """Take the spans of a reply; those that are open, and others, may follow."""
        self._expect(token, record, opened(spans, record, self._tracing))
        for custom in self._early.pop(token, ()):
            self.told(token, custom)

    def given_up(self, token: int, record: Record | None) -> None:
        """Expect spans of a request whose reply nobody waits for any more."""
        self._expect(token, record, [])

    def replied_in_vain(self, token: int, spans: Any) -> None:
        """Take the spans of a reply that nobody waits for."""
        record, late = self._records.get(token, (None, []))
        late += opened(spans, record, self._tracing)

    def overtook(self, token: int, custom: Any) -> None:
        """Keep a span that is told before the reply it follows."""
        self._early.setdefault(token, []).append(custom)

    def told(self, token: int, custom: Any) -> None:
        """Take a span that has ended, or count it; None: one past its record's bound."""
        record, late = self._records.get(token, (None, []))
        if record is None or custom is None:
            self._tracing.lose_late(1)
            return
        for each in late:
            if each.custom.place == custom[2]:
                each.told(custom)
                late.remove(each)
                return
        if record.recording:
            Opened(self._tracing, record, custom)

    def _expect(self, token: int, record: Record | None, late: list[Opened]) -> None:
        if record is not None and record.recording:
            while len(self._records) >= MOST_LATE:
                self._records.popitem(last=False)
            self._records[token] = record, late
