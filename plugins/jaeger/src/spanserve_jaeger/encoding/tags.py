"""Tags: attributes one by one, and the cells of a column at once."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from spanserve import Attributes
from spanserve_jaeger.encoding.cells import doubles, fit_i64, integers, words
from spanserve_jaeger.encoding.rows import Cells, Part, ragged
from spanserve_jaeger.encoding.thrift import (
    DOUBLE,
    FALSE,
    LONG,
    TEXT,
    TRUE,
    Memo,
    fits_i64,
    pack_double,
    signed,
    text,
)

_KEY: Final = b"\x18"
_STOP: Final = b"\0"
_NS_IN_MS: Final = 1e6
_LONG_TAG_BYTES: Final = 256
_FEW: Final = 1024


class Tags:
    """Encodes tags; remembers the short ones, because the same come again in every request."""

    def __init__(self) -> None:
        self._keys: Memo[str] = Memo(_key, size=_FEW)
        self._texts: dict[tuple[str, str], bytes] = {}

    def of(self, attributes: Attributes) -> list[bytes]:
        """Encode attributes as Tag structs, in their order."""
        return [self._tag(key, value) for key, value in attributes.items()]

    def _tag(self, key: str, value: Any) -> bytes:
        # An exact class: True is an int and equals 1, and 1.0 does, too.
        if type(value) is str:
            return self._text(key, value)
        if isinstance(value, bool):
            return self._keys[key] + (TRUE if value else FALSE)
        if isinstance(value, float):
            return self._keys[key] + DOUBLE + pack_double(value)
        if isinstance(value, int) and fits_i64(value):
            return self._keys[key] + LONG + signed(int(value)) + _STOP
        return self._text(key, as_text(value))

    def _text(self, key: str, value: str) -> bytes:
        known = self._texts.get((key, value))
        if known is not None:
            return known
        tag = self._keys[key] + TEXT + text(value) + _STOP
        if len(tag) < _LONG_TAG_BYTES:
            if len(self._texts) >= _FEW:
                self._texts.clear()
            self._texts[key, value] = tag
        return tag


def _key(key: str) -> bytes:
    return _KEY + text(str(key))


def tag(key: str, cells: Cells, tags: Tags) -> Sequence[Part]:
    """Return the parts of a Tag struct for each of some cells."""
    head, kind = _key(key), cells.dtype.kind
    if kind in "iu" and fit_i64(cells):
        return head + LONG, *integers(cells), _STOP
    if kind == "m":
        return head + DOUBLE, doubles(cells.astype(np.int64) / _NS_IN_MS), _STOP
    if kind == "f":
        return head + DOUBLE, doubles(cells), _STOP
    if kind == "S":
        return head + TEXT, *words(cells), _STOP
    return (ragged([each for value in cells.tolist() for each in tags.of({key: value})]),)


def as_text(value: object) -> str:
    """The text of a value that Jaeger has no type for: a sequence as JSON, else its `str`."""
    if isinstance(value, str):
        return str.__str__(value)
    try:
        if isinstance(value, Iterable) and not isinstance(value, bytes | Mapping):
            return json.dumps(list(value), ensure_ascii=False, default=str)
        return str(value)
    except Exception:  # noqa: BLE001 - a user's own object must not cost the span
        return f"<{type(value).__name__}>"
