"""Traces on a terminal: a line for each span, with a bar that shows when it ran."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from rich.cells import cell_len, chop_cells
from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.segment import Segment
from rich.style import Style

from spanserve import Span
from spanserve.tracers.script import Script, draw_bar, script_for
from spanserve.tracers.tree import Branch, branches
from spanserve.tracers.words import (
    BOLD,
    DIM,
    ERROR,
    NAME_LIMIT,
    PLAIN,
    Piece,
    describe,
    duration_text,
    error_cause,
    error_text,
    event_pieces,
)

_MIN_WIDTH: Final = 60
_MIN_BAR: Final = 10
_MAX_BAR: Final = 40
_MIN_DETAILS: Final = 24
_GAP: Final = "  "
_BARS: Final = {"queue": Style(color="yellow"), "run": Style(color="green")}
_OTHER_BAR: Final = Style(color="cyan")

Line = list[Segment]


class _Row(NamedTuple):
    """What a line says, before the widths of the columns are known.

    `at_ns` is the time that the bar covers; without it the label stands alone, and without
    `bar_style` it is a moment.
    """

    lead: str
    rest: str
    label: Piece
    duration: tuple[str, str] = ("", "")
    at_ns: tuple[int, int] | None = None
    bar_style: Style | None = None
    details: Sequence[Piece] = ()


class _Columns(NamedTuple):
    """Widths in cells: `whole` stands before a duration's point; `details` 0 is "below"."""

    total: int
    label: int
    whole: int
    fraction: int
    bar: int
    details: int


def render(spans: Sequence[Span]) -> RenderableType:
    """Return the spans of one trace as a tree, for a rich console.

    Each span has a line: its name, how long it took, a bar that shows when it ran within
    the trace, and what explains it. Its events and its error follow.
    """
    return render_together([spans])


def render_together(traces: Sequence[Sequence[Span]]) -> RenderableType:
    """Return several traces, one below the other, in the same columns and on one time scale."""
    return _Timeline([spans for spans in traces if spans])


