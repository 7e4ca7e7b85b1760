"""The spans of the user's own that end after their trace has left, from their table."""

from spanserve.tracing.model.failure import Failure
from spanserve.tracing.model.span import Link, SpanKind
from spanserve.tracing.recording.base import Record
from spanserve.tracing.recording.custom import CustomEvent, CustomSpan
from spanserve.tracing.recording.table import Table


class LateRecord(Record):
    """What is known of a trace that left before: the `finished` spans are all there is of it."""

    sampled = recording = True

    def __init__(self, trace_id: str, root_id: int, tracestate: str, *, debug: bool) -> None:
        self.trace_id = trace_id
        self.root_id = root_id
        self.tracestate = tracestate
        self.debug = debug


def late_record(table: Table) -> LateRecord:
    """Return what is known of a trace that left before, of its table."""
    (trace_id, root_id, tracestate, debug), customs = table[2:]
    record = LateRecord(trace_id, root_id, tracestate, debug=debug)
    record.finished = [_custom(*custom) for custom in customs]
    return record


def _custom(  # noqa: PLR0917  # as it is packed
    name: str,
    place: int,
    parent_place: int,
    started_ns: int,
    ended_ns: int,
    attributes: dict[str, str],
    events: list[tuple[str, int, dict[str, str]]],
    failure: tuple[int, str, str, str] | None,
    error: str | None,
    kind: str,
    links: list[tuple[str, str]],
) -> CustomSpan:
    custom = CustomSpan(name, place, parent_place, started_ns)
    custom.ended_ns = ended_ns
    custom.attributes.update(attributes)
    custom.events = [CustomEvent(*event) for event in events]
    custom.failure = None if failure is None else Failure(*failure)
    custom.error = error
    custom.kind = SpanKind(kind)
    custom.links = tuple(Link(*link) for link in links)
    return custom
