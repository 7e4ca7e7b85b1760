"""Tables for people: on screen, and between marks in a page of the docs."""

import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench.cells import Row
from bench.single import Sheet
from bench.suites import Table

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


def table(each: Table) -> str:
    """Return one table of results as Markdown."""
    columns = [*_COLUMNS]
    traced = any(row.spans_a_request for row in each.rows)
    if traced:
        columns += ["CPU µs a span", "spans dropped", "peak MB"]
    lines = [f"**{each.title}, {each.connections} connections**", "", _line(columns)]
    lines.append(_line(["---"] * len(columns)))
    base = each.rows[0].typical("cpu_us") if each.rows else 0.0
    lines += [_line([*_figures(row), *(_spans(row, base) if traced else ())]) for row in each.rows]
    return "\n".join(lines)


def _figures(row: Row) -> list[str]:
    if row.why:
        return [row.server, row.why, *[""] * 6]
    median_us, p99_us = row.typical("median_us"), row.typical("p99_us")
    name = row.server if not row.errors else f"{row.server} ({row.errors} errors)"
    return [
        name,
        f"{row.typical('requests_a_second'):,.0f}",
        f"{row.typical('cpu_us'):,.1f}",
        _time(median_us),
        _time(p99_us),
        f"{p99_us / median_us:.2f}" if median_us else "",
        f"{row.throughput_ratio:.3g}",
        f"{row.cpu_ratio:.3g}",
    ]


def _spans(row: Row, base_us: float) -> list[str]:
    if not row.spans_a_request:
        return ["", "", f"{row.peak_mb:.0f}"]
    cost_us = (row.typical("cpu_us") - base_us) / row.spans_a_request
    return [f"{cost_us:.1f}", f"{row.dropped_spans:.0f}", f"{row.peak_mb:.0f}"]


def _time(us: float) -> str:
    return f"{us / 1e3:.2f} ms"


def sheet(each: Sheet) -> str:
    """Return a table of other columns as Markdown."""
    lines = [f"**{each.title}**", "", _line(each.columns), _line(["---"] * len(each.columns))]
    return "\n".join([*lines, *(_line(list(map(str, row))) for row in each.rows)])


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


def settings(tables: Sequence[Table]) -> str:
    """Say how each server was told to batch."""
    found = {row.server: row.settings for each in tables for row in each.rows if row.settings}
    return "\n".join(f"- {name}: {text}" for name, text in found.items())


def into_page(page: Path, blocks: dict[str, str]) -> None:
    """Write blocks between the marks of a page: `<!-- bench: name -->` and `<!-- end -->`."""
    text = page.read_text(encoding="utf-8")
    for name, block in blocks.items():
        start, end = f"<!-- bench: {name} -->", "<!-- end -->"
        if start in text:
            before, _, rest = text.partition(start)
            text = f"{before}{start}\n\n{block}\n\n{end}{rest.partition(end)[2]}"
    page.write_text(text, encoding="utf-8")
