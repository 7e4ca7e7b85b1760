"""One call of a plain method: where it runs, and what the trace says of it."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from typing import Any

from spanserve.batching.runner import Runner
from spanserve.tracing.record import RUN, RequestRecord, failure_of
from spanserve.tracing.scope import entered
from spanserve.tracing.tracing import Tracing


class Call:
    """A call of a sync method, as a job of a runner."""

    def __init__(
        self,
        method: Callable[..., Any],
        arguments: Mapping[str, Any],
        *,
        tracing: Tracing,
        record: RequestRecord | None,
    ) -> None:
        self.future = asyncio.get_running_loop().create_future()
        self._method = method
        self._arguments = arguments
        self._tracing = tracing
        self._record = record
        self._result: Any = None
        self._error: BaseException | None = None

    def run(self, instance: object) -> None:
        """Call the method; on the runner."""
        record, now_ns = self._record, self._tracing.now_ns
        if record is not None:
            record.plain_run_started(now_ns())
        try:
            with entered(self._tracing.scope(record, RUN)):
                self._result = self._method(instance, **self._arguments)
        except BaseException as error:  # noqa: BLE001  # even SystemExit of a model must not end the runner
            self._error = error
            note_failure(record, error, now_ns())
        if record is not None:
            record.plain_run_ended(now_ns())

    def done(self) -> None:
        """Hand out the answer, on the loop."""
        if self.future.done():
            return
        if isinstance(self._error, Exception):
            self.future.set_exception(self._error)
        elif self._error is not None:
            self.future.set_exception(RuntimeError(f"the service raised {self._error!r}"))
        else:
            self.future.set_result(self._result)


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


async def on_threads(call: Call, executor: Executor, instance: object) -> Any:
    """Run a call on one of several threads, for a method that says it is thread-safe."""
    loop = asyncio.get_running_loop()
    context = contextvars.copy_context()
    await loop.run_in_executor(executor, context.run, call.run, instance)
    call.done()
    return await call.future


async def on_loop(
    method: Callable[..., Awaitable[Any]],
    instance: object,
    arguments: Mapping[str, Any],
    *,
    tracing: Tracing,
    record: RequestRecord | None,
) -> Any:
    """Await an async method here."""
    if record is not None:
        record.plain_run_started(tracing.now_ns())
    try:
        with entered(tracing.scope(record, RUN)):
            return await method(instance, **arguments)
    except Exception as error:
        note_failure(record, error, tracing.now_ns())
        raise
    finally:
        if record is not None:
            record.plain_run_ended(tracing.now_ns())


def note_failure(record: RequestRecord | None, error: BaseException, now_ns: int) -> None:
    """Write down that the user's code failed, unless it raised an HTTP answer below 500."""
    if record is not None and getattr(error, "status_code", 500) >= 500:  # noqa: PLR2004
        record.failure = failure_of(error, now_ns)
