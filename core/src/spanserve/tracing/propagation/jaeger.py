"""Jaeger's own header: `uber-trace-id: {trace}:{span}:{parent}:{flags}`, all hex.

Source: https://www.jaegertracing.io/docs/1.21/client-libraries/#propagation-format.
"""

import re
from typing import Final

from spanserve.tracing.propagation.context import HeaderFields, Remote, first_text

UBER_TRACE_ID: Final = b"uber-trace-id"
DEBUG_ID: Final = b"jaeger-debug-id"

MAX_BYTES: Final = 128
FLAG_SAMPLED: Final = 0x01
FLAG_DEBUG: Final = 0x02

# Some clients encode the colons as they would in a URL.
_COLON: Final = "(?::|%3[aA])"
_HEADER: Final = re.compile(
    _COLON.join(
        (
            r"([0-9a-fA-F]{1,32})",
            r"([0-9a-fA-F]{1,16})",
            r"[0-9a-fA-F]{0,16}",
            r"([0-9a-fA-F]{1,2})",
        )
    )
)


def read(fields: HeaderFields) -> Remote | None:
    """Return what valid headers say; the deprecated parent is not used.

    `jaeger-debug-id` asks for a trace, new unless there are ids, whatever the sampling says.
    """
    debug_id = first_text(fields, DEBUG_ID, MAX_BYTES)
    remote = _read_ids(fields)
    if not debug_id:
        return remote
    if remote is None:
        return Remote("", "", sampled=True, debug=True, debug_id=debug_id)
    return remote._replace(sampled=True, debug=True, debug_id=debug_id)


def _read_ids(fields: HeaderFields) -> Remote | None:
    match = _HEADER.fullmatch(first_text(fields, UBER_TRACE_ID, MAX_BYTES))
    if match is None:
        return None
    trace_id, span_id, flags_hex = match.groups()
    if not trace_id.strip("0") or not span_id.strip("0"):
        return None
    flags = int(flags_hex, 16)
    sampled = bool(flags & FLAG_SAMPLED)
    # Debug means something only beside sampled: OpenTelemetry's Python propagator writes 2
    # for spans that are not sampled.
    debug = sampled and bool(flags & FLAG_DEBUG)
    return Remote(trace_id.lower().zfill(32), span_id.lower().zfill(16), sampled, debug)


def write(context: Remote) -> dict[str, str]:
    """Return the header of this context."""
    flags = FLAG_SAMPLED | FLAG_DEBUG if context.debug else int(bool(context.sampled))
    return {"uber-trace-id": f"{context.trace_id}:{context.span_id}:0:{flags}"}
