"""Tensors of the Open Inference Protocol <-> arrays, as JSON and in its binary extension.

Source: https://github.com/kserve/open-inference-protocol, and for the extension
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md.
"""

import math
import re
import struct
from itertools import chain
from typing import Annotated, Any, Final, get_args, get_origin

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, BeforeValidator, Field

from spanserve.service.aliases import expanded
from spanserve.service.annotations import ABSTRACT_SCALARS, scalar_of
from spanserve.service.codecs.array import MAX_AXES, RAGGED, Array
from spanserve.service.codecs.long_arrays import LongArrayReader
from spanserve.service.codecs.npy import named, place_of, reshaped
from spanserve.service.codecs.problems import InvalidBody, InvalidItem
from spanserve.service.codecs.steps import Steps

DATATYPES: Final = {
    "BOOL": np.dtype("bool"),
    "UINT8": np.dtype("uint8"),
    "UINT16": np.dtype("uint16"),
    "UINT32": np.dtype("uint32"),
    "UINT64": np.dtype("uint64"),
    "INT8": np.dtype("int8"),
    "INT16": np.dtype("int16"),
    "INT32": np.dtype("int32"),
    "INT64": np.dtype("int64"),
    "FP16": np.dtype("float16"),
    "FP32": np.dtype("float32"),
    "FP64": np.dtype("float64"),
    "BYTES": np.dtype("str"),
}
_NAMES: Final = {dtype: name for name, dtype in DATATYPES.items()}
_TYPES: Final = {"b": (bool,), "i": (int,), "u": (int,), "f": (int, float), "U": (str,)}
"""What entries of JSON are, by the kind of dtype."""
_LENGTH: Final = struct.Struct("<I")
_STEP_ENTRIES: Final = 16 * 1024
_STEP_TEXTS: Final = 1024
_DATA: Final = re.compile(rb'"data"\s*:\s*(?=\[)')
_NO_NUMBERS: Final = (b'"', b"{", b"}")


Parameters = Annotated[
    dict[str, Any], BeforeValidator(lambda value: {} if value is None else value)
]
"""Parameters of the protocol; null is as good as none."""


class Tensor(BaseModel):
    """An input of a request; its data stand in it, or in the body behind the JSON."""

    name: str
    shape: list[Annotated[int, Field(ge=0, lt=1 << 63)]]
    datatype: str
    parameters: Parameters = {}
    data: list[Any] | None = None

    def reads_text(self, text: bytes) -> bool:
        """Whether numbers that were left out of `data` can be read as they stand there."""
        dtype = DATATYPES.get(self.datatype)
        is_whole = dtype is not None and dtype.kind in "iu"
        return self.data == [] and not (is_whole and any(mark in text for mark in b".eE"))

    @property
    def binary_size(self) -> int | None:
        """How many bytes of the body behind the JSON are this tensor's."""
        size = self.parameters.get("binary_data_size")
        if size is None:
            return None
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise InvalidBody(f"input {self.name!r}: binary_data_size is {size!r}")
        return size

    def array(self, raw: memoryview | None, text: bytes | None = None) -> Steps[npt.NDArray[Any]]:
        """Return the tensor as an array, in steps; texts are objects.

        `raw` are its data behind the JSON, `text` those in it where they were left out of `data`.
        Raises InvalidBody and InvalidItem.
        """
        if len(self.shape) > MAX_AXES:
            raise InvalidItem(f"input {self.name!r}: no array has {len(self.shape)} axes")
        dtype = DATATYPES.get(self.datatype)
        if dtype is None:
            raise InvalidItem(
                f"input {self.name!r}: unknown datatype {self.datatype[:50]!r} "
                f"(there: {', '.join(DATATYPES)})"
            )
        if raw is not None:
            flat = yield from self._from_bytes(dtype, raw)
        elif text is not None:
            flat = yield from self._from_text(dtype, text)
        else:
            flat = yield from self._from_lists(dtype)
        if flat.size != math.prod(self.shape):
            raise InvalidItem(
                f"input {self.name!r}: {flat.size} entries there, "
                f"{math.prod(self.shape)} wanted by the shape {self.shape}"
            )
        return reshaped(flat, tuple(self.shape))

    def _from_lists(self, dtype: np.dtype[Any]) -> Steps[npt.NDArray[Any]]:
        if self.data is None:
            raise InvalidItem(f"input {self.name!r} has no data")
        entries = _flattened(self.data)
        if entries is None:
            raise self._ragged()
        array = np.empty(len(entries), object if dtype.kind == "U" else dtype)
        for start in range(0, len(entries), _STEP_ENTRIES):
            part = _whole(entries[start : start + _STEP_ENTRIES], dtype)
            fits = _fitting(part, dtype)
            for place, entry in enumerate(part if fits is None else ()):
                if type(entry) not in _TYPES[dtype.kind]:
                    raise self._misfit(f"is no {self.datatype}", start + place)
                if _fitting([entry], dtype) is None:
                    raise self._misfit(f"does not fit {self.datatype}", start + place)
            array[start : start + len(part)] = fits
            yield
        return array

    def _from_text(self, dtype: np.dtype[Any], text: bytes) -> Steps[npt.NDArray[Any]]:
        try:
            array = yield from LongArrayReader(Array(dtype)).steps(text)
        except InvalidItem as error:
            raise self._of_text(error) from None
        return array.reshape(-1)

    def _of_text(self, error: InvalidItem) -> InvalidItem:
        """Return the protocol's error of a reader's."""
        message, place = error.details[0]["message"], error.details[0]["loc"]
        if message == RAGGED:
            return self._ragged()
        is_kind = message.startswith("Input should be a valid")
        what = f"{'is no' if is_kind else 'does not fit'} {self.datatype}"
        if len(place) == 1:
            return self._misfit(what, int(place[0]))
        where = named([int(index) for index in place], stacked=True)
        return InvalidItem(
            f"input {self.name!r}: {where} {what}", [{"loc": place, "message": what}]
        )

    def _ragged(self) -> InvalidItem:
        return InvalidItem(f"input {self.name!r}: the data are ragged")

    def _misfit(self, what: str, flat: int) -> InvalidItem:
        """Return the error of an entry, by its place among all."""
        if not self.shape or flat >= math.prod(self.shape):
            return InvalidItem(f"input {self.name!r}: entry {flat} {what}")
        loc = place_of(flat, tuple(self.shape))
        return InvalidItem(
            f"input {self.name!r}: {named(loc, stacked=True)} {what}",
            [{"loc": [*loc], "message": what}],
        )

    def _from_bytes(self, dtype: np.dtype[Any], raw: memoryview) -> Steps[npt.NDArray[Any]]:
        if dtype.kind == "U":
            texts = yield from _texts(self.name, raw)
            return np.array(texts, dtype=object)
        if len(raw) % dtype.itemsize:
            raise InvalidBody(f"input {self.name!r}: {len(raw)} bytes are no {self.datatype}")
        return np.frombuffer(raw, dtype)


