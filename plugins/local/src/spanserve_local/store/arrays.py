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

_WIDTHS: Final = ((1 << 8, "u1"), (1 << 16, "u2"), (1 << 32, "u4"))


class Packing:
    """Takes arrays, one after the other; `data` is then all of their bytes."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

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
        code = next((code for bound, code in _WIDTHS if reach < bound), "u8")
        narrow = (values - low).astype(f"<{code}")
        # Byte by byte: the upper ones are alike, which compresses well.
        data = narrow.view(np.uint8).reshape(len(narrow), -1).T.tobytes()
        return ("n", sign, int(low), code, self._put(data))

    def _texts(self, cells: Cells) -> Form:
        width = cells.dtype.itemsize
        whole = np.ascontiguousarray(cells)
        starts = np.flatnonzero(np.concatenate(([True], whole[1:] != whole[:-1])))
        if len(starts) * _FEW_RUNS < len(whole):
            lengths = np.diff(starts, append=len(whole)).astype(np.int64)
            return ("R", len(starts), self._integers(lengths), self._plain_texts(whole[starts]))
        return ("t", width, self._plain_texts(whole))

    def _plain_texts(self, cells: Cells) -> Form:
        text, width = cells.tobytes(), cells.dtype.itemsize
        if width % 2 == 0:
            try:
                digits = unhexlify(text)
            except ValueError:
                pass
            else:
                if hexlify(digits) == text:
                    return ("x", width, self._put(digits))
        return ("s", width, self._put(text))


class Unpacking:
    """Reads arrays in the order in which they were packed."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = memoryview(data)
        self._at = 0

    def take(self, form: Form, count: int) -> Cells:
        """Return the next array, of so many values."""
        cells: Cells
        match form:
            case ["m" | "b" as kind, inner]:
                cells = self.take(inner, count).astype("m8[ns]" if kind == "m" else np.bool_)
            case ["f", length]:
                cells = np.frombuffer(self._get(length), "<f8")
            case ["c", sign, value]:
                cells = np.full(count, value, f"{sign}8")
            case ["r", runs, lengths, values]:
                repeats = self.take(lengths, runs)
                cells = np.repeat(self.take(values, runs), repeats)
            case ["n", sign, low, code, length]:
                cells = self._narrow(f"{sign}8", low, code, length)
            case ["R", runs, lengths, texts]:
                repeats = self.take(lengths, runs)
                cells = np.repeat(self._texts(texts), repeats)
            case ["t", _, texts]:
                cells = self._texts(texts)
            case _:
                raise ValueError("a chunk of the file has an array of no known form")
        return cells

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

    def _texts(self, form: Form) -> Cells:
        how, width, length = form
        data: bytes | memoryview = self._get(length)
        return np.frombuffer(hexlify(data) if how == "x" else data, f"S{width}")
