"""What the demo prints, on a terminal or anywhere else."""

import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from rich import box
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from spanserve.commands.demo.job import Outcome
from spanserve.commands.demo.measures import Answers, Batches, percentile
from spanserve.commands.demo.server import Delivery
from spanserve.commands.demo.traces import Example
from spanserve.tracers.script import draw_bar, script_for
from spanserve.tracers.timeline import render, render_together

WIDTH_OFF_TERMINAL: Final = 120
WIDTH_FOR_TWO: Final = 200
BAR_CELLS: Final = 24
LABEL_CELLS: Final = 11

NEXT_CONFIG: Final = """\
tracing:
  type: zipkin
  zipkin:
    url: http://localhost:9411/api/v2/spans
"""


class Report:
    """Writes to stdout; colours, bars and widths are the terminal's, if it is one."""

    def __init__(self) -> None:
        terminal = sys.stdout.isatty()
        self._console = Console(
            file=sys.stdout, width=None if terminal else WIDTH_OFF_TERMINAL, highlight=False
        )

    def line(self, label: str, text: str, *, style: str = "") -> None:
        """Print a line with a label before it."""
        words = Text(f"{label:<{LABEL_CELLS}}", style="dim").append(text, style)
        self._console.print(words, soft_wrap=True)

    def failure(self, text: str) -> None:
        """Say what went wrong."""
        self.line("failed", text, style="red")

    def _blank(self) -> None:
        self._console.print()

    @contextmanager
    def progress(self, total: int) -> Iterator[Callable[[int], None]]:
        """Show a bar on a terminal while requests are answered; yields what moves it."""
        bar = Progress(
            TextColumn(f"{'requests':<{LABEL_CELLS - 1}}", style="dim"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
        )
        with bar:
            task = bar.add_task("", total=total)
            yield lambda done: bar.update(task, completed=done)

    def answers(self, answers: Answers) -> None:
        """Print the accuracy."""
        share = answers.right / max(1, answers.count)
        own = "" if answers.unlike_model else ", each the model's own for its image"
        self.line("accuracy", f"{share:.3f} of {answers.count} answers{own}")

    def speed(self, outcome: Outcome, clients: int) -> None:
        """Print how fast it was, and for whom."""
        rate = len(outcome.latencies_ms) / max(outcome.elapsed_s, 1e-9)
        half, most = (percentile(outcome.latencies_ms, each) for each in (50, 99))
        self.line(
            "speed",
            f"{rate:.0f} requests/s in {outcome.elapsed_s:.1f} s, concurrent clients: {clients}",
        )
        self.line("latency", f"median {half:.1f} ms, 99th percentile {most:.1f} ms")
        self.line("", "(clients and server share this machine: not a benchmark)", style="dim")

    def batches(self, batches: Batches) -> None:
        """Print two tables: batches by size, and by the reason of their release."""
        mean = batches.items / max(1, batches.count)
        self._blank()
        self.line("batches", f"{batches.count}, of {mean:.1f} images each on average")
        self._console.print(
            _row(
                [self._table("batch size", batches.sizes), self._table("released", batches.reasons)]
            )
        )

    def example(self, example: Example, url: str | None) -> None:
        """Print a request's trace and its batch's, side by side where there is room."""
        self._blank()
        if example.batch:
            others = len(example.batch[0].links) - 1
            plural = "s" if others != 1 else ""
            title = f"a typical request, and the batch that it shared with {others} other{plural}:"
        else:
            title = "a typical request, alone in its batch:"
        self._console.print(Text(title, style="bold"), soft_wrap=True)
        traces = [trace for trace in (example.request, example.batch) if trace]
        if len(traces) > 1 and self._console.width >= WIDTH_FOR_TWO:
            self._console.print(_row([render(trace) for trace in traces], ratio=1))
        else:
            self._console.print(render_together(traces), crop=False)
        if url is not None:
            self.line("look at it", url)

    def deliveries(self, deliveries: Sequence[Delivery]) -> None:
        """Print what each tracer sent and lost."""
        self._blank()
        for each in deliveries:
            if each.sent is None:
                self.line("tracer", f"{each.name}: looked on live; it takes no finished spans")
            else:
                lost = ", ".join(f"{count} ({why})" for why, count in each.dropped.items()) or "0"
                self.line(
                    "tracer",
                    f"{each.name}: {each.sent} spans sent to {each.target}, dropped: {lost}",
                )

    def breakdown(self, route: str, told: Mapping[str, Any] | str) -> None:
        """Print where the time of an endpoint's requests went, and the advice."""
        self._blank()
        self._console.print(Text(f"where the time of {route} went", style="bold"), soft_wrap=True)
        if isinstance(told, str):
            self.line("", told)
            return
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1))
        for title in ("part", "share", "p50", "p90", "p99"):
            table.add_column(title, justify="left" if title == "part" else "right")
        table.add_column("", min_width=BAR_CELLS)
        script = script_for(self._console.encoding)
        for part in told["parts"]:
            bar = draw_bar(0, round(part["share"] * BAR_CELLS * 8), BAR_CELLS, script)
            times = (f"{part[each]:.3f} ms" for each in ("p50", "p90", "p99"))
            table.add_row(part["name"], f"{part['share']:.1%}", *times, Text(bar, "green"))
        self._console.print(table)
        self.line("advice", told["advice"]["text"], style="bold")

    def kept(self, url: str, pages: str | None, *, installed: bool) -> None:
        """Say where the server is that stays up, and where its traces can be looked at."""
        self._blank()
        self.line("serving", f"{url}, with a light load; Ctrl-C ends it")
        if pages is not None:
            self.line("look at it", pages, style="bold")
        elif installed:
            self.line("", "the viewer is there with local among tracing.type", style="dim")
        else:
            self.line("", "traces in the browser: pip install spanserve-local", style="dim")

    def what_next(self, kept: Path | None) -> None:
        """Print commands to go on with."""
        folder = kept or Path("digits")
        name = shlex.quote(str(folder))
        keep = [(f"spanserve demo --output {name}", "keep the bundle to look at it")]
        rows = [
            *([] if kept else keep),
            (f"spanserve serve {name}", "serve it: http://127.0.0.1:8000/docs"),
            (
                f"SPANSERVE__TRACING__TYPE=console spanserve serve {name}",
                "with traces in the terminal",
            ),
            ("spanserve demo --keep", "stay up, and look at the traces in the browser"),
            ("spanserve demo --config c.yml", "this demo, traced to your backend; a c.yml:"),
        ]
        self._blank()
        width = max(len(command) for command, _ in rows)
        self._console.print(Text("what next", style="bold"))
        for command, what in rows:
            line = Text(f"  {command:<{width}}  ").append(f"# {what}", style="dim")
            self._console.print(line, soft_wrap=True)
        for text in NEXT_CONFIG.splitlines():
            self._console.print(Text(f"      {text}"), soft_wrap=True)

    def _table(self, title: str, counts: Mapping[str, int]) -> Table:
        script = script_for(self._console.encoding)
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1))
        table.add_column(title)
        table.add_column("batches", justify="right")
        table.add_column("", min_width=BAR_CELLS)
        most = max(counts.values(), default=1)
        for name, count in counts.items():
            bar = draw_bar(0, count * BAR_CELLS * 8 // most, BAR_CELLS, script)
            table.add_row(name, str(count), Text(bar, "green"))
        return table


def _row(parts: Sequence[RenderableType], *, ratio: int | None = None) -> Table:
    grid = Table.grid(padding=(0, 3))
    for _ in parts:
        grid.add_column(ratio=ratio)
    grid.add_row(*parts)
    return grid