class _Timeline:
    """The renderable: the width and the encoding are known only when it is printed."""

    def __init__(self, traces: Sequence[Sequence[Span]]) -> None:
        self._traces = traces
        everything = [span for spans in traces for span in spans]
        starts = [span.start_ns for span in everything]
        ends = [span.end_ns for span in everything]
        self._window_ns = min(starts, default=0), max(starts + ends, default=0)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(min(_MIN_WIDTH, options.max_width), options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        script = script_for(options.encoding)
        for line in self._lines(script, max(_MIN_WIDTH, options.max_width)):
            yield from _stripped(line)
            yield Segment.line()

    def _lines(self, script: Script, width: int) -> Iterator[Line]:
        rows = [self._rows(spans, script) for spans in self._traces]
        columns = _columns([row for trace in rows for row in trace], width, script)
        for spans, trace in zip(self._traces, rows, strict=True):
            yield _header(spans, script)
            for row in trace:
                yield from _laid_out(row, columns, self._window_ns, script)

    def _rows(self, spans: Sequence[Span], script: Script) -> list[_Row]:
        origin_ns = self._window_ns[0]
        return [
            row
            for branch in branches(spans, script)
            for row in (
                _span_row(branch, script),
                *_event_rows(branch, origin_ns, script),
                *_error_rows(branch, script),
            )
        ]


def _header(spans: Sequence[Span], script: Script) -> Line:
    start_ns = min(span.start_ns for span in spans)
    words = [_stamp(start_ns), f"{len(spans)} span{'s' * (len(spans) != 1)}"]
    rest = "".join(script.between + word for word in words if word)
    trace_id = script.clean(spans[0].trace_id, NAME_LIMIT)
    return [Segment("trace ", DIM), Segment(trace_id, PLAIN), Segment(rest, DIM)]


def _stamp(time_ns: int) -> str:
    try:
        time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time_ns // 1_000_000)
    except OverflowError:
        return ""
    return time.replace(tzinfo=None).isoformat(sep=" ", timespec="milliseconds") + " UTC"


def _span_row(branch: Branch, script: Script) -> _Row:
    span = branch.span
    style = BOLD if branch.is_root else PLAIN
    bar_style = DIM if branch.is_root else _BARS.get(span.name, _OTHER_BAR)
    if span.error is not None:
        style, bar_style = style + ERROR, ERROR
    return _Row(
        branch.lead,
        branch.rest,
        (script.clean(span.name, NAME_LIMIT), style),
        _at_point(duration_text(max(0, span.duration_ns) / 1e6)),
        (span.start_ns, max(span.start_ns, span.end_ns)),
        bar_style,
        describe(span, script, is_root=branch.is_root),
    )


def _event_rows(branch: Branch, origin_ns: int, script: Script) -> Iterator[_Row]:
    cause = error_cause(branch.span)
    for event in branch.span.events:
        if event is not cause:
            offset_ms = max(0, event.time_ns - origin_ns) / 1e6
            yield _Row(
                branch.rest,
                branch.rest,
                (script.event + script.clean(event.name, NAME_LIMIT), DIM),
                _at_point(f"+{duration_text(offset_ms)}"),
                (event.time_ns, event.time_ns),
                details=event_pieces(event, script),
            )


def _error_rows(branch: Branch, script: Script) -> Iterator[_Row]:
    text = error_text(branch.span, script)
    if text is not None:
        yield _Row(branch.rest, branch.rest, (script.error + text, ERROR))


def _at_point(duration: str) -> tuple[str, str]:
    """Cut a duration where its decimal point is, or would be."""
    end = next(i for i, character in enumerate(duration) if character in ". ")
    return duration[:end], duration[end:]


def _columns(rows: Sequence[_Row], total: int, script: Script) -> _Columns:
    """Give names and durations what they need, details what is left beside the bars."""
    timed = [row for row in rows if row.at_ns is not None]
    names = (cell_len(row.lead) + cell_len(row.label[0]) for row in timed)
    label = min(max(names, default=0), total * 2 // 5)
    whole = max((len(row.duration[0]) for row in timed), default=0)
    fraction = max((len(row.duration[1]) for row in timed), default=0)
    free = total - label - whole - fraction - 3 * len(_GAP)
    wanted = max((_details_width(row.details, script) for row in timed), default=0)
    bar = max(_MIN_BAR, min(_MAX_BAR, max(free * 2 // 5, free - wanted)))
    details = free - bar
    if details < min(wanted, _MIN_DETAILS):
        bar, details = max(_MIN_BAR, min(_MAX_BAR, free + len(_GAP))), 0
    return _Columns(total, label, whole, fraction, bar, details)


def _details_width(details: Sequence[Piece], script: Script) -> int:
    between = len(script.between) * max(0, len(details) - 1)
    return between + sum(cell_len(text) for text, _ in details)


def _laid_out(
    row: _Row, columns: _Columns, window_ns: tuple[int, int], script: Script
) -> Iterator[Line]:
    """Give a row as lines; names that do not fit their column have lines of their own."""
    name, style = row.label
    lead, used = row.lead, cell_len(row.lead) + cell_len(name)
    if used > columns.label or row.at_ns is None:
        free = columns.total - max(cell_len(lead), cell_len(row.rest))
        for part in _broken(name, free):
            yield [Segment(lead, DIM), Segment(part, style)]
            lead = row.rest
        name, used = "", cell_len(lead)
    if row.at_ns is None:
        return
    first = [Segment(lead, DIM), Segment(name, style), Segment(" " * (columns.label - used))]
    first += _timing(row, row.at_ns, columns, window_ns, script)
    yield from _with_details(first, row, columns, script)


def _timing(
    row: _Row,
    at_ns: tuple[int, int],
    columns: _Columns,
    window_ns: tuple[int, int],
    script: Script,
) -> Line:
    whole, fraction = row.duration
    number = f"{_GAP}{whole:>{columns.whole}}{fraction:<{columns.fraction}}{_GAP}"
    start, end = (_eighths(time_ns, window_ns, columns.bar) for time_ns in at_ns)
    if row.bar_style is None:
        bar = " " * min(start // 8, columns.bar - 1) + script.moment
    else:
        bar = draw_bar(start, end, columns.bar, script)
    return [Segment(number), Segment(bar, row.bar_style), Segment(" " * (columns.bar - len(bar)))]


def _eighths(time_ns: int, window_ns: tuple[int, int], cells: int) -> int:
    """Return where a time lies in the window, in eighths of a cell, in whole numbers only."""
    from_ns, to_ns = window_ns
    inside_ns = min(max(time_ns, from_ns), to_ns) - from_ns
    return inside_ns * cells * 8 // max(1, to_ns - from_ns)


def _with_details(first: Line, row: _Row, columns: _Columns, script: Script) -> Iterator[Line]:
    if not columns.details:
        yield first
        beneath = row.rest + _GAP
        for line in _wrapped(row.details, columns.total - cell_len(beneath), script):
            yield [Segment(beneath, DIM), *line]
        return
    lines = _wrapped(row.details, columns.details, script)
    yield [*first, Segment(_GAP), *next(lines, [])]
    indent = columns.total - columns.details - cell_len(row.rest)
    for line in lines:
        yield [Segment(row.rest, DIM), Segment(" " * indent), *line]


def _wrapped(pieces: Sequence[Piece], width: int, script: Script) -> Iterator[Line]:
    """Set pieces one after the other, and break lines between them where they can be."""
    line: Line = []
    free = width
    for text, style in pieces:
        parts = _broken(text, width)
        if line and cell_len(text) + len(script.between) > free:
            yield line
            line, free = [], width
        elif line:
            line.append(Segment(script.between, DIM))
            free -= len(script.between)
        for part in parts[:-1]:
            yield [Segment(part, style)]
        line.append(Segment(parts[-1], style))
        free -= cell_len(parts[-1])
    if line:
        yield line


def _broken(text: str, width: int) -> list[str]:
    """Break a text that is wider than this, after a space if there is one."""
    parts: list[str] = []
    while cell_len(text) > width:
        head = chop_cells(text, width)[0]
        end = head.rfind(" ") + 1 or len(head)
        parts.append(text[:end].rstrip())
        text = text[end:]
    return [*parts, text]


def _stripped(line: Line) -> Line:
    """Take off the spaces at the end, which a file need not hold."""
    while line and not line[-1].text.strip():
        line = line[:-1]
    return [*line[:-1], line[-1]._replace(text=line[-1].text.rstrip())] if line else line
