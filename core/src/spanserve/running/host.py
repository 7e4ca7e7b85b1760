"""Where the model is: the service's instance, and the requests that are run on it.

To collate, to find the items at fault and to split happen here, beside the model; a host knows
nothing of queues, and of traces no more than where its code runs and what it writes down.
"""

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, Protocol

from spanserve.running.faults import is_fault
from spanserve.running.isolation import Positions, isolated
from spanserve.running.protocol import (
    Batched,
    BatchReply,
    BatchRequest,
    CallReply,
    CallRequest,
    Place,
    Reply,
    Request,
    Trail,
)
from spanserve.service.codecs.problems import InvalidResult
from spanserve.tracing.model.failure import failure_of
from spanserve.tracing.model.ids import RUN
from spanserve.tracing.recording.attempt import Attempt
from spanserve.tracing.recording.base import Record, Scope
from spanserve.tracing.scope import entered


class Gate(Protocol):
    """What a host needs of tracing."""

    def now_ns(self) -> int:
        """Return the monotonic clock."""

    def scope(self, record: Record | None, place: int) -> Scope | None:
        """Return the scope in which to run the user's code at this place of a record."""


class BatchMethod(NamedTuple):
    """A method that is called with a batch, which its codec makes."""

    call: Callable[[Any, Any], Any]
    codec: Batched


class PlainMethod(NamedTuple):
    """A method that is called with keyword arguments; `private` makes its result our own."""

    call: Callable[..., Any]
    private: Callable[[Any], Any]


Methods = Mapping[str, BatchMethod | PlainMethod]


