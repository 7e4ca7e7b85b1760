"""The items of a batch that was lost with its replica: each runs once more, alone."""

from collections.abc import Sequence

from spanserve.batching.batch import Batch
from spanserve.running.protocol import BatchReply, BatchRequest, Place
from spanserve.tracing.model.failure import Failure, failure_of
from spanserve.tracing.model.ids import RUN
from spanserve.tracing.recording.attempt import Attempt, RunBy


class Rerun:
    """One item of a batch whose replica died, as a job of its own: it runs once more, alone."""

    def __init__(self, batch: Batch, position: int) -> None:
        self._batch = batch
        self._position = position
        record = batch.record
        self._attempt: Attempt = record if record.size == 1 else record.retry([position])

    def request(self) -> BatchRequest:
        """Return what is asked of the model."""
        batch, attempt = self._batch, self._attempt
        item = batch.items[self._position]
        place = batch.place
        if attempt.number:
            place = Place(batch.record, attempt.place(RUN))
        return BatchRequest(batch.method, [item.value], [item.body], 0, place)

    def sent_to(self, runner: RunBy) -> None:
        """Write down what it runs on."""
        self._attempt.runner = runner

    def attempt(self, positions: Sequence[int] | None) -> Attempt:  # noqa: ARG002  # there is one
        """Begin the go."""
        self._batch.items[self._position].failure = None
        return self._attempt

    def failed(self, attempt: Attempt, failure: Failure) -> None:
        """Write down why it failed."""
        attempt.failure = self._batch.items[self._position].failure = failure

    def run_started(self, now_ns: int) -> None:
        """Do nothing: a batch's marks are its goes'."""

    def run_ended(self, now_ns: int, failure: Failure | None) -> None:
        """Do nothing, as above."""

    def replied(self, reply: BatchReply) -> None:
        """Give the batch the item's result, or what it failed with."""
        result = reply.results[0] if reply.error is None else reply.error
        self._batch.ran_again(self._position, result)

    def lost(self, error: Exception) -> None:
        """Fail the item: what ran it died, too."""
        attempt, now_ns = self._attempt, self._batch.now_ns()
        if not attempt.ended_ns:
            begun_ns = attempt.started_ns or now_ns
            attempt.collate_started(begun_ns)
            attempt.run_started(attempt.run_ns or begun_ns)
            self.failed(attempt, failure_of(error, now_ns))
            attempt.run_ended(now_ns)
            attempt.ended(now_ns)
        self._batch.ran_again(self._position, error)
