"""The bounded queue between the requests and one tracer: the event loop puts, a thread takes.

The event loop only appends. Each of the numbers below is written by one thread only, so that
it needs no lock; the thread that takes and the one that stops it share the lock of the books.
"""

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from spanserve.tracing.export.outcome import Counters, Drop
from spanserve.tracing.recording.table import Table, span_count

_PARTS: Final = 100
"""A full queue loses one of so many parts of it at once."""


class RecordQueue:
    """Records that wait, in calls of about `enough` spans; `most` spans, dropped as whole records.

    `packed` gives the form in which a record waits. `books` is the lock of the counters, `wake` is
    set when there is enough for a call.
    """

    def __init__(
        self,
        *,
        most: int,
        enough: int,
        packed: Callable[[Table], Table],
        counters: Counters,
        books: threading.Lock,
        wake: threading.Event,
    ) -> None:
        self.put_spans = 0
        self._packed = packed
        self._most = most
        self._look_at_spans = self._enough = min(enough, most)
        self._newest: deque[Table] = deque()
        self._calls: deque[deque[Table]] = deque()
        self._newest_from_spans = 0
        self._overflowed_spans = 0
        self._taken_spans = 0
        self._is_closed = False
        self._counters = counters
        self._books = books
        self._wake = wake

    @property
    def waiting_spans(self) -> int:
        """Spans that were put and not taken."""
        return self.put_spans - self._overflowed_spans - self._taken_spans

    @property
    def has_call(self) -> bool:
        """Whether there is enough for a call."""
        return bool(self._calls)

    def put(self, record: Table) -> None:
        """Queue a finished record; never blocks."""
        self.put_spans += record[1]
        if self._is_closed:
            self._drop_late(span_count(record))
            return
        self._newest.append(self._packed(record))
        if self.put_spans >= self._look_at_spans:
            self._look_after()

    def take(self) -> tuple[list[Table], int]:
        """Take the oldest records that make the spans of one call; with the lock held."""
        try:
            records = list(self._calls.popleft())
        except IndexError:
            records = self._taken_newest()
        spans = sum(map(span_count, records))
        self._taken_spans += spans
        return records, spans

    def close(self) -> None:
        """Count what is put from now on as dropped."""
        self._is_closed = True

    def discard(self) -> int:
        """Throw away all that waits, and return how many spans that were; with the lock held."""
        lost = self.waiting_spans
        self._calls.clear()
        self._newest.clear()
        self._overflowed_spans = self.put_spans - self._taken_spans
        return lost

    def _look_after(self) -> None:
        """Hand over what is enough for a call, and make room; no need to for most records.

        The thread takes the records of a call all at once: if it took them one by one, it would
        ask for the interpreter hundreds of times.
        """
        if self.put_spans - self._newest_from_spans >= self._enough:
            call, self._newest = self._newest, deque()  # never in both: the thread may look now
            self._calls.append(call)
            self._newest_from_spans = self.put_spans
            self._wake.set()
        most = self._most
        if self.waiting_spans > most:
            # Some more, so that a queue that stays full need not be looked after at each record.
            self._drop_oldest(self.waiting_spans - most + most // _PARTS)
        room = max(1, most - self.waiting_spans + 1)
        self._look_at_spans = min(self.put_spans + room, self._newest_from_spans + self._enough)

    def _drop_late(self, spans: int) -> None:
        with self._books:
            self._overflowed_spans += spans
            self._counters.dropped[Drop.STOPPED] += spans

    def _drop_oldest(self, enough: int) -> None:
        """Drop whole records until these are enough spans, or the thread has taken the rest."""
        while enough > 0:
            try:
                call = self._calls.popleft()
            except IndexError:  # the thread was faster
                return
            while call and enough > 0:
                spans = span_count(call.popleft())
                enough -= spans
                self._overflowed_spans += spans
                self._counters.dropped[Drop.QUEUE_FULL] += spans
            if call:
                self._calls.appendleft(call)

    def _taken_newest(self) -> list[Table]:
        """Take one by one, since the event loop may add more to them now."""
        records: list[Table] = []
        newest = self._newest
        with suppress(IndexError):
            while True:
                records.append(newest.popleft())
        return records
