"""Where a request stands in a trace, and the custom spans of its code, as frames carry them.

The code in a replica writes into a record of its own there. Its spans go along with the reply, and
into the record in the server that it stands for.
"""

from collections.abc import Callable, Iterable, Sequence
from random import SystemRandom
from typing import Any, Final

from spanserve.running.protocol import Place
from spanserve.running.wire.frames import FrameError
from spanserve.running.wire.results import failure_form, failure_from
from spanserve.tracing.admission.outgoing import Outgoing
from spanserve.tracing.model.attributes import plain_value
from spanserve.tracing.model.ids import ROOT, place_of
from spanserve.tracing.model.span import NO_ATTRIBUTES, Attributes, Link, SpanKind
from spanserve.tracing.propagation.passing import PassingRecord
from spanserve.tracing.recording.base import Outlet, Record, Scope
from spanserve.tracing.recording.custom import CustomEvent, CustomSpan

Form = list[Any]

_SAMPLED: Final = 1
_RECORDING: Final = 2
_DEBUG: Final = 4
_RANDOM: Final = 8

_random = SystemRandom()


class HostRecord(Record):
    """Stands in a replica for a record of the server's: custom spans are written down in it."""

    def __init__(self, form: Form) -> None:
        self.trace_id, self.root_id, _, flags, self.tracestate, self.baggage, self.request_id = form
        self.sampled = bool(flags & _SAMPLED)
        self.recording = bool(flags & _RECORDING)
        self.debug = bool(flags & _DEBUG)
        self.random = bool(flags & _RANDOM)
        self.on_late: Callable[[CustomSpan], None] = _nothing

    def custom_started(
        self,
        name: str,
        parent_place: int,
        now_ns: int,
        attributes: Attributes = NO_ATTRIBUTES,
        place: int | None = None,
    ) -> CustomSpan:
        """Write down that a custom span begins, at a place that no other process chooses."""
        if place is None:
            place = place_of(self.root_id, _random.getrandbits(64))
        return super().custom_started(name, parent_place, now_ns, attributes, place)

    def custom_ended(self, span: CustomSpan, now_ns: int) -> None:
        """Write down that a custom span ends, and tell of it where the reply has left."""
        super().custom_ended(span, now_ns)
        if self.left_ns and not span.is_lost:
            self.on_late(span)


def _nothing(_span: CustomSpan) -> None:
    pass


class PassedSender:
    """The headers of a request that is not traced, as far as they go on to others."""

    def __init__(self, request_id: str, headers: Sequence[Sequence[bytes]]) -> None:
        self.request_id = request_id
        self._headers = [(name, value) for name, value in headers]

    def header_fields(self) -> Iterable[tuple[bytes, bytes]]:
        """Return them."""
        return self._headers


def packed_place(place: Place, outgoing: Outgoing) -> Form | None:
    """Return where a request stands, as plain data; None: in no trace."""
    record, at = place
    if record is None:
        return None
    if isinstance(record, PassingRecord):
        names = outgoing.header_names
        headers = [each for each in record.headers() if each[0] in names]
        return [record.request_id, headers]
    if not record.trace_id:
        return None
    flags = record.sampled * _SAMPLED + record.recording * _RECORDING
    flags += record.debug * _DEBUG + record.random * _RANDOM
    request_id = getattr(record, "request_id", "")
    at = ROOT if record.left_ns else at
    baggage = [*record.baggage]
    return [record.trace_id, record.root_id, at, flags, record.tracestate, baggage, request_id]


_PASSING: Final = 2
"""So many values a form has of a request that is not traced."""


def place_in_host(form: Form | None) -> Place:
    """Return a place in a record that stands for the server's."""
    if form is None:
        return Place(None, ROOT)
    if len(form) == _PASSING:
        return Place(PassingRecord(PassedSender(*form)), ROOT)
    return Place(HostRecord(form), form[2])


def packed_custom(span: CustomSpan) -> Form:
    """Return a custom span as plain data."""
    return [
        *(span.name, span.kind.value, span.place, span.parent_place),
        *(span.started_ns, span.ended_ns, _plain(span.attributes)),
        [[each.name, each.time_ns, _plain(each.attributes)] for each in span.events],
        failure_form(span.failure),
        span.error,
        [
            [each.trace_id, each.span_id, each.tracestate, each.is_remote, _plain(each.attributes)]
            for each in span.links
        ],
    ]


def _plain(attributes: Attributes) -> dict[str, Any]:
    return {key: _bounded(value) for key, value in attributes.items()}


def _bounded(value: Any) -> Any:
    return str(value) if isinstance(value, int) and value.bit_length() > _BITS else value


_BITS: Final = 63


class Opened:
    """A custom span of a replica's, as it stands in the server's record."""

    def __init__(self, gate: Outlet, record: Record, form: Form) -> None:
        """Write down that it began; raises FrameError."""
        try:
            name, _, place, parent_place, started_ns = form[:5]
            self._outer = Scope(gate, record, int(parent_place))
            inside = self._outer.opened(str(name), int(started_ns), NO_ATTRIBUTES, int(place))
        except (TypeError, ValueError) as error:
            raise FrameError(f"a span that is none: {error}") from error
        assert inside.custom is not None  # noqa: S101  # it was opened
        self.custom = inside.custom
        self.told(form)

    def told(self, form: Form) -> bool:
        """Write down what is known of it now; return whether it ended. Raises FrameError."""
        custom = self.custom
        try:
            name, kind, _, _, _, ended_ns, attributes, events, failure, error, links = form
            custom.name = str(name)
            custom.kind = SpanKind(kind)
            custom.attributes.update(_attributes(attributes))
            custom.events[:] = [CustomEvent(str(n), int(t), _attributes(a)) for n, t, a in events]
            custom.failure = failure_from(failure)
            custom.error = None if error is None else str(error)
            custom.links = tuple(
                Link(str(t), str(s), _attributes(a), str(state), bool(remote))
                for t, s, state, remote, a in links
            )
        except (TypeError, ValueError) as wrong:
            raise FrameError(f"a span that is none: {wrong}") from wrong
        if ended_ns and not custom.ended_ns:
            self._outer.closed(custom, int(ended_ns))
        return bool(ended_ns)


def _attributes(form: dict[Any, Any]) -> dict[str, Any]:
    return {
        str(key): plain_value(tuple(value) if isinstance(value, list) else value)
        for key, value in form.items()
    }
