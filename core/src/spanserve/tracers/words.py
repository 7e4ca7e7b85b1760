"""What the console says about a span, in words: bounded, and safe to write to a terminal."""

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Final

from rich.style import Style

from spanserve import Attributes, AttributeValue, Event, Link, Span, SpanKind
from spanserve.tracers.script import Script

NAME_LIMIT: Final = 200
ERROR_LIMIT: Final = 400
_KEY_LIMIT: Final = 60
_VALUE_LIMIT: Final = 80
_MAX_ATTRIBUTES: Final = 12
_MAX_ELEMENTS: Final = 6
_MAX_LINKS: Final = 3
_MAX_NUMBER: Final = 10**30

PLAIN: Final = Style()
BOLD: Final = Style(bold=True)
DIM: Final = Style(dim=True)
ERROR: Final = Style(color="red")
_REFUSED: Final = Style(color="magenta")

_OWN: Final = "spanserve."
_STATUS: Final = "http.response.status_code"
_METHOD: Final = "http.request.method"
_ERROR_TYPE: Final = "error.type"
_EXCEPTION: Final = "exception"
_EXCEPTION_TYPE: Final = "exception.type"
_EXCEPTION_MESSAGE: Final = "exception.message"
_EXCEPTION_STACK: Final = "exception.stacktrace"
_FRAME: Final = re.compile(r'^ *File "(.+)", line (\d+), in (.+)$', re.MULTILINE)

_UNSAID: Final = frozenset(
    {
        _ERROR_TYPE,
        "spanserve.batch.span_id",
        "spanserve.copy_of",
        "spanserve.endpoint",
        "spanserve.request_id",
    }
)
_SAID: Final = frozenset(
    {
        "spanserve.batch.position",
        "spanserve.batch.size",
        "spanserve.batch.trace_id",
        "spanserve.queue.depth",
        "spanserve.release_reason",
        "spanserve.run.share_ms",
        "spanserve.wait.for_peers_ms",
        "spanserve.wait.for_runner_ms",
        "spanserve.wait.for_start_ms",
    }
)
_UNSAID_OF_A_SERVER: Final = (
    "client.", "http.", "network.", "server.", "url.", "user_agent.",
)  # fmt: skip

Piece = tuple[str, Style]


def duration_text(ms: float) -> str:
    """Return a length with as many digits as matter: `0.012 ms`, `3.4 ms`, `640 ms`, `1.20 s`."""
    if ms == 0:
        return "0 ms"
    if 0 < ms < 0.0005:  # noqa: PLR2004  # what three decimals would show as nothing
        return "<0.001 ms"
    for below_ms, digits in ((0.9995, 3), (99.95, 1), (999.5, 0)):
        if ms < below_ms:
            return f"{ms:.{digits}f} ms"
    return f"{ms / 1e3:.2f} s"


def short_id(trace_id: str) -> str:
    """Return what an id is found by; one of 64 bits is padded with zeros, which tell nothing."""
    return trace_id.lstrip("0")[:6]


def describe(span: Span, script: Script, *, is_root: bool) -> list[Piece]:
    """Say what explains a span's time, the most telling first; errors and events not among it."""
    pieces = [*_kind(span, script)]
    pieces += [(text, DIM) for text in _batching(span.attributes, script)]
    pieces += [(text, DIM) for text in _others(span, script)]
    if span.links:
        pieces.append((links_text(span.links, script), DIM))
    if is_root and span.parent_id is not None:
        pieces.append((f"parent {script.clean(short_id(span.parent_id), 16)}{script.cut}", DIM))
    return pieces


def _kind(span: Span, script: Script) -> Iterator[Piece]:
    if span.kind is SpanKind.INTERNAL:
        return
    words = [span.kind.value.upper()]
    method = span.attributes.get(_METHOD)
    if isinstance(method, str) and not span.name.startswith(method):
        words.append(script.clean(method, _VALUE_LIMIT))
    status = span.attributes.get(_STATUS)
    if status is not None:
        words.append(value_text(status, script))
    yield " ".join(words), _status_style(status)


def _status_style(status: AttributeValue | None) -> Style:
    if not isinstance(status, int) or status < 400:  # noqa: PLR2004  # HTTP: a success
        return DIM
    return ERROR if status >= 500 else _REFUSED  # noqa: PLR2004  # HTTP: the server's fault


