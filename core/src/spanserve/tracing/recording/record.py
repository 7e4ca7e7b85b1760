"""What a request and a batch write down while they run.

A mark is one reading of the monotonic clock, in nanoseconds; 0 means that it was not
reached. Nothing is formatted here: `expansion` makes spans of a record later, on another
thread. The marks are written through methods, so that the records of a live tracer (`live`) can
announce each boundary where it happens and all others pay for none of it.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from spanserve.tracing.admission.http_attributes import Origin
from spanserve.tracing.model.failure import Failure
from spanserve.tracing.recording.attempt import Attempt, Retry, RunBy
from spanserve.tracing.recording.base import Record
from spanserve.tracing.recording.members import BatchRequests, Members


class RequestRecord(Record):
    """One HTTP request, from its first byte in the server to the last of its answer."""

    parent_id: str | None = None
    caller: tuple[str, str, str] | None = None
    """The trace, the span and the tracestate of who called, but is not trusted: linked to it."""

    debug_id: str = ""
    kept_by: str = ""
    """The rule that kept this trace, where it was not sampled as it began."""

    endpoint: str = ""
    status: int = 0
    client_left: bool = False
    failure: Failure | None = None
    items: "Sequence[ItemRecord]"
    decode_ns: int = 0
    decoded_ns: int = 0
    queued_ns: int = 0
    run_ns: int = 0
    ran_ns: int = 0
    encode_ns: int = 0
    encoded_ns: int = 0
    first_item_ns: int = 0
    """When the first value of a stream was there to be sent; 0: it was no stream."""

    runner: RunBy | None = None
    """What a run of its own ran on, as of an attempt."""

    packable: bool = True
    """False where it had several items, a run of its own, or a mark of a caller's or a rule."""

    def __init__(  # noqa: PLR0917  # made for every request: keywords would cost
        self,
        trace_id: str,
        root_id: int,
        sampled: bool,  # noqa: FBT001  # as above
        origin: Origin,
        port: int,
        started_ns: int,
        request_id: str = "",
        route: str = "",
    ) -> None:
        self.trace_id = trace_id
        self.root_id = root_id
        self.sampled = self.recording = sampled
        self.origin = origin
        self.port = port
        self.started_ns = started_ns
        self.request_id = request_id
        self.route = route
        self.items = ()

    @property
    def context(self) -> "RequestRecord":
        """Where its code runs: itself."""
        return self

    @property
    def full_record(self) -> "RequestRecord":
        """Itself: what takes its place (`lean`) returns the record it stands for."""
        return self

    def started(self) -> None:
        """Begin, now that its parent is known."""

    def decode_started(self, now_ns: int) -> None:
        """Begin to read the body."""
        self.decode_ns = now_ns

    def decode_ended(self, now_ns: int) -> None:
        """Have the body as an item, or know that it is none."""
        self.decoded_ns = now_ns

    def item_queued(self, item: "ItemRecord") -> None:
        """Hand an item to the batcher."""
        if isinstance(self.items, list):
            item.index = len(self.items)
            self.items.append(item)
        elif self.items:
            item.index = 1
            self.items = [*self.items, item]
            self.packable = False
        else:
            self.items = (item,)

    def item_dequeued(self, item: "ItemRecord", now_ns: int) -> None:
        """Take an item out of the queue: its batch begins on the runner, or nothing will run."""
        item.dequeued_ns = now_ns

    def plain_queued(self, now_ns: int) -> None:
        """Wait for the runner, without a batch."""
        self.queued_ns = now_ns
        self.packable = False

    def plain_run_started(self, now_ns: int) -> None:
        """Begin to run the user's method for this request alone."""
        self.run_ns = now_ns
        self.packable = False

    def plain_run_ended(self, now_ns: int) -> None:
        """Have the method's answer, or its exception."""
        self.ran_ns = now_ns

    def encode_started(self, now_ns: int) -> None:
        """Begin to make the answer's bytes."""
        self.encode_ns = now_ns

    def encode_ended(self, now_ns: int) -> None:
        """Have the answer's bytes."""
        self.encoded_ns = now_ns

    def ended(self, now_ns: int) -> None:
        """Be done: the answer was sent, or the client left."""
        self.ended_ns = now_ns

    def reached(self, mark_ns: int) -> bool:
        """Say whether a mark, perhaps one of a batch, was made before this record ended."""
        return 0 < mark_ns <= (self.ended_ns or mark_ns)

    def attempts(self, position: int, batch: "BatchRecord") -> list[Attempt]:
        """Return the goes at a batch's item that this request lived to see."""
        return [go for go in batch.attempts(position) if go is batch or self.reached(go.started_ns)]

    @property
    def run_begun_ns(self) -> int:
        """When the run of its own that began last did so, in a batch of one or in none."""
        alone = [item.batch for item in self.items if item.batch and item.batch.size == 1]
        return max(self.run_ns, *(batch.run_ns for batch in alone), 0)


