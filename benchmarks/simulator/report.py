"""The table, for a terminal and for the docs."""

from collections.abc import Iterator, Sequence
from statistics import geometric_mean

from simulator.compare import Result, lead
from simulator.scenarios import OURS

CLOSE = 0.95
COLUMNS = (
    "load and model",
    "policy",
    "requests/s",
    "mean ms",
    "p50 ms",
    "p99 ms",
    "mean batch",
    "waits a batch",
    "ours / best other",
)


def markdown(rows: Sequence[Sequence[Result]]) -> str:
    """Return all scenarios' results as one table of Markdown."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    for results in rows:
        lines += ["| " + " | ".join(cells) + " |" for cells in _lines(results)]
    return "\n".join(lines) + "\n"


def text(rows: Sequence[Sequence[Result]]) -> str:
    """Return the same for a terminal, in columns."""
    table = [COLUMNS, *(cells for results in rows for cells in _lines(results))]
    widths = [max(len(line[column]) for line in table) for column in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    )


def summary(rows: Sequence[Sequence[Result]]) -> str:
    """Return how ours compares on the whole and at worst, and whether it ever waited too often."""
    leads = [lead(results) for results in rows]
    worst = min(rows, key=lead)
    behind = sum(each < CLOSE for each in leads)
    most = max(result.most_waits for results in rows for result in results[:1])
    return (
        f"{len(rows)} scenarios; ours / best other is {geometric_mean(leads):.3f} on average, "
        f"{lead(worst):.3f} at worst ({worst[0].scenario}), below {CLOSE} in {behind}; "
        f"most waits for one batch: {most}"
    )


def _lines(results: Sequence[Result]) -> Iterator[tuple[str, ...]]:
    for result in results:
        ours = result.policy == OURS
        late = "" if result.on_time or result.closed else " (late)"
        refused = f", refuses {result.refused:.1%}" if result.refused else ""
        yield (
            result.scenario if ours else "",
            f"{result.policy} {result.setting}".strip() + refused,
            f"{result.per_s:,.0f}",
            f"{result.mean_ms:.1f}",
            f"{result.p50_ms:.1f}",
            f"{result.p99_ms:.1f}{late}",
            f"{result.mean_size:.1f}",
            f"{result.waits_per_batch:.2f}",
            f"{lead(results):.3f}" if ours else "",
        )
