"""W3C Trace Context: the headers `traceparent` and `tracestate`.

Source: https://www.w3.org/TR/trace-context-1/ and, for the keys of `tracestate`, the more
lenient https://www.w3.org/TR/trace-context-2/.
"""

import re
from collections.abc import Sequence
from typing import Final

from spanserve.tracing.propagation.context import (
    OPTIONAL_SPACE,
    HeaderFields,
    Remote,
    first_text,
    remote_of,
)

TRACEPARENT: Final = b"traceparent"
TRACESTATE: Final = b"tracestate"

# A future version may be longer than the 55 characters that we read of it.
MAX_TRACEPARENT_BYTES: Final = 512
MAX_TRACESTATE_READ_BYTES: Final = 8_192
# The standard asks for 512 at least.
MAX_TRACESTATE_CHARS: Final = 2_048
MAX_MEMBERS: Final = 32
LONG_MEMBER_CHARS: Final = 128

_TRACEPARENT: Final = re.compile(
    r"(?!ff)([0-9a-f]{2})-((?!0{32})[0-9a-f]{32})-((?!0{16})[0-9a-f]{16})-[0-9a-f]([0-9a-f])(-.*)?"
)
# As nearly all are, and as bytes: it takes half as long.
_USUAL: Final = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_MEMBER: Final = re.compile(
    r"([a-z0-9][a-z0-9_\-*/@]{0,255})=[ -+\--<>-~]{0,255}[!-+\--<>-~]",
)
_FLAGS: Final = {f"{flags:x}": (flags & 1 > 0, flags & 2 > 0) for flags in range(16)}
"""Whether sampled, and whether random, by the last digit of the flags."""


def read(fields: HeaderFields) -> Remote | None:
    """Return what a single valid traceparent says, with its tracestate; else None."""
    if len(fields.get(TRACEPARENT, ())) != 1:
        return None
    match = _TRACEPARENT.fullmatch(first_text(fields, TRACEPARENT, MAX_TRACEPARENT_BYTES))
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if rest is not None and version == "00":
        return None
    states = fields.get(TRACESTATE)
    tracestate = read_tracestate(states) if states else ""
    sampled, random = _FLAGS[flags]
    return Remote(trace_id, span_id, sampled, False, tracestate, "", random)


def read_usual(traceparent: bytes) -> Remote | None:
    """Return what a valid traceparent of version 00 says, without a tracestate; else None."""
    if _USUAL.fullmatch(traceparent) is None:
        return None
    text = traceparent.decode()
    sampled, random = _FLAGS[text[54]]
    return remote_of((text[3:35], text[36:52], sampled, False, "", "", random))


def read_tracestate(values: Sequence[bytes]) -> str:
    """Return the members of these headers, in order; empty if any is malformed.

    Of several with one key the first is kept. A list longer than `MAX_TRACESTATE_CHARS` loses whole
    members, those of more than `LONG_MEMBER_CHARS` first, and of either kind the last.
    """
    if sum(map(len, values)) + len(values) > MAX_TRACESTATE_READ_BYTES:
        return ""
    text = b",".join(values).decode("latin-1")
    # Empty members are allowed, but not without end: past this count the rest stays one piece
    # with commas in it, which is no valid member.
    pieces = (piece.strip(OPTIONAL_SPACE) for piece in text.split(",", 2 * MAX_MEMBERS))
    members = [piece for piece in pieces if piece]
    matches = [match for match in map(_MEMBER.fullmatch, members) if match]
    if len(matches) != len(members) or len(members) > MAX_MEMBERS:
        return ""
    first: dict[str, str] = {}
    for match in matches:
        first.setdefault(match[1], match[0])
    return _within_limit(list(first.values()))


def _within_limit(members: list[str]) -> str:
    while len(text := ",".join(members)) > MAX_TRACESTATE_CHARS:
        long = [i for i, member in enumerate(members) if len(member) > LONG_MEMBER_CHARS]
        del members[long[-1] if long else -1]
    return text


def write(context: Remote) -> dict[str, str]:
    """Return the headers of this context.

    The flag of level 2 that calls a trace id random (0x02) is passed on where the caller set it. It
    stays clear else: a clear flag claims nothing, and where it is set, services that turn W3C flags
    into Jaeger's take it for debug.
    """
    flags = (1 if context.sampled or context.debug else 0) + (2 if context.random else 0)
    headers = {"traceparent": f"00-{context.trace_id}-{context.span_id}-0{flags}"}
    if context.tracestate:
        headers["tracestate"] = context.tracestate
    return headers
