"""Entries and the breakdown as lines of a terminal."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from spanserve_local.views.trace import one_line

_WIDTHS: Final = (12, 12, 6, 30, 14)
_BAR: Final = 30


def _row(*cells: str) -> str:
    start, duration, status, name, batch, trace = cells
    widths = _WIDTHS
    return (
        f"{start:<{widths[0]}} {duration:>{widths[1]}} {status:>{widths[2]}}  "
        f"{name:<{widths[3]}} {batch:<{widths[4]}} {trace}"
    )


HEADING: Final = _row("start", "duration", "status", "name", "batch", "trace")


def line(entry: Mapping[str, Any]) -> str:
    """Return an entry as a line."""
    start = datetime.fromtimestamp(entry["start_ms"] / 1000).astimezone()
    batch = f"{entry['batch_size']} {entry['reason'] or ''}" if entry["batch_size"] else ""
    status = str(entry["status"] or "")
    return _row(
        f"{start:%H:%M:%S}.{start.microsecond // 1000:03d}",
        f"{entry['duration_ms']:.3f} ms",
        "ERROR" if entry["error"] and not status else f"{status}!" if entry["error"] else status,
        one_line(entry["name"], _WIDTHS[3]),
        batch,
        entry["trace_id"],
    )


def breakdown(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield a breakdown as lines."""
    yield f"{found['requests']} requests, {found['errors']} failed"
    if found["requests"]:
        yield f"{'':<22}{'p50':>10} {'p90':>10} {'p99':>10} {'mean':>10}  ms"
        for part in found["parts"]:
            bar = "█" * round(max(0.0, part["share"]) * _BAR)
            mean = f"{part['mean']:>10.3f}  {part['share']:>4.0%} {bar}"
            yield f"  {part['name']:<20}{_figures(part)} {mean}"
        yield f"  {'all':<20}{_figures(found['total'])}"
        sizes = ", ".join(f"{size}: {batches}" for size, batches in found["batch_sizes"])
        reasons = ", ".join(f"{reason}: {batches}" for reason, batches in found["reasons"].items())
        yield f"batches by size: {sizes or 'none'}"
        yield f"released since: {reasons or 'none'}"
    yield f"advice: {found['advice']['text']}"


def _figures(part: Mapping[str, Any]) -> str:
    return " ".join(f"{part[key]:>10.3f}" for key in ("p50", "p90", "p99"))
