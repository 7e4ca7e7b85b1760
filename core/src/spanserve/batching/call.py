"""One call of a plain method: where it runs, and what the trace says of it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from spanserve.batching.runner import Runner, carried
from spanserve.errors import forget_frames
from spanserve.tracing.model.failure import failure_of
from spanserve.tracing.model.ids import RUN
from spanserve.tracing.recording.base import Record
from spanserve.tracing.recording.record import RequestRecord
from spanserve.tracing.scope import entered
from spanserve.tracing.tracing import Tracing

_STATUSES: Final = range(200, 600)


class Call:
    """A call of a sync method, as a job of a runner."""

    def __init__(
        self,
        method: Callable[..., Any],
        arguments: Mapping[str, Any],
        *,
        private: Callable[[Any], Any],
        tracing: Tracing,
        record: RequestRecord | None,
        context: Record | None = None,
    ) -> None:
        """`context` is what the method runs in where there is no record.

        `private` makes an answer of the method's, that it may still change, the call's own."""
        self.future = asyncio.get_running_loop().create_future()
        self._private = private
        self._method = method
        self._arguments = arguments
        self._tracing = tracing
        self._record = record
        self._context = record or context
        self._result: Any = None
        self._error: BaseException | None = None
        self.run_ns = 0
        self.ran_ns = 0

    def run(self, instance: object) -> None:
        """Call the method, unless nobody waits for its answer any more; on the runner."""
        if self.future.done():
            return
        record, now_ns = self._record, self._tracing.now_ns
        self.run_ns = now_ns()
        if record is not None:
            record.plain_run_started(self.run_ns)
        try:
            with entered(self._tracing.scope(self._context, RUN)):
                result = self._method(instance, **self._arguments)
            self.ran_ns = now_ns()
            self._result = self._private(result)
        except BaseException as error:  # noqa: BLE001  # even SystemExit of a model must not end the runner
            self._error = error
            note_failure(record, error, now_ns())
        self.ran_ns = self.ran_ns or now_ns()
        if record is not None:
            record.plain_run_ended(self.ran_ns)

    def done(self) -> None:
        """Hand out the answer, on the loop."""
        if self.future.done():
            if self._error is not None:
                forget_frames(self._error)
        elif self._error is not None:
            self.future.set_exception(carried(self._error))
        else:
            self.future.set_result(self._result)

    def lost(self, error: Exception) -> None:
        """Fail the call, which the machinery could not run, on the loop."""
        self._error = self._error or error
        self.done()


def on_runner(call: Call, runner: Runner, *, record: RequestRecord | None, now_ns: int) -> None:
    """Submit a call now, or as soon as the runner is free and it is this call's turn."""
    if not runner.busy:
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


def is_fault(error: BaseException) -> bool:
    """Whether it is a failure, and not an HTTP answer below 500 that the user's code raised."""
    status = status_of(error)
    return status is None or status >= 500  # noqa: PLR2004  # HTTP's server errors


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status that an exception names, as FastAPI's does; None: it names none."""
    try:
        status = getattr(error, "status_code", None)
    except Exception:  # noqa: BLE001  # a user's property may do anything
        return None
    return status if isinstance(status, int) and status in _STATUSES else None


def is_cancelled() -> bool:
    """Whether the current task was told to end, and this is no cancellation of its own."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
