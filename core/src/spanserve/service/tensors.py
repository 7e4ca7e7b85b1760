"""Tensors of the Open Inference Protocol <-> arrays, as JSON and in its binary extension.

Source: https://github.com/kserve/open-inference-protocol, and for the extension
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md.
"""

import math
import struct
from typing import Annotated, Any, Final, get_args, get_origin

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from spanserve.service.aliases import expanded
from spanserve.service.annotations import ABSTRACT_SCALARS, scalar_of
from spanserve.service.array import MAX_AXES, Array
from spanserve.service.npy import named, place_of, reshaped
from spanserve.service.problems import InvalidBody, InvalidItem, InvalidResult

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


class Tensor(BaseModel):
    """An input of a request; its data stand in it, or in the body behind the JSON."""

    name: str
    shape: list[Annotated[int, Field(ge=0, lt=1 << 63)]]
    datatype: str
    parameters: dict[str, Any] = {}
    data: list[Any] | None = None

    @property
    def binary_size(self) -> int | None:
        """How many bytes of the body behind the JSON are this tensor's."""
        size = self.parameters.get("binary_data_size")
        if size is None:
            return None
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise InvalidBody(f"input {self.name!r}: binary_data_size is {size!r}")
        return size

    def array(self, raw: memoryview | None) -> npt.NDArray[Any]:
        """Return the tensor as an array; raises InvalidBody and InvalidItem."""
        if len(self.shape) > MAX_AXES:
            raise InvalidItem(f"input {self.name!r}: no array has {len(self.shape)} axes")
        dtype = DATATYPES.get(self.datatype)
        if dtype is None:
            raise InvalidItem(
                f"input {self.name!r}: unknown datatype {self.datatype[:50]!r} "
                f"(there: {', '.join(DATATYPES)})"
            )
        flat = self._from_json(dtype) if raw is None else self._from_bytes(dtype, raw)
        if flat.size != math.prod(self.shape):
            raise InvalidItem(
                f"input {self.name!r}: {flat.size} entries there, "
                f"{math.prod(self.shape)} wanted by the shape {self.shape}"
            )
        return reshaped(flat, tuple(self.shape))

    def _from_json(self, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        if self.data is None:
            raise InvalidItem(f"input {self.name!r} has no data")
        try:
            given = np.array(self.data)
        except ValueError:
            raise InvalidItem(f"input {self.name!r}: the data are ragged") from None
        wanted = {"b": "b", "i": "iu", "u": "iu", "f": "fiu", "U": "U"}[dtype.kind]
        if given.size and given.dtype.kind not in wanted:
            raise self._misfit(f"is no {self.datatype}", _first_not(_TYPES[dtype.kind], self.data))
        with np.errstate(over="ignore"):
            array = given.reshape(-1).astype(given.dtype if dtype.kind == "U" else dtype)
        fits = array == given.reshape(-1)
        if dtype.kind in "iu" and not fits.all():
            raise self._misfit(f"does not fit {self.datatype}", int(fits.argmin()))
        return array

    def _misfit(self, what: str, flat: int) -> InvalidItem:
        """Return the error of an entry, by its place among all."""
        if not self.shape or flat >= math.prod(self.shape):
            return InvalidItem(f"input {self.name!r}: entry {flat} {what}")
        loc = place_of(flat, tuple(self.shape))
        return InvalidItem(
            f"input {self.name!r}: {named(loc, stacked=True)} {what}",
            [{"loc": [*loc], "message": what}],
        )

    def _from_bytes(self, dtype: np.dtype[Any], raw: memoryview) -> npt.NDArray[Any]:
        if dtype.kind == "U":
            return np.array(_texts(self.name, raw), dtype="str")
        if len(raw) % dtype.itemsize:
            raise InvalidBody(f"input {self.name!r}: {len(raw)} bytes are no {self.datatype}")
        return np.frombuffer(raw, dtype)


def _first_not(types: tuple[type, ...], data: list[Any]) -> int:
    """Return which entry of nested lists is of another type; the first, if none is."""
    entries = np.array(data, dtype=object).reshape(-1).tolist()
    return next((i for i, entry in enumerate(entries) if type(entry) not in types), 0)


def _texts(name: str, raw: memoryview) -> list[str]:
    texts, start = [], 0
    try:
        while start < len(raw):
            (length,) = _LENGTH.unpack_from(raw, start)
            start += _LENGTH.size
            if start + length > len(raw):
                raise InvalidBody(f"input {name!r}: a text is cut off")
            texts.append(str(raw[start : start + length], "utf-8"))
            start += length
    except (struct.error, UnicodeDecodeError):
        raise InvalidBody(f"input {name!r}: the data are no texts with their lengths") from None
    return texts


def result_array(results: Any, declared: np.dtype[Any] | None, *, where: str) -> npt.NDArray[Any]:
    """Return results as one array, of the dtype that was declared; raises InvalidResult."""
    try:
        array = np.asarray(results)
        if declared is not None and np.can_cast(array.dtype, declared, "same_kind"):
            array = array.astype(declared)
    except ValueError:
        array = np.empty(0, dtype=object)
    if array.dtype.kind == "U" or array.dtype in _NAMES:
        return array
    raise InvalidResult(f"{where} returned what is no array of numbers or texts; ask for JSON")


def datatype_of(dtype: np.dtype[Any]) -> str:
    """Return the protocol's name of a dtype."""
    return "BYTES" if dtype.kind == "U" else _NAMES[dtype]


def binary(array: npt.NDArray[Any]) -> bytes:
    """Return an array's entries as the binary extension has them, in C order."""
    if array.dtype.kind != "U":
        return np.ascontiguousarray(array).tobytes()
    texts = [text.encode() for text in array.reshape(-1).tolist()]
    return b"".join(_LENGTH.pack(len(text)) + text for text in texts)


def input_of(name: str, array: Array) -> dict[str, Any]:
    """Describe an endpoint's parameter, as a model's metadata do; -1 is any length."""
    shape = [-1] if array.shape is None else [-1, *(length or -1 for length in array.shape)]
    return {"name": name, "datatype": datatype_of(array.dtype), "shape": shape}


def output_of(returns: Any) -> list[dict[str, Any]]:
    """Describe what a method returns, as far as its annotation says its dtype."""
    dtype = declared_dtype(returns)
    if dtype is None:
        return []
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