def _batching(attributes: Attributes, script: Script) -> Iterator[str]:
    """Put spanserve's own attributes in words."""

    def said(name: str) -> str | None:
        value = attributes.get(_OWN + name)
        return None if value is None else value_text(value, script)

    for what, words in (("peers", "for peers"), ("runner", "for runner"), ("start", "to start")):
        if waited_ms := attributes.get(f"spanserve.wait.for_{what}_ms"):
            yield f"{_ms_text(waited_ms, script)} {words}"
    if reason := said("release_reason"):
        yield f"released: {reason}"
    size, position = said("batch.size"), said("batch.position")
    batch = f"batch of {size}" if size else ""
    if place := " ".join(filter(None, (batch, position and f"#{position}"))):
        yield place
    if depth := said("queue.depth"):
        yield f"depth {depth}"
    if (share := attributes.get("spanserve.run.share_ms")) is not None:
        yield f"share {_ms_text(share, script)}"
    if isinstance(trace_id := attributes.get("spanserve.batch.trace_id"), str):
        yield f"batch trace {script.clean(short_id(trace_id), 16)}{script.cut}"


def _ms_text(value: AttributeValue, script: Script) -> str:
    if isinstance(value, int | float) and abs(value) < _MAX_NUMBER:
        return duration_text(value)
    return value_text(value, script)


def _others(span: Span, script: Script) -> Iterator[str]:
    """Show the user's own attributes, and spanserve's that this module has no words for."""
    hidden = _UNSAID_OF_A_SERVER if span.kind is SpanKind.SERVER else ()
    names = [
        name
        for name in span.attributes
        if name not in _SAID and name not in _UNSAID and not name.startswith(hidden)
    ]
    for name in names[:_MAX_ATTRIBUTES]:
        yield _pair(name, span.attributes[name], script)
    if len(names) > _MAX_ATTRIBUTES:
        yield f"{len(names) - _MAX_ATTRIBUTES} more"


def _pair(name: str, value: AttributeValue, script: Script) -> str:
    return f"{script.clean(name.removeprefix(_OWN), _KEY_LIMIT)}={value_text(value, script)}"


def value_text(value: AttributeValue, script: Script) -> str:
    """Return an attribute's value, bounded; of a sequence, its first elements."""
    if isinstance(value, str):
        return script.clean(value, _VALUE_LIMIT)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, int):
        # Python refuses to write out an int of more than 4,300 digits.
        return str(value) if abs(value) < _MAX_NUMBER else f"an int of {value.bit_length()} bits"
    elements = [value_text(element, script) for element in value[:_MAX_ELEMENTS]]
    if len(value) > _MAX_ELEMENTS:
        elements.append(f"{script.cut} {len(value)} in all")
    return f"[{', '.join(elements)}]"


def links_text(links: Sequence[Link], script: Script) -> str:
    """Return how many links there are, and to which traces the first few lead."""
    shown = [script.clean(short_id(link.trace_id), 16) + script.cut for link in links[:_MAX_LINKS]]
    more = [script.cut] if len(links) > _MAX_LINKS else []
    return f"links {len(links)}: {', '.join(shown + more)}"


def error_text(span: Span, script: Script) -> str | None:
    """Return `type: message (file:line in function)` of a failed span, as far as known."""
    if span.error is None:
        return None
    cause = error_cause(span)
    exception = cause.attributes if cause else {}
    kind = span.attributes.get(_ERROR_TYPE) or exception.get(_EXCEPTION_TYPE) or ""
    message = span.error or exception.get(_EXCEPTION_MESSAGE) or ""
    words = [w if isinstance(w, str) else value_text(w, script) for w in (kind, message) if w]
    text = ": ".join(dict.fromkeys(words)) or "error"
    return script.clean(text, ERROR_LIMIT) + _place(exception, script)


def error_cause(span: Span) -> Event | None:
    """Return the event, if any, of which the span's error line says all."""
    if span.error is None:
        return None
    for event in span.events:
        if event.name == _EXCEPTION:
            message = event.attributes.get(_EXCEPTION_MESSAGE, "")
            return event if not span.error or message in ("", span.error) else None
    return None


def _place(exception: Attributes, script: Script) -> str:
    """Name the innermost frame of a stack as `traceback` writes it."""
    stack = exception.get(_EXCEPTION_STACK)
    frames = _FRAME.findall(stack) if isinstance(stack, str) else ()
    if not frames:
        return ""
    path, line, function = frames[-1]
    return script.clean(f" ({PurePath(path).name}:{line} in {function})", _VALUE_LIMIT)


def event_pieces(event: Event, script: Script) -> list[Piece]:
    """Return an event's attributes, without stacks."""
    pairs = [
        _pair(name, value, script)
        for name, value in event.attributes.items()
        if name != _EXCEPTION_STACK
    ]
    return [(text, DIM) for text in pairs[:_MAX_ATTRIBUTES]]
