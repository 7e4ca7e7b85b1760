"""What a replica's host writes down, and what it tells the server of a request that it ran."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from spanserve.errors import forget_frames
from spanserve.running.protocol import BatchReply, BatchRequest, CallReply, CallRequest, Reply
from spanserve.running.wire.frames import Frame
from spanserve.running.wire.results import (
    Faults,
    failure_form,
    packed_result,
    packed_results,
)
from spanserve.running.wire.traces import Form, HostRecord, packed_custom, place_in_host
from spanserve.running.wire.values import BODY, Parts, unpacked_values, value_of
from spanserve.tracing.admission.outgoing import Outgoing
from spanserve.tracing.model.failure import Failure
from spanserve.tracing.model.ids import ROOT
from spanserve.tracing.recording.attempt import Attempt, Retry
from spanserve.tracing.recording.base import Record, Scope
from spanserve.tracing.recording.custom import CustomSpan


class HostTrail:
    """The marks and failures of one request, until its reply takes them along."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.run_ns = 0
        self.ran_ns = 0
        self.failure: Failure | None = None

    def attempt(self, positions: Sequence[int] | None) -> Attempt:
        """Begin a go."""
        attempt = Attempt() if positions is None else Retry(len(self.attempts), positions)
        self.attempts.append(attempt)
        return attempt

    def failed(self, attempt: Attempt, failure: Failure) -> None:
        """Keep why a go failed."""
        attempt.failure = failure

    def run_started(self, now_ns: int) -> None:
        """Keep when a call began."""
        self.run_ns = now_ns

    def run_ended(self, now_ns: int, failure: Failure | None) -> None:
        """Keep when it ended, and why it failed."""
        self.ran_ns, self.failure = now_ns, failure

    def packed(self) -> Form:
        """Return all of it as plain data."""
        attempts = [
            [
                list(each.positions) if isinstance(each, Retry) else None,
                *(each.started_ns, each.run_ns, each.ran_ns, each.ended_ns),
                failure_form(each.failure),
            ]
            for each in self.attempts
        ]
        return [attempts, self.run_ns, self.ran_ns, failure_form(self.failure)]


class HostGate:
    """What user code in a replica needs of tracing."""

    def __init__(self, outgoing: Outgoing) -> None:
        self.late = HostLate()
        self.now_ns = time.perf_counter_ns
        self.headers_for, self.baggage_of = outgoing.headers_for, outgoing.baggage_of

    def scope(self, record: Record | None, place: int) -> Scope | None:
        """Return the scope in which to run the user's code at this place of a record."""
        return None if record is None else Scope(self, record, ROOT if record.left_ns else place)


class HostLate:
    """Spans that end, or begin, after the reply to their request has left: their record tells."""

    def began(self, record: Record, span: CustomSpan) -> None:
        """Take note that it is told of as it ends; one that is past the bound is told of now."""
        span.is_late = True
        if span.is_lost and isinstance(record, HostRecord):
            record.on_late(span)

    def ended(self, span: CustomSpan) -> None:
        """Do nothing: the record has told."""


class Customs:
    """The custom spans of one request, as they leave: with the reply, and later one by one."""

    def __init__(
        self, record: Record | None, token: int, tell: Callable[[int, Form | None], None]
    ) -> None:
        self._record = record if isinstance(record, HostRecord) else None
        self._token = token
        self._tell = tell

    def taken(self, now_ns: int) -> tuple[Form, int]:
        """Return those that there are by now, and how many were lost; others are told later."""
        record = self._record
        if record is None or not record.recording:
            return [], 0
        record.on_late = self._late
        record.left_ns = now_ns  # after that: whoever ends a span looks for it first
        spans = tuple(record.custom_spans)
        return [packed_custom(each) for each in spans if not each.is_late], record.custom_lost

    def _late(self, span: CustomSpan) -> None:
        self._tell(self._token, None if span.is_lost else packed_custom(span))


def request_of(
    content: Sequence[Any], frame: Frame, decode: Callable[[str, bytes], Any]
) -> BatchRequest | CallRequest:
    """Return what the server asks: its values are made here and now, and are the request's own."""
    method, form, place = content[:3]
    if len(content) > _CALL_VALUES:
        values, again = unpacked_values(form, frame, lambda body: decode(method, body))
        return BatchRequest(method, values, again, content[3], place_in_host(place))
    arguments, body = form
    whole = decode(method, body) if body is not None else {}
    found = {
        name: whole[name] if each[0] == BODY else value_of(each, frame, bytes)
        for name, each in arguments.items()
    }
    return CallRequest(method, found, place_in_host(place))


_CALL_VALUES = 3


def packed_reply(reply: Reply, parts: Parts) -> Form:
    """Return a reply as plain data, and let go of what was raised."""
    faults = Faults()
    error = None if reply.error is None else faults.add(reply.error)
    if isinstance(reply, BatchReply):
        form = packed_results(reply.results, parts, faults) if error is None else None
        for each in reply.raised:
            forget_frames(each)
    else:
        assert isinstance(reply, CallReply)  # noqa: S101  # there are two
        form = packed_result(reply.result, parts, faults) if error is None else None
    return [form, error, faults.forms]
