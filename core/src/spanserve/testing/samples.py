"""Spans of every shape that a tracer is handed; each call makes others, of now."""

from collections.abc import Callable, Mapping, Sequence
from math import inf, nan
from typing import Any, Final

from spanserve.testing.builders import make_span
from spanserve.tracing.model import names
from spanserve.tracing.model.span import Event, Link, Span, SpanKind

Records = Sequence[Sequence[Span]]

_STACK: Final = 'Traceback (most recent call last):\n  File "m.py", line 1\nValueError: no'


def _request(batch: Span | None = None, *, items: int = 1, **fields: Any) -> list[Span]:
    """Return a request's spans; of each item, those that its batch has, too."""
    root = make_span(
        "POST /predict",
        kind=SpanKind.SERVER,
        duration_ms=12,
        attributes={
            names.HTTP_METHOD: "POST",
            names.HTTP_STATUS: 500 if "error" in fields else 200,
            names.ENDPOINT: "/predict",
        },
        **fields,
    )
    spans = [root, make_span(names.DECODE, root, after_ms=0.1, duration_ms=0.25)]
    for position in range(items if batch else 0):
        waited = {
            names.BATCH_POSITION: position,
            names.BATCH_SIZE: items,
            names.WAIT_FOR_PEERS_MS: 1.5,
            names.RELEASE_REASON: "full",
        }
        spans.append(make_span(names.QUEUE, root, after_ms=1, duration_ms=2, attributes=waited))
        spans += [
            make_span(name, root, after_ms=after_ms, duration_ms=duration_ms)
            for name, after_ms, duration_ms in (
                (names.COLLATE, 3, 0.5),
                (names.RUN, 4, 5),
                (names.SPLIT, 9, 0),
            )
        ]
    return [*spans, make_span(names.ENCODE, root, after_ms=10)]


def _batch(requests: int = 0, **fields: Any) -> list[Span]:
    """Return a batch's spans, with links to requests."""
    attributes = {names.LINK_POSITION: 0, names.LINK_WAIT_MS: 1.5}
    members = [make_span() for _ in range(requests)]
    links = [Link(each.trace_id, each.span_id, attributes) for each in members]
    root = make_span(names.BATCH, duration_ms=9, links=links, **fields)
    return [root, make_span(names.RUN, root, after_ms=1, duration_ms=5)]


def usual() -> Records:
    """Sixteen requests in one batch, and the batch."""
    batch = _batch(16)
    return [*(_request(batch[0]) for _ in range(16)), batch]


def failed() -> Records:
    """Requests whose run raised, with the exception's event; some without a description."""
    found = []
    for error in ("ValueError: no", "", "ValueError: no"):
        root = _request(error=error)
        said = {names.EXCEPTION_TYPE: "ValueError", names.EXCEPTION_STACKTRACE: _STACK}
        event = Event(names.EXCEPTION, root[0].start_ns + 1000, said)
        run = make_span(names.RUN, root[0], after_ms=1, error=error, events=[event])
        found.append([*root, run])
    return found


def retried() -> Records:
    """A batch that failed as a whole and then ran in two parts, of which one failed again."""
    batch = _batch(4, error="ValueError: no", attributes={names.BATCH_RETRIES: 2})
    parts = [
        make_span(
            names.RETRY,
            batch[0],
            after_ms=6 + part,
            attributes={names.RUN_ATTEMPT: part + 1, names.BATCH_POSITIONS: [part, part + 2]},
            error="ValueError: no" if part else None,
        )
        for part in range(2)
    ]
    return [[*batch, *parts]]


def many_links() -> Records:
    """A batch of as many requests as there are in large ones, some of another process."""
    batch = _batch(2_000)
    far = Link("ab" * 16, "cd" * 8, {}, tracestate="a=b", is_remote=True)
    return [[batch[0]._replace(links=[*batch[0].links, far]), *batch[1:]]]


def many_items() -> Records:
    """A request of two hundred items."""
    return [_request(_batch()[0], items=200)]


def late() -> Records:
    """Spans of traces that were delivered before: their parents are not among them."""
    said = {names.LATE: True}
    return [[make_span("after", make_span(), attributes=said)] for _ in range(3)]


def custom() -> Records:
    """Spans of the user's code: any kind and attribute, and one that outlives its parent."""
    root = _request()
    attributes = {
        "text": "größer",
        "whole": -7,
        "real": 0.1,
        "yes": True,
        "texts": ["a", "b"],
        "numbers": [1, 2],
        "none": [],
    }
    outer = make_span("multiply", root[0], after_ms=1, attributes=attributes)
    inner = [
        make_span("ask", outer, duration_ms=100, kind=kind, attributes={"number": number})
        for number, kind in enumerate(SpanKind)
    ]
    return [[*root, outer, *inner]]


def passed_on() -> Records:
    """Requests of a caller that traces, too, with its tracestate and B3's debug flag."""
    caller = make_span()
    there: dict[str, Any] = {"trace_id": caller.trace_id, "parent_id": caller.span_id}
    return [
        _request(tracestate="vendor=1,other=2", **there),
        [make_span("GET /", kind=SpanKind.SERVER, debug=True)],
    ]


def hostile() -> Records:
    """Names and values that break what is careless with them."""
    texts = (
        *("", " ", "\n", '"', "\\", "\x00", "\x1b[31m", "[bold]red[/]", "</script>", "${x}"),
        *("%s%n", "../../x", "\u202e", "\U0001f600", "e\u0301", "'; --", "\u2028", "x" * 20_000),
    )
    odd = [2**63 - 1, -(2**63), 2**80, 1e308, -0.0, 5e-324, inf, -inf, nan]
    values = dict.fromkeys(texts, "value") | {f"text {n}": text for n, text in enumerate(texts)}
    numbers = {f"number {n}": value for n, value in enumerate(odd)}
    return [
        *([make_span(text, attributes={text: text}, error=text)] for text in texts),
        [make_span("all", attributes=values, events=[Event("\n", 0, values)])],
        [make_span("numbers", attributes=numbers, duration_ms=0)],
    ]


SAMPLES: Final[Mapping[str, Callable[[], Records]]] = {
    each.__name__.replace("_", " "): each
    for each in (
        usual,
        failed,
        retried,
        many_links,
        many_items,
        late,
        custom,
        passed_on,
        hostile,
    )
}
"""What makes spans of each shape, by its name."""
