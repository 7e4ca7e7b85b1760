"""The shape of a trace: which span stands under which, and the lines that lead there."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from spanserve import Span
from spanserve.tracers.script import Script

_MAX_GUIDE: Final = 18
_BLANK: Final = "   "


class Branch(NamedTuple):
    """A span's place: the guides before its name, and those before what follows it."""

    span: Span
    lead: str
    rest: str
    is_root: bool


def by_trace(spans: Sequence[Span]) -> list[list[Span]]:
    """Sort spans into their traces, both in the order in which they came."""
    traces: dict[str, list[Span]] = {}
    for span in spans:
        traces.setdefault(span.trace_id, []).append(span)
    return list(traces.values())


def branches(spans: Sequence[Span], script: Script) -> Iterator[Branch]:
    """Put the spans of a trace in a tree's order, each exactly once, whatever their ids claim.

    Siblings come in the order of their starts. A span whose parent is not there is a root.
    Of spans with one id the first is the parent; a circle of parents is cut open.
    """
    order = sorted(range(len(spans)), key=lambda index: spans[index].start_ns)
    by_id: dict[str, int] = {}
    for index, span in enumerate(spans):
        by_id.setdefault(span.span_id, index)
    roots: list[int] = []
    children: dict[int, list[int]] = {}
    for index in order:
        parent = by_id.get(spans[index].parent_id or "")
        (roots if parent is None else children.setdefault(parent, [])).append(index)
    seen: set[int] = set()
    for root in (*roots, *order):
        if root not in seen:
            seen.add(root)
            for index, lead, rest in _subtree(root, children, seen, script):
                yield Branch(spans[index], lead, rest, is_root=index == root)


def _subtree(
    root: int, children: dict[int, list[int]], seen: set[int], script: Script
) -> Iterator[tuple[int, str, str]]:
    """Walk without recursion, since a chain of spans may be deeper than Python's stack."""
    stack = [(root, "", "")]
    while stack:
        index, lead, inner = stack.pop()
        nested = [child for child in children.get(index, ()) if child not in seen]
        seen.update(nested)
        yield index, lead, inner + (script.through if nested else _BLANK)
        inner = _bounded(inner, script)
        for child in reversed(nested):
            is_last = child == nested[-1]
            branch, stem = (script.last, _BLANK) if is_last else (script.branch, script.through)
            stack.append((child, inner + branch, inner + stem))


def _bounded(guide: str, script: Script) -> str:
    if len(guide) <= _MAX_GUIDE:
        return guide
    return script.cut + guide[-_MAX_GUIDE + len(script.cut) :]
