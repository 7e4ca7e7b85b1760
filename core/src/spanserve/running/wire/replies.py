"""A replica's replies, as the jobs in the server are told of them."""

from collections.abc import Sequence
from typing import Any

from spanserve.running.protocol import BatchReply, BatchRequest, CallReply, Reply, Request, Trail
from spanserve.running.wire import messages, results
from spanserve.running.wire.frames import Frame, FrameError
from spanserve.running.wire.results import failure_from, fault_of, result_of, results_of
from spanserve.running.wire.traces import Opened
from spanserve.tracing.recording.base import Outlet, Record

Form = list[Any]


def reply_of(form: Form, frame: Frame, request: Request) -> Reply:
    """Return what became of a request; raises FrameError."""
    try:
        told, error, forms = form
        faults = [fault_of(each) for each in forms]
        failed = None if error is None else faults[error]
        if isinstance(request, BatchRequest):
            if failed is not None:
                return BatchReply((), failed, ())
            found = results_of(told, frame, faults, len(request.values))
            return BatchReply(found, None, ())
        return CallReply(None if failed else result_of(told, frame, faults), failed)
    except (TypeError, ValueError, IndexError) as wrong:
        raise FrameError(f"a reply that is none: {wrong}") from wrong


def read_ahead(frame: Frame) -> Frame:
    """Read what takes long of a reply, on a thread; raises FrameError."""
    match frame.content:
        case [messages.REPLY, _, [form, *_], *_]:
            results.read_ahead(form)
    return frame


def replayed(form: Form, trail: Trail, size: int) -> None:
    """Write down what a replica's host wrote down there; raises FrameError."""
    try:
        attempts, run_ns, ran_ns, failure = form
        if run_ns:
            trail.run_started(int(run_ns))
            trail.run_ended(int(ran_ns), failure_from(failure))
        if attempts:
            _replayed_goes(attempts, trail, size)
    except (TypeError, ValueError) as wrong:
        raise FrameError(f"a trail that is none: {wrong}") from wrong


def _replayed_goes(attempts: Sequence[Form], trail: Trail, size: int) -> None:
    ends = []
    for place, (positions, started_ns, run_ns, ran_ns, ended_ns, failed) in enumerate(attempts):
        if (positions is None) != (place == 0) or not _are_positions(positions, size):
            raise FrameError("a go at items that are not there")
        attempt, failure = trail.attempt(positions), failure_from(failed)
        attempt.collate_started(int(started_ns))
        if run_ns:
            attempt.run_started(int(run_ns))
        split = failure is not None and 0 < ran_ns < failure.time_ns
        if ran_ns and (failure is None or split):
            attempt.run_ended(int(ran_ns))
        if failure is not None:
            trail.failed(attempt, failure)
        if ran_ns and failure is not None and not split:
            attempt.run_ended(int(ran_ns))
        ends.append((attempt, int(ended_ns)))
    for attempt, ended_ns in (*ends[1:], ends[0]):
        attempt.ended(ended_ns)


def _are_positions(positions: Any, size: int) -> bool:
    return positions is None or all(isinstance(p, int) and 0 <= p < size for p in positions)


def opened(form: Form, record: Record | None, gate: Outlet) -> list[Opened]:
    """Write down the custom spans of a reply; return those that are open. Raises FrameError."""
    try:
        customs, lost = form
        if record is None or not record.recording:
            return []
        record.custom_lost += int(lost)
        spans = [(Opened(gate, record, each), each[5]) for each in customs]
    except (TypeError, ValueError, IndexError) as wrong:
        raise FrameError(f"spans that are none: {wrong}") from wrong
    return [span for span, ended_ns in spans if not ended_ns]
