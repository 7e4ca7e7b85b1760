"""The built-in tracer `console`: what it prints, where, and what it makes of anything else."""

import io
import os
import pty
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path

import pluggy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from rich.cells import cell_len
from rich.console import Console as Terminal
from rich.console import RenderableType

from spanserve import AttributeValue, ConfigError, Event, ExportResult, Link, Span, SpanKind
from spanserve.tracers.console import Console, ConsoleSettings
from spanserve.tracers.script import draw_bar, script_for
from spanserve.tracers.timeline import render, render_together
from spanserve.tracers.words import duration_text
from spanserve.tracing import hookspecs

REQUEST = "4bf92f3577b34da6a3ce929d0e0e4736"
BATCH = "9c1e22ab6f0d4c0f8a3b11c2d3e4f506"
STACK = """Traceback (most recent call last):
  File "/srv/server/runner.py", line 7, in call
    return method(argument)
  File "/srv/bundle/model.py", line 42, in predict
    raise ValueError(text)
ValueError: 3 features, expected 64
"""


def at_ns(us: float) -> int:
    return 1_790_000_000_000_000_000 + int(us * 1_000)


def inner(
    name: str,
    span_id: str,
    parent_id: str | None,
    times_us: tuple[float, float],
    *,
    trace_id: str = REQUEST,
    error: str | None = None,
    events: Sequence[Event] = (),
    links: Sequence[Link] = (),
    **attributes: AttributeValue,
) -> Span:
    """Make an internal span; `a__b` in an attribute's name stands for `a.b`."""
    named = {name.replace("__", "."): value for name, value in attributes.items()}
    start_ns, end_ns = at_ns(times_us[0]), at_ns(times_us[1])
    return Span(
        name, SpanKind.INTERNAL, trace_id, span_id, parent_id, start_ns, end_ns, named, links,
        events, error,
    )  # fmt: skip


def server(times_us: tuple[float, float], status: int, *, parent_id: str | None = None) -> Span:
    attributes: dict[str, AttributeValue] = {
        "http.request.method": "POST",
        "http.response.status_code": status,
        "url.path": "/predict",
        "spanserve.endpoint": "predict",
        "spanserve.request_id": "r1",
    }
    start_ns, end_ns = at_ns(times_us[0]), at_ns(times_us[1])
    return Span(
        "POST /predict", SpanKind.SERVER, REQUEST, "a", parent_id, start_ns, end_ns, attributes
    )


def request_trace() -> list[Span]:
    return [
        server((0, 12_480), 200, parent_id="00f067aa0ba902b7"),
        inner("decode", "1", "a", (60, 72)),
        inner(
            "queue",
            "2",
            "a",
            (80, 3_480),
            spanserve__batch__trace_id=BATCH,
            spanserve__batch__span_id="b",
            spanserve__batch__size=8,
            spanserve__batch__position=3,
            spanserve__queue__depth=11,
            spanserve__wait__for_peers_ms=3.1,
            spanserve__wait__for_runner_ms=0.3,
            spanserve__release_reason="full",
        ),
        inner("run", "3", "a", (3_700, 12_400), spanserve__run__share_ms=1.0875),
        inner(
            "scale",
            "4",
            "3",
            (3_800, 4_210),
            rows=8,
            model="digits",
            spanserve__copy_of="c3",
            events=[Event("cache miss", at_ns(4_000), {"key": "w0"})],
        ),
        inner("encode", "5", "a", (12_440, 12_460)),
    ]


def batch_trace() -> list[Span]:
    return [
        inner(
            "batch /predict",
            "b",
            None,
            (3_440, 12_425),
            trace_id=BATCH,
            links=[Link(f"{0x4BF92F + i:06x}{'e' * 26}", "2" * 16) for i in range(8)],
            spanserve__batch__size=8,
            spanserve__release_reason="full",
        ),
        inner("collate", "c1", "b", (3_480, 3_690), trace_id=BATCH),
        inner("run", "c2", "b", (3_700, 12_400), trace_id=BATCH),
        inner("scale", "c3", "c2", (3_800, 4_210), trace_id=BATCH, rows=8, model="digits"),
        inner("split", "c4", "b", (12_401, 12_423), trace_id=BATCH),
    ]


