"""Which formats a request comes in and its answer goes out in, by `Content-Type` and `Accept`.

Source: RFC 9110, sections 8.3 and 12.5.1.
"""

from collections.abc import Sequence
from typing import Final

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
NPY: Final = "application/x-npy"
ITEMS: Final = "application/x-items+json"
"""Several items as one JSON array."""
EVENTS: Final = "text/event-stream"
FORM: Final = "multipart/form-data"
OCTETS: Final = "application/octet-stream"
ANY: Final = "*/*"

MAX_HEADER_CHARS: Final = 1_000


def media_type(content_type: str) -> str:
    """Return the type without its parameters, in lower case; JSON where there is none."""
    return content_type.partition(";")[0].strip().lower() or JSON


def is_taken(media: str, reads: Sequence[str]) -> bool:
    """Return whether a format is one of these, of which `image/*` and `*/*` stand for many."""
    return media in reads or any(
        each in {ANY, f"{media.partition('/')[0]}/*"} for each in reads if each.endswith("/*")
    )


def chosen(accept: str, offered: Sequence[str]) -> str | None:
    """Return the first of the `offered` formats that `accept` likes best; None: it takes none.

    An empty header takes anything, as does one too long to be meant.
    """
    if accept in {"*/*", offered[0]} or not accept.strip() or len(accept) > MAX_HEADER_CHARS:
        return offered[0]
    ranges = [_range(part) for part in accept.split(",") if part.strip()]
    best = max(offered, key=lambda media: _quality(media, ranges))
    return best if _quality(best, ranges) > 0 else None


def weight(part: str) -> float:
    """Return how welcome what this part of an `Accept` header names is: its `q`, or 1."""
    return _range(part)[1]


def _range(part: str) -> tuple[str, float]:
    name, *parameters = (each.strip().lower() for each in part.split(";"))
    quality = 1.0
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            quality = _number(value)
    return name, quality


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        return 0.0
    return number if 0.0 <= number <= 1.0 else 0.0


def _quality(media: str, ranges: Sequence[tuple[str, float]]) -> float:
    """Return how welcome a format is: what names it most closely says."""
    kind = media.partition("/")[0]
    found = dict(ranges)
    for name in (media, f"{kind}/*", "*/*"):
        if name in found:
            return found[name]
    return 0.0
