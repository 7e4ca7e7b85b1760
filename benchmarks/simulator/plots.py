"""Pictures of the table, as small SVG files: no library needed, and no fonts embedded."""

from collections.abc import Iterator, Sequence
from html import escape

from simulator.compare import Result
from simulator.scenarios import POLICIES

COLOURS = dict(zip(POLICIES, ("#0b6e4f", "#9aa5b1", "#e0a030", "#b5485d", "#5470c6"), strict=True))
WIDTH, LABEL, ROW, TOP = 760, 250, 22, 62
LOW, HIGH = 0.4, 1.05


def bars(title: str, rows: Sequence[Sequence[Result]]) -> str:
    """Return a picture of how good each policy's best is, beside the best of all, row by row."""
    height = TOP + ROW * len(rows) + 12
    box = f'viewBox="0 0 {WIDTH} {height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box} font-family="sans-serif" font-size="12">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="8" y="18" font-size="14" font-weight="bold">{escape(title)}</text>',
        *_legend(),
        *_grid(height),
    ]
    for place, results in enumerate(rows):
        parts += _row(TOP + ROW * place, results)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _x(merit: float) -> float:
    left, right = LABEL + 12, WIDTH - 20
    share = (min(max(merit, LOW), HIGH) - LOW) / (HIGH - LOW)
    return left + share * (right - left)


def _legend() -> Iterator[str]:
    for place, (policy, colour) in enumerate(COLOURS.items()):
        x = LABEL + 12 + 98 * place
        yield f'<circle cx="{x}" cy="34" r="5" fill="{colour}"/>'
        yield f'<text x="{x + 9}" y="38">{policy}</text>'


def _grid(height: int) -> Iterator[str]:
    for percent in (40, 50, 60, 70, 80, 90, 100):
        x = _x(percent / 100)
        yield f'<path d="M{x:.1f} {TOP - 6}V{height - 12}" stroke="#ddd"/>'
        place = f'x="{x:.1f}" y="{TOP - 10}" text-anchor="middle"'
        yield f'<text {place} fill="#777">{percent} %</text>'


def _row(y: float, results: Sequence[Result]) -> Iterator[str]:
    middle = y + ROW / 2
    name = escape(results[0].scenario)
    yield f'<text x="{LABEL}" y="{middle + 4:.1f}" text-anchor="end">{name}</text>'
    merits = _merits(results)
    for result, merit in sorted(zip(results, merits, strict=True), key=lambda pair: -pair[1]):
        ours = result is results[0]
        place = f'cx="{_x(merit):.1f}" cy="{middle:.1f}" fill="{COLOURS[result.policy]}"'
        if not ours:
            yield f'<circle {place} r="4.5"/>'
    yield (
        f'<path d="M{_x(merits[0]):.1f} {middle - 8:.1f}v16" '
        f'stroke="{COLOURS[results[0].policy]}" stroke-width="4"/>'
    )


def _merits(results: Sequence[Result]) -> list[float]:
    """Return each result's share of the best: of its throughput, or the best's mean / its own."""
    if results[0].closed:
        best_per_s = max(r.per_s for r in results)
        return [r.per_s / best_per_s for r in results]
    best_ms = min(r.mean_ms for r in results)
    return [best_ms / r.mean_ms for r in results]
