"""One call of a plain method: where it runs, and what the trace says of it."""

import asyncio
from collections.abc import Awaitable, Callable, Container, Mapping
from functools import partial
from typing import Any

from spanserve.errors import forget_frames
from spanserve.running.faults import carried, is_fault
from spanserve.running.protocol import CallReply, CallRequest, Place, ReplicaDiedError, Runner
from spanserve.tracing.model.failure import Failure, failure_of
from spanserve.tracing.model.ids import RUN
from spanserve.tracing.recording.attempt import Attempt, RunBy
from spanserve.tracing.recording.base import Record
from spanserve.tracing.recording.record import RequestRecord
from spanserve.tracing.scope import entered
from spanserve.tracing.tracing import Tracing


class Call:
    """A call of a sync method, as a job of a runner."""

    def __init__(
        self,
        method: str,
        arguments: Mapping[str, Any],
        *,
        record: RequestRecord | None = None,
        context: Record | None = None,
        body: bytes | None = None,
        of_body: Container[str] = (),
        retry: bool = False,
    ) -> None:
        """`context` is what the method runs in where there is no record.

        Those arguments that are named in `of_body` can be made anew of the body. With `retry` it
        runs again, once, where what ran it died.
        """
        self.future = asyncio.get_running_loop().create_future()
        self._method = method
        self._arguments = arguments
        self._record = record
        self._context = record or context
        self._of = body, of_body
        self._retries = retry
        self.again: Callable[[Call], None] | None = None
        self.run_ns = 0
        self.ran_ns = 0

    def request(self) -> CallRequest | None:
        """Return what is asked of the model, unless nobody waits for its answer any more."""
        if self.future.done():
            return None
        return CallRequest(self._method, self._arguments, Place(self._context, RUN), *self._of)

    def sent_to(self, runner: RunBy) -> None:
        """Write down what it runs on."""
        if self._record is not None:
            self._record.runner = runner

    def attempt(self, positions: object) -> Attempt:  # noqa: ARG002  # as of every trail
        """Return marks that nobody reads: a call's are its own."""
        return Attempt()

    def failed(self, attempt: Attempt, failure: Failure) -> None:
        """Do nothing, as above."""

    def run_started(self, now_ns: int) -> None:
        """Write down that the method is called."""
        self.run_ns = now_ns
        if self._record is not None:
            self._record.plain_run_started(now_ns)

    def run_ended(self, now_ns: int, failure: Failure | None) -> None:
        """Write down that it returned, or failed."""
        self.ran_ns = now_ns
        if self._record is not None:
            if failure is not None:
                self._record.failure = failure
            self._record.plain_run_ended(now_ns)

    def replied(self, reply: CallReply) -> None:
        """Hand out the answer, on the loop."""
        result, error = reply
        if self.future.done():
            if error is not None:
                forget_frames(error)
        elif error is not None:
            self.future.set_exception(carried(error))
        else:
            self.future.set_result(result)

    def lost(self, error: Exception) -> None:
        """Fail the call, of which there is no reply, or have it run again; on the loop."""
        if self._retries and self.again is not None and isinstance(error, ReplicaDiedError):
            self._retries = False
            self.again(self)
            return
        self.replied(CallReply(None, error))


def on_runner(call: Call, runner: Runner, *, record: RequestRecord | None, now_ns: int) -> None:
    """Submit a call now, or as soon as the runner is free and it is this call's turn."""
    call.again = partial(on_runner, runner=runner, record=None, now_ns=now_ns)
    if runner.free:
        runner.submit(call)
        return
    if record is not None:
        record.plain_queued(now_ns)
    runner.when_free(lambda: on_turn(call, runner))


def on_turn(call: Call, runner: Runner) -> None:
    """Submit a call that waited, unless nobody waits for its answer any more."""
    if not call.future.done():
        runner.submit(call)


async def on_loop(
    method: Callable[..., Awaitable[Any]],
    instance: object,
    arguments: Mapping[str, Any],
    *,
    tracing: Tracing,
    record: RequestRecord | None,
    context: Record | None = None,
) -> Any:
    """Await an async method here; `context` is what it runs in where there is no record.

    Whatever it raises is an Exception, unless this task is cancelled: no `sys.exit` of a model
    ends the server, and a task of its own that it cancelled is its own matter.
    """
    if record is not None:
        record.plain_run_started(tracing.now_ns())
    try:
        with entered(tracing.scope(record or context, RUN)):
            return await method(instance, **arguments)
    except (Exception, SystemExit, asyncio.CancelledError) as error:
        if isinstance(error, asyncio.CancelledError) and is_cancelled():
            raise
        note_failure(record, error, tracing.now_ns())
        raise (carrier := carried(error)) from carrier.__cause__
    finally:
        if record is not None:
            record.plain_run_ended(tracing.now_ns())


def note_failure(record: RequestRecord | None, error: BaseException, now_ns: int) -> None:
    """Write down that the user's code failed, where it did."""
    if record is not None and is_fault(error):
        record.failure = failure_of(error, now_ns)


def is_cancelled() -> bool:
    """Whether the current task was told to end, and this is no cancellation of its own."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