class TracedRequest(Protocol):
    """What a batch needs of the requests in it: their records, or what stands in their place."""

    trace_id: str
    request_id: str

    @property
    def sampled(self) -> bool:
        """The decision that goes out in headers."""

    @property
    def recording(self) -> bool:
        """Whether it is recorded."""

    @property
    def debug(self) -> bool:
        """Whether its caller asked for its trace, whatever the sampling says."""

    @property
    def full_record(self) -> RequestRecord:
        """Return the request's record."""

    @property
    def context(self) -> Record:
        """Return where its code runs: its record, or what stands for one."""

    def item_dequeued(self, item: "ItemRecord", now_ns: int) -> None:
        """Take an item out of the queue."""


class ItemRecord:
    """One item of a request on its way through the queue into a batch."""

    __slots__ = (
        "batch",
        "depth",
        "dequeued_ns",
        "failure",
        "index",
        "position",
        "queued_ns",
        "request",
    )

    def __init__(self, request: TracedRequest | None, queued_ns: int, depth: int) -> None:
        self.request = request
        self.queued_ns = queued_ns
        self.depth = depth
        self.index = self.position = self.dequeued_ns = 0
        self.batch: BatchRecord | None = None
        self.failure: Failure | None = None


class BatchRecord(Attempt, Record):
    """One batch, from its release to the last of its results.

    Every batch has one, traced or not: the batcher learns from its marks. It has rows only
    where a request in it is recorded, and ids only where it holds more than one item, too.
    Once it is answered it names its members by value, so that records form no cycles.
    """

    trace_id = ""
    root_id = 0
    recording = False
    sampled = False
    retries: Sequence[Retry] = ()
    rows: Members | None = None
    """What its recorded members leave behind."""

    pending: int = 0
    """Ends that are still to come: each recorded member's, and the batch's own."""

    leans: BatchRequests[Any] | None = None
    """Its requests until their answers are out, where none has a record, and some are recorded: it
    gets rows then only once that turns out to be needed."""

    def __init__(
        self, endpoint: str, reason: str, size: int, *, runner_free_ns: int, released_ns: int
    ) -> None:
        self.endpoint = endpoint
        self.reason = reason
        self.size = size
        self.runner_free_ns = runner_free_ns
        self.released_ns = released_ns

    @property
    def is_traced(self) -> bool:
        """Whether any request in it is recorded."""
        return self.rows is not None or self.leans is not None

    @property
    def retried(self) -> int:
        """How many retries there were."""
        return len(self.retries)

    @property
    def is_packable(self) -> bool:
        """Whether it went well at once, and nobody asked for its trace."""
        is_more = self.failure or self.retries or self.debug or self.custom_lost
        return self.ended_ns > 0 and not is_more

    def retry(self, positions: Sequence[int]) -> Retry:
        """Have another go at the items at these positions, since a go at them and others raised."""
        retry = Retry(len(self.retries) + 1, positions)
        self.retries = [*self.retries, retry]
        return retry

    def attempts(self, position: int) -> list[Attempt]:
        """Return the goes at the item at this position; the last decided what it gets."""
        return [self, *(retry for retry in self.retries if position in retry.positions)]

    @property
    def is_decided(self) -> bool:
        """Whether it is known, now that it left, if its trace is kept."""
        return self.sampled or (self.pending == 0 and self.leans is None)
