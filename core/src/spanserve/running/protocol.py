"""What goes to the model and what comes back, and who carries it.

A *job* stays in the server and waits for its answer. A *request* is what it asks of the model, a
*reply* what became of it: data, that no code of the user's can reach once the next job runs. A
*host* is where the model is, and makes replies of requests. A *runner* carries both, to a thread of
the server, to processes, or further.
"""

from collections.abc import Callable, Container, Hashable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from spanserve.errors import SpanserveError
from spanserve.tracing.model.failure import Failure
from spanserve.tracing.recording.attempt import Attempt, RunBy
from spanserve.tracing.recording.base import Record


class RunnerGoneError(SpanserveError):
    """Nothing runs the model any more."""


class ReplicaDiedError(RunnerGoneError):
    """The replica of the service that had a job died, or hung; others may be there."""


class Batched(Protocol):
    """How a method runs on a batch: what the batcher and the host need of an endpoint's codec."""

    def batch_key(self, item: Any) -> Hashable:
        """Return what all items of one batch must have in common."""

    def decode_again(self, body: bytes) -> Any:
        """Make an item anew, of the body that it was decoded from; where the model is."""

    def collate(self, items: Sequence[Any]) -> Any:
        """Make the method's argument of the items; where the model is."""

    def split(self, result: Any, count: int) -> Sequence[Any]:
        """Make one private result an item of the method's answer; where the model is."""


class Place(NamedTuple):
    """Where the user's code runs: a place in a record; no record: in no trace."""

    record: Record | None
    place: int


class BatchRequest(NamedTuple):
    """A batch to be run by a method: its values, and what they are made of anew by its codec.

    That is None where no run can change the value. For `isolate_for_ns` after a run raised, the
    items may be run again in smaller groups.
    """

    method: str
    values: Sequence[Any]
    bodies: Sequence[Any]
    isolate_for_ns: int
    place: Place


class CallRequest(NamedTuple):
    """A call of a method with keyword arguments.

    Those named in `of_body` can be made of the body, too.
    """

    method: str
    arguments: Mapping[str, Any]
    place: Place
    body: bytes | None = None
    of_body: Container[str] = ()


Request = BatchRequest | CallRequest


class BatchReply(NamedTuple):
    """What became of a batch: for each item its private result, or what it failed with.

    `error` is what all of them failed with; then there are no results. `raised` is all that was
    raised on the way.
    """

    results: Sequence[Any]
    error: BaseException | None
    raised: Sequence[BaseException]


class CallReply(NamedTuple):
    """What became of a call: its private result, or what it raised."""

    result: Any
    error: BaseException | None


Reply = BatchReply | CallReply


class Trail(Protocol):
    """What a host writes down of a request as it runs: the marks, and what failed.

    On a thread of the server that is the job itself, so that its boundaries are known where they
    happen.
    """

    def attempt(self, positions: Sequence[int] | None) -> Attempt:
        """Begin a go at the items at these positions; None: the first, at all of them."""

    def failed(self, attempt: Attempt, failure: Failure) -> None:
        """Write down why a go failed."""

    def run_started(self, now_ns: int) -> None:
        """Write down that a call begins."""

    def run_ended(self, now_ns: int, failure: Failure | None) -> None:
        """Write down that a call ended, and whether it failed."""


class Job(Trail, Protocol):
    """One piece of work for a runner, and who waits for it."""

    def request(self) -> Request | None:
        """Return what is asked, once, where the runner likes; None: nobody waits any more."""

    def sent_to(self, runner: RunBy) -> None:
        """Write down what it runs on, where that is no thread of the server."""

    def replied(self, reply: Any) -> None:
        """Go on with what became of it, on the event loop."""

    def lost(self, error: Exception) -> None:
        """Fail, in place of `replied`, on the event loop: there is no reply, and will be none."""


class Runner(Protocol):
    """Runs jobs on the service's instance, or on replicas of it; used from one event loop."""

    @property
    def slots(self) -> int:
        """How many jobs it can hold at a time."""

    @property
    def free(self) -> int:
        """How many it would take now."""

    @property
    def idle(self) -> int:
        """How many of those would run at once; the others wait for one that runs."""

    @property
    def replicas(self) -> int:
        """How many jobs it runs at a time."""

    @property
    def gone(self) -> bool:
        """Whether it will run nothing any more; what is submitted is lost at once."""

    @property
    def awaited(self) -> bool:
        """Whether anyone asked to be told when it is free, and was not yet."""

    @property
    def free_ns(self) -> int:
        """When the runner last became free (a monotonic mark)."""

    async def start(self) -> None:
        """Make the instance and warm it up; raises what the user's code raises."""

    def submit(self, job: Job) -> None:
        """Run a job; only while a slot is free. Raises what keeps it from being sent at all."""

    def when_free(self, ask: Callable[[], None]) -> None:
        """Call `ask` once, on the loop, as soon as a slot is free; first come, first served."""

    async def close(self, timeout_s: float) -> None:
        """Finish the jobs that run, and close the instance; give up after `timeout_s`."""
