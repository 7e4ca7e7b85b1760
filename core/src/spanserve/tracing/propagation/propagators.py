"""Headers in, headers out: which formats are read and written, and which one wins.

Headers come from anyone. All are bounded before they are parsed, matched whole, and never
logged; a bad one costs itself and nothing else.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from spanserve.errors import ConfigError
from spanserve.tracing.propagation import b3, jaeger, w3c
from spanserve.tracing.propagation.context import HeaderFields, Remote
from spanserve.tracing.propagation.others import other_format

__all__ = ["KNOWN_FORMATS", "Propagators", "Remote"]


class _Format(NamedTuple):
    name: str
    headers: frozenset[bytes]
    read: Callable[[HeaderFields], Remote | None]
    write: Callable[[Remote], dict[str, str]]


# In the order in which they win.
_FORMATS: Final = (
    _Format("tracecontext", frozenset((w3c.TRACEPARENT, w3c.TRACESTATE)), w3c.read, w3c.write),
    _Format("b3", frozenset((b3.SINGLE,)), b3.read_single, b3.write_single),
    _Format(
        "b3multi",
        frozenset((b3.TRACE_ID, b3.SPAN_ID, b3.SAMPLED, b3.FLAGS)),
        b3.read_multi,
        b3.write_multi,
    ),
    _Format(
        "jaeger", frozenset((jaeger.UBER_TRACE_ID, jaeger.DEBUG_ID)), jaeger.read, jaeger.write
    ),
)

KNOWN_FORMATS: Final = tuple(form.name for form in _FORMATS)


class Propagators:
    """Reads and writes the trace headers of these formats, named as in `tracing.propagators`.

    The order in which formats are read is fixed: W3C, `b3`, `X-B3-*`, `uber-trace-id`, others.
    `headers` are the names of all that are read. `ignored` counts how often a request's headers
    of a format could not be used. An unknown name is a `ConfigError`.
    """

    __slots__ = ("_readers", "_reads_w3c", "_writers", "headers", "ignored")

    def __init__(self, read: Sequence[str], write: Sequence[str]) -> None:
        self._readers = _selected(read)
        self._writers = _selected(write)
        self._reads_w3c = "tracecontext" in read
        self.headers = frozenset[bytes]().union(*(form.headers for form in self._readers))
        self.ignored = 0

    def extract(
        self,
        headers: Iterable[tuple[bytes, bytes]],
        fields: Mapping[bytes, bytes] | None = None,
    ) -> Remote | None:
        """Return what a request's ASGI headers say of its trace; never raises.

        The first format with valid ids wins. A decision without ids counts only where no
        format has ids. Where the caller has the headers by their names, too (`fields`), a
        request without any of interest, as most are, is known at once.
        """
        names = self.headers
        if fields is not None and names.isdisjoint(fields):
            return None
        found: dict[bytes, list[bytes]] = {}
        for name, value in headers:
            if name in names:
                found.setdefault(name, []).append(value)
        return self._first_valid(found) if found else None

    def extract_once(self, fields: Mapping[bytes, bytes]) -> Remote | None:
        """Return what `extract` does of headers each of which is there once; `fields`: by name."""
        traceparent = fields.get(w3c.TRACEPARENT)
        if traceparent is not None and self._reads_w3c and w3c.TRACESTATE not in fields:
            remote = w3c.read_usual(traceparent)
            if remote is not None:  # nearly always: W3C's wins
                return remote
        return self.extract(fields.items(), fields)

    def inject(
        self,
        trace_id: str,
        span_id: str,
        *,
        sampled: bool,
        debug: bool = False,
        tracestate: str = "",
        random: bool = False,
    ) -> dict[str, str]:
        """Return the headers, in a new dict, that carry this span to another service.

        The ids and the tracestate are own ones or from `extract`: they are not checked.
        """
        context = Remote(trace_id, span_id, sampled, debug, tracestate, "", random)
        headers: dict[str, str] = {}
        for form in self._writers:
            headers.update(form.write(context))
        return headers

    def pass_on(self, headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
        """Return those of a request's headers that carry its context, as they came.

        A traceparent that is there twice carries none, and so goes nowhere.
        """
        found: dict[bytes, list[bytes]] = {}
        for name, value in headers:
            if name in self.headers:
                found.setdefault(name, []).append(value)
        if len(found.get(w3c.TRACEPARENT, ())) > 1:
            del found[w3c.TRACEPARENT]
            found.pop(w3c.TRACESTATE, None)
        return {name.decode(): b",".join(value).decode("latin-1") for name, value in found.items()}

    def _first_valid(self, fields: HeaderFields) -> Remote | None:
        decision: Remote | None = None
        for form in self._readers:
            remote = form.read(fields)
            if remote is None:
                self.ignored += not form.headers.isdisjoint(fields)
            elif remote.trace_id:
                return remote
            else:
                decision = decision or remote
        return decision


def _selected(names: Sequence[str]) -> tuple[_Format, ...]:
    own = tuple(form for form in _FORMATS if form.name in names)
    return own + tuple(_other(name) for name in names if name not in KNOWN_FORMATS)


def _other(name: str) -> _Format:
    form = other_format(name)
    if form is None:
        known = ", ".join(KNOWN_FORMATS)
        raise ConfigError(f"unknown propagator {name!r} (known: {known})")
    return _Format(name, *form)
