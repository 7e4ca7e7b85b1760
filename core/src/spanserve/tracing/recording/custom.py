"""The spans of the user's own code, as a record keeps them."""

from collections.abc import Sequence
from typing import NamedTuple

from spanserve.tracing.model.failure import Failure
from spanserve.tracing.model.span import Attributes, AttributeValue, Link, SpanKind


class CustomEvent(NamedTuple):
    """An event of a custom span; `time_ns` is monotonic."""

    name: str
    time_ns: int
    attributes: Attributes


class CustomSpan:
    """A span that the user's code opened: its marks, and what was said of it."""

    __slots__ = (
        "attributes",
        "ended_ns",
        "ended_under",
        "error",
        "events",
        "failure",
        "is_late",
        "kind",
        "links",
        "name",
        "parent_place",
        "place",
        "started_ns",
    )

    def __init__(self, name: str, place: int, parent_place: int, started_ns: int) -> None:
        self.name = name
        self.place = place
        self.parent_place = parent_place
        self.started_ns = started_ns
        self.ended_ns = 0
        self.ended_under = False
        """Whether it ended where another was current, as where two generators take turns."""

        self.attributes: dict[str, AttributeValue] = {}
        self.events: list[CustomEvent] = []
        self.failure: Failure | None = None
        self.error: str | None = None
        """What is said of its failing, where it failed without an exception."""

        self.kind = SpanKind.INTERNAL
        self.links: Sequence[Link] = ()
        self.is_late = False
        """Whether its trace left without it."""

    @property
    def is_lost(self) -> bool:
        """Whether it is not kept: what opens in it lies in its parent."""
        return self.place == self.parent_place

    def lose(self) -> None:
        """Be kept no more, and stand for its parent."""
        self.place = self.parent_place


PlainCustom = tuple[str, str, int, int, int, int, dict[str, AttributeValue]]
"""Name, kind, place, parent's place, start, end (monotonic), attributes."""


def plain_customs(customs: Sequence[CustomSpan], until_ns: int) -> tuple[PlainCustom, ...] | None:
    """Return custom spans as plain values.

    None where one is more than a name, its times and attributes, or had not ended by then.
    """
    plain = []
    for each in tuple(customs):
        if each.is_late or not 0 < each.ended_ns <= until_ns:
            return None
        if each.events or each.links or each.failure or each.error is not None:
            return None
        times = each.started_ns, each.ended_ns
        attributes = dict(each.attributes)
        plain.append(
            (each.name, each.kind.value, each.place, each.parent_place, *times, attributes)
        )
    return tuple(plain)