def shown(renderable: RenderableType, width: int = 100, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding=encoding, newline="\n") as stream:
        Terminal(file=stream, width=width).print(renderable, crop=False)
        stream.flush()
        return raw.getvalue().decode(encoding)


def test_a_request_is_a_tree_with_bars_and_what_explains_each_span() -> None:
    assert shown(render(request_trace())) == REQUEST_SHOWN


REQUEST_SHOWN = """\
trace 4bf92f3577b34da6a3ce929d0e0e4736 · 2026-09-21 14:13:20.000 UTC · 6 spans
POST /predict          12.5 ms    █████████████████████████  SERVER 200 · parent f067aa…
├─ decode               0.012 ms  ▏
├─ queue                3.4 ms    ██████▉                    3.1 ms for peers · 0.300 ms for runner
│                                                            released: full · batch of 8 #3
│                                                            depth 11 · batch trace 9c1e22…
├─ run                  8.7 ms           █████████████████▊  share 1.1 ms
│  └─ scale             0.410 ms         ▐▍                  rows=8 · model=digits
│        • cache miss  +4.0 ms            ◆                  key=w0
└─ encode               0.020 ms                          ▕
"""


def test_a_batch_names_the_traces_it_links_to() -> None:
    assert shown(render(batch_trace())) == BATCH_SHOWN


BATCH_SHOWN = """\
trace 9c1e22ab6f0d4c0f8a3b11c2d3e4f506 · 2026-09-21 14:13:20.003 UTC · 5 spans
batch /predict  9.0 ms    ████████████████████████████  released: full · batch of 8
│                                                       links 8: 4bf92f…, 4bf930…, 4bf931…, …
├─ collate      0.210 ms  ▊
├─ run          8.7 ms    ▐██████████████████████████▉
│  └─ scale     0.410 ms   █▍                           rows=8 · model=digits
└─ split        0.022 ms                             ▕
"""


def test_a_request_and_its_batch_are_drawn_on_one_time_scale() -> None:
    assert shown(render_together([request_trace(), [], batch_trace()])) == TOGETHER_SHOWN


TOGETHER_SHOWN = """\
trace 4bf92f3577b34da6a3ce929d0e0e4736 · 2026-09-21 14:13:20.000 UTC · 6 spans
POST /predict          12.5 ms    █████████████████████████  SERVER 200 · parent f067aa…
├─ decode               0.012 ms  ▏
├─ queue                3.4 ms    ██████▉                    3.1 ms for peers · 0.300 ms for runner
│                                                            released: full · batch of 8 #3
│                                                            depth 11 · batch trace 9c1e22…
├─ run                  8.7 ms           █████████████████▊  share 1.1 ms
│  └─ scale             0.410 ms         ▐▍                  rows=8 · model=digits
│        • cache miss  +4.0 ms            ◆                  key=w0
└─ encode               0.020 ms                          ▕
trace 9c1e22ab6f0d4c0f8a3b11c2d3e4f506 · 2026-09-21 14:13:20.003 UTC · 5 spans
batch /predict          9.0 ms          ▐█████████████████▉  released: full · batch of 8
│                                                            links 8: 4bf92f…, 4bf930…, 4bf931…, …
├─ collate              0.210 ms        ▐▍
├─ run                  8.7 ms           █████████████████▊
│  └─ scale             0.410 ms         ▐▍                  rows=8 · model=digits
└─ split                0.022 ms                          ▕
"""


def test_a_narrow_terminal_has_the_details_below() -> None:
    assert shown(render(request_trace()), width=60) == NARROW_SHOWN


NARROW_SHOWN = """\
trace 4bf92f3577b34da6a3ce929d0e0e4736 · 2026-09-21 14:13:20.000 UTC · 6 spans
POST /predict          12.5 ms    ██████████████████████████
│    SERVER 200 · parent f067aa…
├─ decode               0.012 ms  ▏
├─ queue                3.4 ms    ███████▎
│       3.1 ms for peers · 0.300 ms for runner
│       released: full · batch of 8 #3 · depth 11
│       batch trace 9c1e22…
├─ run                  8.7 ms           ▐█████████████████▊
│  │    share 1.1 ms
│  └─ scale             0.410 ms         ▐▊
│          rows=8 · model=digits
│        • cache miss  +4.0 ms            ◆
│          key=w0
└─ encode               0.020 ms                           ▕
"""


