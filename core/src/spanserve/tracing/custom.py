"""The spans of the user's own code, as a record keeps them."""

from collections.abc import Sequence
from typing import NamedTuple

from spanserve.tracing.failure import Failure
from spanserve.tracing.span import Attributes, AttributeValue, Link, SpanKind


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
        "error",
        "events",
        "failure",
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
        self.attributes: dict[str, AttributeValue] = {}
        self.events: list[CustomEvent] = []
        self.failure: Failure | None = None
        self.error: str | None = None
        """What is said of its failing, where it failed without an exception."""

        self.kind = SpanKind.INTERNAL
        self.links: Sequence[Link] = ()


PlainCustom = tuple[str, str, int, int, int, int, dict[str, AttributeValue]]
"""Name, kind, place, parent's place, start, end (monotonic), attributes."""


def plain_customs(
    customs: Sequence[CustomSpan], place: int, end_ns: int
) -> tuple[PlainCustom, ...] | None:
    """Return the custom spans of a run, which lies at this place and ended then, as plain values.

    None where one of them is more than a name, its times and attributes, or does not lie within
    the run or another of them.
    """
    ends = {place: end_ns}
    plain = []
    for each in tuple(customs):  # parents before children
        parent_end_ns = ends.get(each.parent_place, 0)
        if not each.started_ns <= each.ended_ns <= parent_end_ns:
            return None
        if each.events or each.links or each.failure or each.error is not None:
            return None
        ends[each.place] = each.ended_ns
        times = each.started_ns, each.ended_ns
        attributes = dict(each.attributes)
        plain.append(
            (each.name, each.kind.value, each.place, each.parent_place, *times, attributes)
        )
    return tuple(plain)
