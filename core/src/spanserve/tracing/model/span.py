"""What a finished span is: plain, frozen values that every tracer reads and none can change.

The classes are NamedTuples because one is made for every span of every request:
a frozen dataclass costs three times as much.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Never

Scalar = str | bool | int | float
AttributeValue = Scalar | Sequence[Scalar]
Attributes = Mapping[str, AttributeValue]


class _NoAttributes(dict[str, AttributeValue]):
    """What is said of nothing: one for all that have no attributes, and so nobody can add to it."""

    def _refuse(self, *_: object, **__: object) -> Never:
        raise TypeError(
            "these attributes are shared by all spans without any: take a dict of your own"
        )

    __setitem__ = update = setdefault = __ior__ = _refuse


NO_ATTRIBUTES: Attributes = _NoAttributes()


class SpanKind(StrEnum):
    """The span kinds of OpenTelemetry."""

    INTERNAL = "internal"
    SERVER = "server"
    CLIENT = "client"
    PRODUCER = "producer"
    CONSUMER = "consumer"


class Link(NamedTuple):
    """A reference to a span that is related but not a parent, in any trace.

    `is_remote`: it came from another process, with this W3C tracestate.
    """

    trace_id: str
    span_id: str
    attributes: Attributes = NO_ATTRIBUTES
    tracestate: str = ""
    is_remote: bool = False


class Event(NamedTuple):
    """Something that happened at one moment of a span; `time_ns` is Unix time."""

    name: str
    time_ns: int
    attributes: Attributes = NO_ATTRIBUTES


class SpanStart(NamedTuple):
    """What is known of a span when it begins; its fields mean what they mean in `Span`."""

    name: str
    kind: SpanKind
    trace_id: str
    span_id: str
    parent_id: str | None
    start_ns: int
    attributes: Attributes = NO_ATTRIBUTES
    links: Sequence[Link] = ()


class Span(NamedTuple):
    """One finished span.

    Ids are lower-case hex, never all zero: 32 digits for a trace, 16 for a span.
    `parent_id` is None for a root. Times are Unix time in nanoseconds, and
    `end_ns >= start_ns`. `error` is None where nothing failed; else it describes the
    failure and may be empty where the attributes say it all. `debug` is true where the
    caller asked for this trace whatever the sampling says (B3's debug flag). `tracestate`
    is what came with the trace's id from the caller, as W3C has it.
    """

    name: str
    kind: SpanKind
    trace_id: str
    span_id: str
    parent_id: str | None
    start_ns: int
    end_ns: int
    attributes: Attributes = NO_ATTRIBUTES
    links: Sequence[Link] = ()
    events: Sequence[Event] = ()
    error: str | None = None
    debug: bool = False
    tracestate: str = ""

    @property
    def duration_ns(self) -> int:
        """The length of the span in nanoseconds."""
        return self.end_ns - self.start_ns

    @property
    def duration_ms(self) -> float:
        """The length of the span in milliseconds."""
        return (self.end_ns - self.start_ns) / 1e6


@dataclass(frozen=True, slots=True)
class Resource:
    """What all spans of a process have in common: OpenTelemetry's resource.

    `attributes` holds the service's name, too, under `service.name`.
    """

    service_name: str
    attributes: Attributes