def test_an_output_without_unicode_gets_ascii() -> None:
    assert shown(
        render([*request_trace(), inner("größe 数", "6", "a", (0, 1))]), 100, "latin-1"
    ) == (ASCII_SHOWN)


ASCII_SHOWN = """\
trace 4bf92f3577b34da6a3ce929d0e0e4736; 2026-09-21 14:13:20.000 UTC; 7 spans
POST /predict          12.5 ms    #########################  SERVER 200; parent f067aa...
|- größe \\u6570         0.001 ms  |
|- decode               0.012 ms  |
|- queue                3.4 ms    #######                    3.1 ms for peers; 0.300 ms for runner
|                                                            released: full; batch of 8 #3; depth 11
|                                                            batch trace 9c1e22...
|- run                  8.7 ms           ##################  share 1.1 ms
|  `- scale             0.410 ms         #|                  rows=8; model=digits
|        * cache miss  +4.0 ms            ^                  key=w0
`- encode               0.020 ms                          |
"""


def test_an_error_has_its_type_its_message_and_its_place() -> None:
    exception = {
        "exception.type": "ValueError",
        "exception.message": "3 features, expected 64",
        "exception.stacktrace": STACK,
    }
    root = server((0, 1_000), 500)
    failed = [
        root._replace(
            error="3 features, expected 64",
            attributes={**root.attributes, "error.type": "ValueError"},
        ),
        inner(
            "run",
            "3",
            "a",
            (300, 900),
            error="3 features, expected 64",
            error__type="ValueError",
            events=[Event("exception", at_ns(900), exception)],
        ),
        inner(
            "caught",
            "4",
            "3",
            (400, 500),
            events=[Event("exception", at_ns(450), exception)],
        ),
        inner("nameless", "5", "3", (500, 600), error=""),
    ]
    assert shown(render(failed)) == ERROR_SHOWN


ERROR_SHOWN = """\
trace 4bf92f3577b34da6a3ce929d0e0e4736 · 2026-09-21 14:13:20.000 UTC · 4 spans
POST /predict          1.0 ms    ██████████████████████████  SERVER 500
│  ✗ ValueError: 3 features, expected 64
└─ run                 0.600 ms         ▐███████████████▍
   │  ✗ ValueError: 3 features, expected 64 (model.py:42 in predict)
   ├─ caught           0.100 ms            ███
   │     • exception  +0.450 ms             ◆                exception.type=ValueError
   │                                                         exception.message=3 features, expected
   │                                                         64
   └─ nameless         0.100 ms               ██▌
         ✗ error
"""


def test_spans_without_a_parent_at_hand_are_roots() -> None:
    orphans = [
        inner("late", "2", "gone", (50, 100)),
        inner("early", "1", None, (0, 50)),
        inner("child", "3", "2", (60, 70)),
    ]
    assert shown(render(orphans)) == ORPHANS_SHOWN


ORPHANS_SHOWN = """\
trace 4bf92f3577b34da6a3ce929d0e0e4736 · 2026-09-21 14:13:20.000 UTC · 3 spans
early     0.050 ms  ████████████████████
late      0.050 ms                      ████████████████████  parent gone…
└─ child  0.010 ms                          ████
"""


def test_spans_of_no_length_still_have_a_bar() -> None:
    empty = [inner("root", "1", None, (5, 5)), inner("leaf", "2", "1", (5, 5))]
    assert shown(render(empty)) == EMPTY_SHOWN


EMPTY_SHOWN = """\
trace 4bf92f3577b34da6a3ce929d0e0e4736 · 2026-09-21 14:13:20.000 UTC · 2 spans
root     0 ms  ▏
└─ leaf  0 ms  ▏
"""


def test_nothing_is_shown_of_no_spans() -> None:
    assert shown(render([])) == ""


def test_names_cannot_break_the_terminal_or_pose_as_markup() -> None:
    attributes = {"k\r": "\x07v\u202e\ud800"}
    odd = [
        inner("[red]\x1b[31m\nb", "1", None, (0, 10))._replace(attributes=attributes),
        inner("c" * 300, "2", "1", (0, 10)),
    ]
    assert shown(render(odd), width=90) == ODD_SHOWN


