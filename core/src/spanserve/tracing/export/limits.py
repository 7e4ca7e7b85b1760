"""The bounds of one exporter."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """The bounds of one exporter's queue; `max_spans` counts spans, dropped as whole records."""

    max_spans: int = 100_000
    flush_interval_s: float = 0.2
    max_export_spans: int = 8_000
    retry_for_s: float = 60.0
    first_pause_s: float = 0.25
    hang_after_s: float = 10.0
