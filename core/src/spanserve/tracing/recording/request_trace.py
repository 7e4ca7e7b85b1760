"""The fast-path trace state of a request: ids and some marks; a full record on first need.

To make a record and to write marks into it costs more than the rest of tracing together. What
is packed of most requests is known to the server anyway, and is packed for a whole batch as
the last of its answers is out (`Tracing.answered`). A request that turns out to be more is
given its record then; one whose model's code may open spans in it, before.

Its ids, too, it has only once its batch begins: what is done for all requests of a batch, one
after the other, costs less than half of what it does between the steps of a request, where the
processor has long forgotten code and data (measured: 1.1 µs a request instead of 2.7).
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple, cast

from spanserve.tracing.admission.head import Head
from spanserve.tracing.propagation.context import Remote
from spanserve.tracing.recording.base import Record
from spanserve.tracing.recording.record import ItemRecord, RequestRecord, TracedRequest


class Decision(NamedTuple):
    """What was decided of a request as it came in; the same one for all that were decided alike.

    `root_id` is that of its root where it has a `caller`.
    """

    sampled: bool
    recording: bool
    debug: bool = False
    caller: Remote | None = None
    root_id: int = 0


decision_of: Final[Callable[[tuple[bool, bool, bool, Remote | None, int]], Decision]] = partial(
    tuple.__new__, Decision
)
"""Returns the one with these fields, in half the time of a call of the class (measured)."""

UNDECIDED: Final = Decision(sampled=False, recording=False)
"""Of a request that was not admitted, or not yet."""


class RequestTrace:
    """What a server keeps of a request for tracing.

    It takes the place of a `RequestRecord` in the batcher. `record` is that, once there is one.
    Its ids, `trace_id` being empty before, and the decision are there once it was admitted
    (`Tracing.admit`). `encode_ns` is when the answer was begun, `encoded_ns` when a result's was
    there, to be sent then, and the rest left to the batch; 0 where that was not reached.
    """

    __slots__ = (
        "decision",
        "encode_ns",
        "encoded_ns",
        "head",
        "item",
        "record",
        "request_id",
        "started_ns",
        "trace_id",
    )

    decision: Decision
    encode_ns: int
    encoded_ns: int
    head: Head
    item: ItemRecord | None
    record: RequestRecord | None
    request_id: str
    started_ns: int
    trace_id: str

    @property
    def sampled(self) -> bool:
        """Whether its trace is sampled."""
        return self.decision.sampled

    @property
    def recording(self) -> bool:
        """Whether it is recorded: it is sampled, or may be kept."""
        return self.decision.recording

    @property
    def debug(self) -> bool:
        """Whether its caller, being trusted, asked for its trace."""
        return self.decision.debug

    @property
    def caller(self) -> Remote | None:
        """Who called, if anyone said."""
        return self.decision.caller

    @property
    def root_id(self) -> int:
        """The id of its root: the lower half of its trace's, where that may not be a caller's."""
        _, _, _, caller, root_id = self.decision
        return int(self.trace_id[16:], 16) if caller is None else root_id

    @property
    @abstractmethod
    def full_record(self) -> RequestRecord:
        """Return the request's record, which is made when it is first asked for."""

    @property
    def context(self) -> Record:
        """Return where its code runs: its record."""
        return self.full_record

    def write_record(self, item: ItemRecord | None, decoded_ns: int, status: int) -> RequestRecord:
        """Return the request's record, with all that is known of it at its end.

        `decoded_ns` is when its body turned out not to be an item, where there is none.
        """
        record = self.full_record
        record.decode_ns = self.started_ns
        record.decoded_ns = decoded_ns if item is None else item.queued_ns
        record.encode_ns, record.encoded_ns = self.encode_ns, self.encoded_ns
        record.status = status
        if item is not None:
            record.item_queued(item)
        return record

    def item_dequeued(self, item: ItemRecord, now_ns: int) -> None:
        """Take the item out of the queue: its batch begins, or nothing will run."""
        item.dequeued_ns = now_ns


def leans_of(requests: Sequence[TracedRequest | None]) -> Sequence[RequestTrace]:
    """Return those of requests that have no records: nearly always all of them, as they are."""
    kinds = set(map(type, requests))
    if len(kinds) == 1 and issubclass(kinds.pop(), RequestTrace):
        return cast("Sequence[RequestTrace]", requests)
    return [each for each in requests if isinstance(each, RequestTrace)]


def decided_on(requests: Sequence[TracedRequest]) -> tuple[int, bool, bool]:
    """Return how many of some requests are recorded, whether any is sampled, and any debugged."""
    # By what was decided on them: to ask each request would cost a call.
    decisions = [each.decision if isinstance(each, RequestTrace) else each for each in requests]
    recorded = [each.recording for each in decisions].count(True)
    if not recorded:
        return 0, False, False
    sampled = True in [each.sampled for each in decisions]
    return recorded, sampled, True in [each.debug for each in decisions]