class Host:
    """A service's instance, and its methods by name."""

    def __init__(
        self,
        instantiate: Callable[[], object],
        methods: Methods,
        gate: Gate,
        starting: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """`starting` is what the instance is made and warmed up in."""
        self._instantiate = instantiate
        self._methods = methods
        self._gate = gate
        self._starting = starting
        self._now_ns = gate.now_ns
        self.instance: object | None = None

    def start(self) -> None:
        """Make the instance and warm it up; raises what the user's code raises."""
        with self._starting():
            self.instance = self._instantiate()
            self._call_optional("warm_up")

    def close(self) -> None:
        """Close the instance; raises what the user's code raises."""
        self._call_optional("close")

    def run(self, request: Request, trail: Trail) -> Reply:
        """Run a request, whatever the user's code does."""
        if isinstance(request, BatchRequest):
            return self._run_batch(request, trail)
        return self._call(request, trail)

    def _run_batch(self, request: BatchRequest, trail: Trail) -> BatchReply:
        method = self._methods[request.method]
        assert isinstance(method, BatchMethod)  # noqa: S101  # a batch endpoint's
        return _Run(request, method, trail, self._gate).reply(self.instance)

    def _call(self, request: CallRequest, trail: Trail) -> CallReply:
        method, now_ns = self._methods[request.method], self._now_ns
        assert isinstance(method, PlainMethod)  # noqa: S101  # a plain endpoint's
        result, error, failure = None, None, None
        trail.run_started(now_ns())
        ran_ns = 0
        try:
            with entered(self._gate.scope(*request.place)):
                result = method.call(self.instance, **request.arguments)
            ran_ns = now_ns()
            result = method.private(result)
        except BaseException as raised:  # noqa: BLE001  # even SystemExit of a model must not end the runner
            error = raised
            if is_fault(raised):
                failure = failure_of(raised, now_ns())
        trail.run_ended(ran_ns or now_ns(), failure)
        return CallReply(result, error)

    async def run_async(self, request: CallRequest, trail: Trail) -> CallReply:
        """Await an async method, whatever it does, on a loop beside the host's own thread."""
        method, now_ns = self._methods[request.method], self._now_ns
        assert isinstance(method, PlainMethod)  # noqa: S101  # a plain endpoint's
        result, error, failure = None, None, None
        trail.run_started(now_ns())
        try:
            with entered(self._gate.scope(*request.place)):
                result = await method.call(self.instance, **request.arguments)
            result = method.private(result)  # before another request has the loop
        except (Exception, SystemExit, asyncio.CancelledError) as raised:  # noqa: BLE001  # as above
            error = raised
            if is_fault(raised):
                failure = failure_of(raised, now_ns())
        trail.run_ended(now_ns(), failure)
        return CallReply(result, error)

    def _call_optional(self, method: str) -> None:
        """Call a method if it is there; one that is async is awaited by others, on a loop."""
        call = getattr(self.instance, method, None)
        if call is not None and not inspect.iscoroutinefunction(call):
            call()


class _Run:
    """One batch that runs."""

    __slots__ = ("_gate", "_method", "_raised", "_request", "_trail")

    def __init__(
        self, request: BatchRequest, method: BatchMethod, trail: Trail, gate: Gate
    ) -> None:
        self._request = request
        self._method = method
        self._trail = trail
        self._gate = gate
        self._raised: tuple[BaseException, ...] = ()

    def reply(self, instance: object) -> BatchReply:
        """Run the user's method; where it raises, find whose fault it is."""
        request, raised = self._request, None
        results: Sequence[Any] = ()
        first = self._trail.attempt(None)
        try:
            results = self._attempt(instance, first, range(len(request.values)), request.place)
        except BaseException as error:  # noqa: BLE001  # even SystemExit of a model must not end the runner
            raised = error
        if raised is not None:  # here, so that what the retries raise is not chained to it
            found = self._isolate(instance, raised)
            if found is not None:
                raised, results = None, found
        first.ended(self._gate.now_ns())
        return BatchReply(results, raised, self._raised)

    def _attempt(
        self, instance: object, attempt: Attempt, positions: Positions, place: Place
    ) -> Sequence[Any]:
        """Collate, run the user's method, and split; raises whatever fails."""
        now_ns, (call, codec) = self._gate.now_ns, self._method
        attempt.collate_started(now_ns())
        try:
            argument = codec.collate(self._values(attempt, positions))
            attempt.run_started(now_ns())
            with entered(self._gate.scope(*place)):
                result = call(instance, argument)
            attempt.run_ended(now_ns())
            return codec.split(result, len(positions))
        except BaseException as error:
            self._raised = (*self._raised, error)
            time_ns = now_ns()
            if is_fault(error):
                self._trail.failed(attempt, failure_of(error, time_ns))
            if attempt.run_ns and not attempt.ran_ns:
                attempt.run_ended(time_ns)
            raise

    def _values(self, attempt: Attempt, positions: Positions) -> Sequence[Any]:
        """Return the values of a go; what the method was given before, it may have changed."""
        values, bodies = self._request.values, self._request.bodies
        if not attempt.number:
            return values
        again = self._method.codec.decode_again
        return [
            values[each] if (body := bodies[each]) is None else again(body) for each in positions
        ]

    def _isolate(self, instance: object, error: BaseException) -> Sequence[Any] | None:
        """Run the items again in smaller groups, where that may help some; None: it may not."""
        size, now_ns = len(self._request.values), self._gate.now_ns
        give_up_ns = now_ns() + self._request.isolate_for_ns
        record, _ = self._request.place

        def may_retry(error: BaseException) -> bool:
            """Whether it may be the fault of one item, and there is time to see which."""
            may_be = isinstance(error, Exception) and not isinstance(error, InvalidResult)
            return may_be and now_ns() < give_up_ns

        def attempt(positions: Positions) -> Sequence[Any]:
            retry = self._trail.attempt(positions)
            try:
                return self._attempt(instance, retry, positions, Place(record, retry.place(RUN)))
            finally:
                retry.ended(now_ns())

        if size == 1 or not may_retry(error):
            return None
        return isolated(size, error, attempt, may_retry=may_retry)