def _flattened(lists: list[Any]) -> list[Any] | None:
    """Return the entries of nested lists, in order; None where they are ragged."""
    entries = lists
    while entries and type(entries[0]) is list:
        if set(map(type, entries)) != {list} or len(set(map(len, entries))) > 1:
            return None
        entries = [*chain.from_iterable(entries)]
    return None if list in set(map(type, entries)) else entries


def _whole(entries: list[Any], dtype: np.dtype[Any]) -> list[Any]:
    """Return entries with whole numbers as such: to JSON Schema, `1.0` is an integer, too."""
    if dtype.kind not in "iu" or float not in set(map(type, entries)):
        return entries
    return [int(e) if type(e) is float and e.is_integer() else e for e in entries]


def _fitting(entries: list[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any] | None:
    """Return entries as an array; None where one is of another type, or out of range."""
    if not set(map(type, entries)) <= set(_TYPES[dtype.kind]):
        return None
    if dtype.kind == "U":
        return None if any(map(_ends_in_nul, entries)) else np.array(entries, dtype=object)
    try:
        with np.errstate(over="ignore"):
            array = np.array(entries, dtype=np.float64 if dtype.kind == "f" else dtype)
            return array.astype(dtype)
    except OverflowError:
        return None


def _ends_in_nul(text: str) -> bool:
    return text.endswith("\0")  # which NumPy's texts drop


def _texts(name: str, raw: memoryview) -> Steps[list[str]]:
    texts: list[str] = []
    start = 0
    try:
        while start < len(raw):
            (length,) = _LENGTH.unpack_from(raw, start)
            start += _LENGTH.size
            if start + length > len(raw):
                raise InvalidBody(f"input {name!r}: a text is cut off")
            texts.append(str(raw[start : start + length], "utf-8"))
            start += length
            if len(texts) % _STEP_TEXTS == 0:
                yield
    except (struct.error, UnicodeDecodeError):
        raise InvalidBody(f"input {name!r}: the data are no texts with their lengths") from None
    if any(map(_ends_in_nul, texts)):
        raise InvalidItem(f"input {name!r}: a text ends in NUL, which NumPy's texts drop")
    return texts


def without_data(text: bytes) -> Steps[tuple[bytes, bytes | None]]:
    """Return a request's JSON without the numbers of its tensor, and those.

    So that they can be read in steps. Where they are texts, or not to be told from what is around
    them, the whole and None.
    """
    found = _DATA.search(text)
    yield
    ends = [text.find(mark, found.end()) for mark in _NO_NUMBERS] if found else []
    yield
    ends = [end for end in ends if end >= 0]
    if found is None or not ends:
        return text, None
    data = text[found.end() : min(ends)].rstrip(b" \t\r\n,")
    opened = data.count(b"[")
    yield
    is_whole = opened == data.count(b"]")
    rest = text[: found.end()] + b"[]" + text[found.end() + len(data) :]
    yield
    return (rest, data) if is_whole and rest.count(b'"data"') == 1 else (text, None)


def datatype_of(dtype: np.dtype[Any]) -> str:
    """Return the protocol's name of a dtype."""
    return "BYTES" if dtype.kind in "OU" else _NAMES[dtype]


def input_of(name: str, array: Array) -> dict[str, Any]:
    """Describe an endpoint's parameter, as a model's metadata do; -1 is any length."""
    shape = [-1] if array.shape is None else [-1, *(length or -1 for length in array.shape)]
    return {"name": name, "datatype": datatype_of(array.dtype), "shape": shape}


def output_of(returns: Any) -> list[dict[str, Any]]:
    """Describe what a method returns: float64 where its annotation says no dtype."""
    dtype = declared_dtype(returns) or np.dtype("float64")
    return [{"name": "output", "datatype": datatype_of(dtype), "shape": [-1]}]


def declared_dtype(returns: Any) -> np.dtype[Any] | None:
    """Return the dtype that an annotation names, `NDArray[np.float32]` or by `Array`; or None."""
    returns = expanded(returns)
    if get_origin(returns) is Annotated:
        returns, *notes = get_args(returns)
        for note in notes:
            if isinstance(note, Array):
                return note.dtype
    scalar = scalar_of(returns)
    if scalar is None or scalar in ABSTRACT_SCALARS:
        return None
    dtype = np.dtype(scalar)
    return dtype if dtype.kind == "U" or dtype in _NAMES else None
