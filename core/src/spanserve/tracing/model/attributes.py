"""Attribute values of any kind, made plain at once: what a tracer may be handed."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from spanserve.tracing.model.span import AttributeValue, Scalar

MAX_TEXT_CHARS: Final = 2_000
MAX_ELEMENTS: Final = 128
MAX_LINE_CHARS: Final = 500

_SCALARS: Final = frozenset((str, bool, int, float))
_NOT_SHOWN: Final = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_INT64: Final = 1 << 63


def plain_attributes(attributes: Mapping[str, object]) -> dict[str, AttributeValue]:
    """Make every value plain; a new dict, whatever the caller does with theirs."""
    return {key: plain_value(value) for key, value in attributes.items()}


def plain_value(value: object) -> AttributeValue:
    """Return a scalar as it is, a NumPy scalar unwrapped, a sequence of scalars as a tuple.

    Anything else becomes its text. Texts are cut at 2,000 characters, sequences at 128.
    """
    if type(value) in (list, tuple) and isinstance(value, Sequence):
        return tuple(_scalar(element) for element in value[:MAX_ELEMENTS])
    return _scalar(value)


def plain_text(value: object) -> str:
    """Return a value's text, bounded and encodable, whatever the value does when asked for it."""
    try:
        return bounded(str(value), MAX_TEXT_CHARS)
    except Exception:  # noqa: BLE001  # a user's __str__ may do anything
        return f"<{type(value).__qualname__} without text>"


def bounded(text: str, max_chars: int) -> str:
    """Cut a text, and replace what UTF-8 cannot encode: one such text would cost a whole export."""
    text = text[:max_chars]
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def one_line(text: str, max_chars: int = MAX_LINE_CHARS) -> str:
    """Return a text for a log: on one line, without control characters, cut where it is long."""
    words = _NOT_SHOWN.sub(" ", bounded(text, 2 * max_chars)).strip()
    return words if len(words) <= max_chars else words[: max_chars - 1] + "…"


def _scalar(value: object) -> Scalar:
    try:
        scalar = value if type(value) in _SCALARS else _unwrapped(value)
    except Exception:  # noqa: BLE001  # a user's attributes and properties may do anything
        scalar = None
    if isinstance(scalar, str):
        return bounded(scalar, MAX_TEXT_CHARS)
    # No backend takes an integer of more than 64 bits.
    if isinstance(scalar, (bool, float)) or (
        isinstance(scalar, int) and -_INT64 <= scalar < _INT64
    ):
        return scalar
    return plain_text(value)


def _unwrapped(value: object) -> object:
    """Return the Python scalar in a NumPy scalar, or of a subclass (an enum, a float64)."""
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "shape", None) == ():
        value = item()
    for kind in (bool, int, float):
        if isinstance(value, kind):
            return kind(value)
    return str.__str__(value) if isinstance(value, str) else None
