"""B3, the headers of Zipkin: one header `b3`, or one `X-B3-*` header a field.

Source: https://github.com/openzipkin/b3-propagation. Beyond it, upper-case digits are
read, and ids that are all zero are taken for no ids, so that their decision still counts.
"""

import re
from typing import Final, NamedTuple

from spanserve.tracing.propagation.context import HeaderFields, Remote, first_text

SINGLE: Final = b"b3"
TRACE_ID: Final = b"x-b3-traceid"
SPAN_ID: Final = b"x-b3-spanid"
SAMPLED: Final = b"x-b3-sampled"
FLAGS: Final = b"x-b3-flags"

MAX_BYTES: Final = 128

_TRACE: Final = r"((?:[0-9a-fA-F]{16}){1,2})"
_SPAN: Final = r"([0-9a-fA-F]{16})"
_TRACE_ID: Final = re.compile(_TRACE)
_SPAN_ID: Final = re.compile(_SPAN)
_SINGLE: Final = re.compile(rf"{_TRACE}-{_SPAN}(?:-([01d]))?(?:-{_SPAN})?")


class _Decision(NamedTuple):
    sampled: bool | None
    debug: bool = False


_DEFER: Final = _Decision(None)
_DENY: Final = _Decision(sampled=False)
_ACCEPT: Final = _Decision(sampled=True)
_DEBUG: Final = _Decision(sampled=True, debug=True)


def read_single(fields: HeaderFields) -> Remote | None:
    """Return what the `b3` header says, perhaps a decision without ids; None if malformed."""
    text = first_text(fields, SINGLE, MAX_BYTES)
    if len(text) == 1:
        return _without_ids(_decision(text))
    match = _SINGLE.fullmatch(text)
    if match is None:
        return None
    trace_id, span_id, state, _parent_id = match.groups()
    return _remote(trace_id, span_id, _decision(state or ""))


def read_multi(fields: HeaderFields) -> Remote | None:
    """Return what the `X-B3-*` headers say, perhaps a decision without ids; else None."""
    decision = _DEBUG
    if first_text(fields, FLAGS, MAX_BYTES) != "1":
        decision = _decision(first_text(fields, SAMPLED, MAX_BYTES).lower())
    trace_id = _TRACE_ID.fullmatch(first_text(fields, TRACE_ID, MAX_BYTES))
    span_id = _SPAN_ID.fullmatch(first_text(fields, SPAN_ID, MAX_BYTES))
    if trace_id is None or span_id is None:
        return _without_ids(decision)
    return _remote(trace_id[0], span_id[0], decision)


def _decision(text: str) -> _Decision:
    match text:
        case "0" | "false":
            return _DENY
        case "1" | "true":
            return _ACCEPT
        case "d":
            return _DEBUG
        case _:
            return _DEFER


def _without_ids(decision: _Decision) -> Remote | None:
    return None if decision is _DEFER else Remote("", "", decision.sampled, decision.debug)


def _remote(trace_id: str, span_id: str, decision: _Decision) -> Remote | None:
    if not trace_id.strip("0") or not span_id.strip("0"):
        return _without_ids(decision)
    return Remote(trace_id.lower().zfill(32), span_id.lower(), decision.sampled, decision.debug)


def write_single(context: Remote) -> dict[str, str]:
    """Return the header `b3` of this context, without a parent."""
    state = "d" if context.debug else "1" if context.sampled else "0"
    return {"b3": f"{context.trace_id}-{context.span_id}-{state}"}


def write_multi(context: Remote) -> dict[str, str]:
    """Return the `X-B3-*` headers of this context, without a parent, names in lower case."""
    headers = {"x-b3-traceid": context.trace_id, "x-b3-spanid": context.span_id}
    if context.debug:
        # Debug implies sampled, and the format wants only one of the two sent.
        headers["x-b3-flags"] = "1"
    else:
        headers["x-b3-sampled"] = "1" if context.sampled else "0"
    return headers
