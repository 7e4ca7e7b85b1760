"""Attribute values of any kind, made plain at once: what a tracer may be handed."""

from collections.abc import Mapping, Sequence
from typing import Final

from spanserve.tracing.span import AttributeValue, Scalar

MAX_TEXT_CHARS: Final = 2_000
MAX_ELEMENTS: Final = 128

_SCALARS: Final = frozenset((str, bool, int, float))


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


def _scalar(value: object) -> Scalar:
    if type(value) in _SCALARS:
        if isinstance(value, str):
            return value[:MAX_TEXT_CHARS]
        if isinstance(value, (bool, int, float)):
            return value
    unwrapped = _unwrapped(value)
    return unwrapped if unwrapped is not None else _text(value)


def _unwrapped(value: object) -> Scalar | None:
    """Return the Python scalar in a NumPy scalar, or of a subclass (an enum, a float64)."""
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "shape", None) == ():
        value = item()
    for kind in (bool, int, float):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, str):
        return str.__str__(value)[:MAX_TEXT_CHARS]
    return None


def _text(value: object) -> str:
    try:
        return str(value)[:MAX_TEXT_CHARS]
    except Exception:  # noqa: BLE001  # a user's __str__ may do anything
        return f"<{type(value).__qualname__} without text>"
