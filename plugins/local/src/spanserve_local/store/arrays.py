"""One array as few bytes, and back: what is constant, runs or fits into less takes less.

A packed array is a `Form`, which can be JSON, and bytes. Its values are integers of 64 bits,
floats, or texts of bytes of one width.
"""

from binascii import hexlify, unhexlify
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

Cells: TypeAlias = npt.NDArray[Any]
Form: TypeAlias = Sequence[Any]

_FEW_RUNS: Final = 4
"""Runs pay where there is one for so many values, at most."""

_DIGITS: Final = 16
_WIDE: Final = "u8"
_WIDTHS: Final = ((1 << 8, "u1"), (1 << 16, "u2"), (1 << 32, "u4"))


class Packing:
    """Takes arrays, one after the other; `data` is then all of their bytes."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._wide: list[Cells] = []
        self._places: dict[tuple[str, int, int, int], int] = {}

    @property
    def data(self) -> bytes:
        """Return the bytes of all that was packed."""
        return b"".join(self._parts)

    def add(self, cells: Cells) -> Form:
        """Pack an array; return the form by which `Unpacking` reads it."""
        kind = cells.dtype.kind
        if kind == "m":
            return ("m", self._integers(cells.astype(np.int64)))
        if kind == "b":
            return ("b", self._integers(cells.astype(np.int64)))
        if kind == "f":
            return ("f", self._put(np.ascontiguousarray(cells, "<f8").tobytes()))
        if kind == "S":
            return self._texts(cells)
        return self._integers(cells.astype(np.uint64 if kind == "u" else np.int64))

    def _put(self, data: bytes) -> int:
        self._parts.append(data)
        return len(data)

    def _integers(self, values: Cells, *, may_run: bool = True) -> Form:
        sign = values.dtype.kind
        if not len(values):
            return ("c", sign, 0)
        turns = np.flatnonzero(values[1:] != values[:-1])
        if not len(turns):
            return ("c", sign, int(values[0]))
        if may_run and len(turns) * _FEW_RUNS < len(values):
            starts = np.concatenate(([0], turns + 1))
            lengths = np.diff(starts, append=len(values))
            return (
                *("r", len(starts)),
                self._integers(lengths.astype(np.int64), may_run=False),
                self._integers(values[starts], may_run=False),
            )
        low = values.min()
        reach = int(values.max()) - int(low)
        code = next((code for bound, code in _WIDTHS if reach < bound), _WIDE)
        if code == _WIDE and (place := self._met(values)) is not None:
            return ("=", place)
        narrow = (values - low).astype(f"<{code}")
        # Byte by byte: the upper ones are alike, which compresses well.
        data = narrow.view(np.uint8).reshape(len(narrow), -1).T.tobytes()
        return ("n", sign, int(low), code, self._put(data))

    def _met(self, values: Cells) -> int | None:
        """Return which of the wide arrays before has the same values, as ids often do."""
        key = values.dtype.kind, len(values), int(values[0]), int(values[-1])
        place = self._places.get(key)
        if place is not None and np.array_equal(self._wide[place], values):
            return place
        self._places[key] = len(self._wide)
        self._wide.append(values)
        return None

    def _texts(self, cells: Cells) -> Form:
        width = cells.dtype.itemsize
        if width % _DIGITS == 0 and (ids := _ids(cells)) is not None:
            return ("x", width, [self._integers(each) for each in ids])
        whole = np.ascontiguousarray(cells)
        starts = np.flatnonzero(np.concatenate(([True], whole[1:] != whole[:-1])))
        if len(starts) * _FEW_RUNS < len(whole):
            lengths = np.diff(starts, append=len(whole)).astype(np.int64)
            return ("R", len(starts), self._integers(lengths), self._plain_texts(whole[starts]))
        return ("t", width, self._plain_texts(whole))

    def _plain_texts(self, cells: Cells) -> Form:
        return ("s", cells.dtype.itemsize, self._put(cells.tobytes()))


def _ids(texts: Cells) -> Sequence[Cells] | None:
    """Return texts of hex digits as numbers, a column for each 16 digits; None: they are none."""
    digits = texts.tobytes()
    try:
        numbers = unhexlify(digits)
    except ValueError:
        return None
    if hexlify(numbers) != digits:
        return None
    columns = np.frombuffer(numbers, ">u8").reshape(len(texts), -1).T
    return [np.ascontiguousarray(column, np.uint64) for column in columns]


class Unpacking:
    """Reads arrays in the order in which they were packed."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = memoryview(data)
        self._at = 0
        self._wide: list[Cells] = []

    def take(self, form: Form, count: int) -> Cells:
        """Return the next array, of so many values."""
        match form:
            case ["m" | "b" as kind, inner]:
                return self.take(inner, count).astype("m8[ns]" if kind == "m" else np.bool_)
            case ["f", length]:
                return np.frombuffer(self._get(length), "<f8")
            case ["R" | "t" | "x", *_]:
                return self._texts(form, count)
        return self._integers(form, count)

    def _integers(self, form: Form, count: int) -> Cells:
        cells: Cells
        match form:
            case ["c", sign, value]:
                cells = np.full(count, value, f"{sign}8")
            case ["r", runs, lengths, values]:
                repeats = self._integers(lengths, runs)
                cells = np.repeat(self._integers(values, runs), repeats)
            case ["=", place]:
                cells = self._wide[place]
            case ["n", sign, low, code, length]:
                cells = self._narrow(f"{sign}8", low, code, length)
                if code == _WIDE:
                    self._wide.append(cells)
            case _:
                raise ValueError("a chunk of the file has an array of no known form")
        return cells

    def _texts(self, form: Form, count: int) -> Cells:
        match form:
            case ["R", runs, lengths, texts]:
                repeats = self._integers(lengths, runs)
                return np.repeat(self._plain_texts(texts), repeats)
            case ["x", width, forms]:
                return _digits([self._integers(each, count) for each in forms], width)
        return self._plain_texts(form[-1])

    def _get(self, length: int) -> memoryview:
        start = self._at
        self._at += length
        if self._at > len(self._data):
            raise ValueError("a chunk of the file ends too early")
        return self._data[start : self._at]

    def _narrow(self, kind: str, low: int, code: str, length: int) -> Cells:
        width = np.dtype(code).itemsize
        columns = np.frombuffer(self._get(length), np.uint8).reshape(width, -1)
        narrow = np.ascontiguousarray(columns.T).view(f"<{code}").reshape(-1)
        # By way of 64 bits without a sign, where adding wraps.
        wide = narrow.astype(np.uint64) + np.uint64(low % (1 << 64))
        return wide.view(kind)

    def _plain_texts(self, form: Form) -> Cells:
        _, width, length = form
        return np.frombuffer(self._get(length), f"S{width}")


def _digits(ids: Sequence[Cells], width: int) -> Cells:
    numbers = np.stack(ids, axis=1).astype(">u8")
    return np.frombuffer(hexlify(numbers.tobytes()), f"S{width}")