ODD_SHOWN = """\
trace 4bf92f3577b34da6a3ce929d0e0e4736 · 2026-09-21 14:13:20.000 UTC · 2 spans
[red]\\x1b[31m\\nb                      0.010 ms  ███████████████████  k\\r=\\x07v\\u202e\\ud800
└─ cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc
      cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc
      cccccccccccccccccccccccccccccccc…
                                      0.010 ms  ███████████████████
"""


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0.0, "0 ms"),
        (0.0001, "<0.001 ms"),
        (0.012, "0.012 ms"),
        (0.9996, "1.0 ms"),
        (3.42, "3.4 ms"),
        (99.96, "100 ms"),
        (640.2, "640 ms"),
        (999.7, "1.00 s"),
        (1_204.0, "1.20 s"),
        (125_000.0, "125.00 s"),
    ],
)
def test_a_duration_has_as_many_digits_as_matter(ms: float, text: str) -> None:
    assert duration_text(ms) == text


@pytest.mark.parametrize(
    ("start", "end", "bar"),
    [
        (0, 32, "████"),
        (0, 0, "▏"),
        (8, 13, " ▋"),
        (4, 20, "▐█▌"),
        (5, 7, "▕"),
        (4, 8, "▐"),
        (3, 8, "▋"),
        (12, 16, " ▐"),
        (32, 32, "   ▕"),
    ],
)
def test_a_bar_has_eighths_at_its_end_and_halves_at_its_start(
    start: int, end: int, bar: str
) -> None:
    assert draw_bar(start, end, 4, script_for("utf-8")) == bar


def test_a_chain_deeper_than_the_stack_is_shown() -> None:
    depth = sys.getrecursionlimit() + 10
    chain = [inner(f"n{i}", str(i), str(i - 1) if i else None, (i, i + 1)) for i in range(depth)]
    lines = shown(render(chain)).splitlines()
    assert len(lines) == depth + 1
    assert lines[-1].startswith(f"…{' ' * 17}└─ n{depth - 1}  ")


# -- anything at all --------------------------------------------------------------------

IDS = st.sampled_from(["1", "2", "3", "4", "0" * 16, ""])
TEXT = st.text(st.characters(exclude_characters="«»"), max_size=8) | st.sampled_from(
    ["[red]", "[/]", "\x1b[31m", "\r\n", "\u202e", "e\u0301", "\ud800", "数", "👩‍🔬", "\ufe0f"]
)
SCALARS = st.one_of(TEXT, st.booleans(), st.integers(), st.just(10**5000), st.floats())
KNOWN = st.sampled_from(
    [
        "spanserve.wait.for_peers_ms",
        "spanserve.run.share_ms",
        "spanserve.batch.trace_id",
        "spanserve.batch.position",
        "spanserve.new",
        "http.response.status_code",
        "http.request.method",
        "error.type",
        "exception.message",
        "exception.stacktrace",
    ]
)
ATTRIBUTES = st.dictionaries(KNOWN | TEXT, SCALARS | st.lists(SCALARS, max_size=8), max_size=4)
TIMES_NS = st.integers(-(2**63), 2**64)
SPANS = st.builds(
    Span,
    name=TEXT,
    kind=st.sampled_from(SpanKind),
    trace_id=TEXT,
    span_id=IDS,
    parent_id=st.none() | IDS,
    start_ns=TIMES_NS,
    end_ns=TIMES_NS,
    attributes=ATTRIBUTES,
    links=st.lists(st.builds(Link, TEXT, IDS, ATTRIBUTES), max_size=5),
    events=st.lists(
        st.builds(Event, TEXT | st.just("exception"), TIMES_NS, ATTRIBUTES), max_size=3
    ),
    error=st.none() | TEXT,
)


@given(st.lists(SPANS, max_size=8), st.sampled_from(["utf-8", "ascii", "cp1252"]))
def test_any_set_of_spans_shows_each_name_once_and_nothing_but_text(
    spans: Sequence[Span], encoding: str
) -> None:
    numbered = [span._replace(name=f"«{i}»{span.name}") for i, span in enumerate(spans)]
    text = shown(render(numbered), width=600, encoding=encoding)
    script = script_for(encoding)
    assert [text.count(script.clean(f"«{i}»", 9)) for i in range(len(spans))] == [1] * len(spans)
    assert all(script.clean(span.name, 200) in text for span in numbered)
    assert text.replace("\n", "").isprintable()


