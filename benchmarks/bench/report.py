"""Tables for people: on screen, and between marks in a page of the docs."""

import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench.cells import Row
from bench.servers import echo, peer_entries, spanserve
from bench.tables import Grid, Sheet, Shown, Table

_OF_THE_MODELS = ("scikit-learn", "joblib", "numpy")
_COLUMNS = (
    "server",
    "req/s",
    "CPU µs",
    "median",
    "p99",
    "p99 / median",
    "req/s ratio",
    "CPU ratio",
)


def block(each: Shown) -> str:
    """Return whatever a suite yields as Markdown."""
    if isinstance(each, Table):
        return table(each)
    return grid(each) if isinstance(each, Grid) else sheet(each)


def table(each: Table) -> str:
    """Return one table of results as Markdown."""
    columns = [*_COLUMNS]
    traced = any(row.spans_a_request for row in each.rows)
    if traced:
        columns += ["CPU µs a span", "of that, exporter's process", "spans dropped", "peak MB"]
    lines = [f"**{each.title}, {each.connections} connections**", "", *_head(columns)]
    lines += [_line([*_figures(row), *(_spans(row) if traced else ())]) for row in each.rows]
    return "\n".join(lines)


def _figures(row: Row) -> list[str]:
    if row.why:
        return [row.server, row.why, *[""] * 6]
    median_us, p99_us = row.typical("median_us"), row.typical("p99_us")
    more = ">" if row.is_short else ""
    throughput, cpu = row.ratio("requests_a_second"), row.ratio("cpu_us")
    return [
        row.server if not row.errors else f"{row.server} ({row.errors:,} errors)",
        f"{row.typical('requests_a_second'):,.0f}",
        f"{row.typical('cpu_us'):,.1f}",
        f"{more}{median_us / 1e3:.2f} ms",
        f"{more}{p99_us / 1e3:.2f} ms",
        f"{p99_us / median_us:.2f}" if median_us and not row.is_short else "",
        f"{throughput:.3g}" if throughput else "",
        f"{cpu:.3g}" if cpu else "",
    ]


def _spans(row: Row) -> list[str]:
    if not row.spans_a_request:
        return ["", "", "", f"{row.peak_mb:.0f}"]
    cost_us = row.added_us / row.spans_a_request
    exporter_us = row.typical("exporter_us") / row.spans_a_request
    return [
        f"{cost_us:.1f}",
        f"{exporter_us:.1f}" if exporter_us else "",
        f"{row.dropped_spans:.0f}",
        f"{row.peak_mb:.0f}",
    ]


def grid(each: Grid) -> str:
    """Return several numbers of connections as one table, a cell's figures in one line."""
    counts = [cell.connections for cell in each.tables]
    columns = ["server", *(f"{count:,} connection{'s'[: count - 1]}" for count in counts)]
    lines = [f"**{each.title}: req/s · CPU µs · median ms · p99 ms**", "", *_head(columns)]
    servers = zip(*(cell.rows for cell in each.tables), strict=True)
    return "\n".join([*lines, *(_line([rows[0].server, *map(_short, rows)]) for rows in servers)])


def _short(row: Row) -> str:
    if row.why:
        return row.why
    more = ">" if row.is_short else ""
    errors = f" ({row.errors:,} errors)" if row.errors else ""
    rate, cpu_us = row.typical("requests_a_second"), row.typical("cpu_us")
    if not rate:
        return f"no answers in a turn{errors}"
    times = (f"{more}{_digits(row.typical(each) / 1e3)}" for each in ("median_us", "p99_us"))
    return " · ".join((f"{rate:,.0f}", f"{cpu_us:,.0f}", *times)) + errors


def _digits(figure: float) -> str:
    """Return three digits of a figure, or more before its point."""
    return f"{figure:,.{max(0, 2 - len(str(int(figure))) + 1)}f}"


def sheet(each: Sheet) -> str:
    """Return a table of other columns as Markdown."""
    lines = [f"**{each.title}**", "", *_head(each.columns)]
    return "\n".join([*lines, *(_line(list(map(str, row))) for row in each.rows)])


def _head(columns: Sequence[str]) -> list[str]:
    return [_line(columns), _line(["---"] * len(columns))]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def machine() -> str:
    """Describe where this was measured."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "an unknown processor",
    )
    packages = ", ".join(
        f"{name} {version(name)}" for name in ("uvicorn", "uvloop", "httptools", "numpy")
    )
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d}, {cpu}, two processors, "
        f"Linux {platform.release()}, Python {platform.python_version()}, "
        f"spanserve {version('spanserve')}, {packages}. "
        "Servers on one processor, load and sinks on the other."
    )


def settings() -> str:
    """Say which version of each server is measured, and how it is told to batch."""
    lines = [f"- {each.name}: {each.settings}" for each in (echo(), spanserve("noop"))]
    for each in peer_entries():
        own = [one for one in each["requirements"] if not one.startswith(_OF_THE_MODELS)]
        versions = ", ".join(own).replace("==", " ")
        lines.append(f"- {each['name']}: {each['settings']} ({versions})")
    return "\n".join(lines)


def into_page(page: Path, blocks: dict[str, str]) -> None:
    """Write blocks between the marks of a page: `<!-- bench: name -->` and `<!-- end -->`."""
    text = page.read_text(encoding="utf-8")
    for name, block in blocks.items():
        start, end = f"<!-- bench: {name} -->", "<!-- end -->"
        if start in text:
            before, _, rest = text.partition(start)
            text = f"{before}{start}\n\n{block}\n\n{end}{rest.partition(end)[2]}"
    page.write_text(text, encoding="utf-8")
