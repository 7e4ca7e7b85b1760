"""What waits in a batcher's queue: an item, and who waits for its result."""

from collections.abc import Callable, Hashable
from typing import Any, Protocol

from spanserve.tracing.recording.record import ItemRecord, TracedRequest


class Waiter(Protocol):
    """What waits for an item: an `asyncio.Future`, or what goes on at once when it is told."""

    def done(self) -> bool:
        """Whether it has its answer, or waits for none any more."""

    def set_result(self, result: Any, /) -> None:
        """Take the item's result; raises nothing."""

    def set_exception(self, error: Exception, /) -> None:
        """Take the reason why there is no result; raises nothing."""

    def cancel(self) -> object:
        """Learn that the item left the queue."""


class Item(ItemRecord):
    """One item in the queue: its value, and who waits for its result.

    `body` is what the value was decoded from, where the method gets the value itself and may
    change it: another run gets one that is decoded anew.
    """

    __slots__ = ("body", "deadline_ns", "future", "gone", "key", "value")

    def __init__(  # noqa: PLR0917  # made for every request: keywords would cost
        self,
        value: Any,
        key: Hashable,
        future: Waiter,
        gone: Callable[[], bool] | None,
        request: TracedRequest | None,
        queued_ns: int,
        depth: int,
        deadline_ns: int,
        body: bytes | None,
    ) -> None:
        super().__init__(request, queued_ns, depth)
        self.value = value
        self.body = body
        self.key = key
        self.future = future
        self.gone = gone
        self.deadline_ns = deadline_ns

    def forget(self) -> None:
        """Let go of all but the record, once answered: an exporter holds on to that for a while.

        What is let go of would close a cycle with its record. The value went before.
        """
        del self.future, self.gone