@given(st.lists(SPANS, max_size=8), st.integers(60, 140))
def test_no_line_is_wider_than_the_terminal(spans: Sequence[Span], width: int) -> None:
    lines = shown(render(spans), width=width).splitlines()
    assert [line for line in lines[1:] if cell_len(line) > width] == []


# -- the tracer -------------------------------------------------------------------------


def started(**settings: str) -> Console:
    tracer = Console()
    tracer.tracer_started(ConsoleSettings.model_validate(settings))
    return tracer


def test_the_entry_point_is_a_tracer_whose_hooks_all_exist() -> None:
    (found,) = entry_points(group="spanserve.tracers", name="console")
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(found.load()())
    manager.check_pending()
    assert manager.hook.tracer_settings() is ConsoleSettings
    assert manager.hook.tracer_target(settings=ConsoleSettings()) == "stderr"
    assert manager.hook.export_spans(spans=request_trace()) == ExportResult(
        rejected=6, reason="the console is not open"
    )


@pytest.mark.parametrize("wrong", [{"output": ""}, {"colour": "yes"}, {"out": "x"}])
def test_wrong_settings_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        ConsoleSettings.model_validate(wrong)


def test_a_call_of_two_traces_prints_two_trees_to_stderr(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tracer = started()
    request, batch = request_trace(), batch_trace()
    mixed = [request[0], *batch, *request[1:]]
    assert tracer.export_spans(mixed) is None
    tracer.tracer_stopping()
    printed = capsys.readouterr()
    both = [shown(render(trace), width=120) + "\n" for trace in (request, batch)]
    assert (printed.out, printed.err) == ("", "".join(both))


def test_stdout_is_left_open_and_always_colours_where_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    tracer = started(output="stdout", colour="always")
    tracer.export_spans([inner("queue", "1", None, (0, 9)), inner("run", "2", "1", (0, 9))])
    tracer.tracer_stopping()
    printed = capsys.readouterr().out
    assert not sys.stdout.closed
    assert "\x1b[1mqueue\x1b[0m" in printed
    assert "\x1b[32m█" in printed


def test_a_file_is_appended_to_without_colours(tmp_path: Path) -> None:
    file = tmp_path / "traces.txt"
    file.write_text("before\n", encoding="utf-8")
    settings = ConsoleSettings(output=str(file))
    tracer = Console()
    assert tracer.tracer_target(settings) == str(file)
    tracer.tracer_started(settings)
    tracer.export_spans(batch_trace())
    tracer.tracer_stopping()
    tree = shown(render(batch_trace()), width=120)
    assert file.read_text(encoding="utf-8") == f"before\n{tree}\n"


def test_a_file_that_cannot_be_opened_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent/traces\.txt cannot be opened: No such file"):
        started(output=str(tmp_path / "absent" / "traces.txt"))


@pytest.mark.parametrize(("colour", "bold"), [("auto", b"\x1b[1m"), ("never", b"")])
def test_a_terminal_is_coloured_unless_never(
    colour: str, bold: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w", encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        tracer = started(colour=colour)
        assert tracer.export_spans([inner("run", "1", None, (0, 9))]) is None
        printed = os.read(leader, 4_096)
        tracer.tracer_stopping()
    os.close(leader)
    assert b"\n" + bold + b"run" in printed


def test_a_broken_pipe_rejects_the_spans_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    os.close(read)
    stream = os.fdopen(write, "w", encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", stream)
    tracer = started(output="stdout")
    lost = ExportResult(rejected=6, reason="[Errno 32] Broken pipe")
    assert [tracer.export_spans(request_trace()) for _ in range(2)] == [lost, lost]
    with pytest.raises(BrokenPipeError):
        stream.close()
    closed = ExportResult(rejected=6, reason="I/O operation on closed file.")
    assert tracer.export_spans(request_trace()) == closed
    tracer.tracer_stopping()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_rejects_the_spans_and_stopping_does_not_raise() -> None:
    tracer = started(output="/dev/full")
    assert tracer.export_spans(batch_trace()) == ExportResult(
        rejected=5, reason="[Errno 28] No space left on device"
    )
    tracer.tracer_stopping()
