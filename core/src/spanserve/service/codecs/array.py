"""`Array`: the dtype and shape of one item that is an array, and its validation from JSON."""

import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import numpy as np
import numpy.typing as npt
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import (
    CoreSchema,
    PydanticCustomError,
    SchemaValidator,
    ValidationError,
    core_schema,
)

from spanserve.errors import ServiceError
from spanserve.service.codecs import texts

MAX_AXES = 32
RAGGED: LiteralString = "Input should be rectangular: its rows have different lengths"
_KINDS = {"b": "boolean", "i": "integer", "u": "integer", "f": "number", "U": "string"}
_DOUBLE_BYTES = 8
_UCS4_BYTES = 4
_PACKED = {np.dtype("<f4"): "f", np.dtype("<f8"): "d"}
_LARGEST = np.array(np.finfo("float32").max, "<f4").tobytes()[:3]
"""What the bytes of float32's largest number and of its negative have in common."""
_OPENING = re.compile(rb"[\s\[]*")


@dataclass(frozen=True, init=False, slots=True)
class Array:
    """One item that is an array, as in `Annotated[np.ndarray, Array("float32", (64,))]`.

    `dtype` is a boolean, integer, floating or string dtype. `shape` is one item's shape,
    without the batch's axis: `None` for an axis is any length, `None` for the whole is any
    shape. Where a length is free, the items of one batch still share one shape.

    From JSON the types are strict: no strings or booleans as numbers, no fractions as
    integers, nothing outside the dtype's range (a number too big for float32 is refused,
    it does not become infinite), no NaN and no Infinity.
    """

    dtype: np.dtype[Any]
    shape: tuple[int | None, ...] | None

    def __init__(
        self, dtype: npt.DTypeLike = "float64", shape: Sequence[int | None] | int | None = None
    ) -> None:
        object.__setattr__(self, "dtype", _checked_dtype(dtype))
        object.__setattr__(self, "shape", _checked_shape(shape))

    def __repr__(self) -> str:
        return f"Array({self.dtype.name!r}, {self.shape!r})"

    def __str__(self) -> str:
        shape = "any shape" if self.shape is None else f"shape {self._shape_text()}"
        return f"{self.dtype.name} of {shape}"

    @property
    def fixed(self) -> bool:
        """Whether every item has the same shape, so that any items can share a batch."""
        return self.shape is not None and None not in self.shape

    @property
    def size(self) -> int | None:
        """The number of entries of one item, where it is fixed."""
        if self.shape is None:
            return None
        size = 1
        for length in self.shape:
            if length is None:
                return None
            size *= length
        return size

    def lists_schema(self, shape: Sequence[int | None] | None = None) -> CoreSchema:
        """Validates to nested lists of entries; needs a shape, its own or this one."""
        shape = self.shape if shape is None else shape
        return _nested(shape or (), _entry_schema(self.dtype))

    @property
    def waiting_dtype(self) -> np.dtype[Any]:
        """The dtype of an item that waits for its batch: texts may be objects until then."""
        objects = texts.waits_as_objects(self.dtype, fixed=self.fixed)
        return np.dtype(object) if objects else self.dtype

    def converted(self, lists: Any) -> npt.NDArray[Any]:
        """Validated nested lists as one array; ragged ones raise PydanticCustomError."""
        return self.waiting(lists).astype(self.dtype, copy=False)

    def waiting(self, lists: Any) -> npt.NDArray[Any]:
        """The same as an item that waits for its batch."""
        dtype = self.waiting_dtype
        try:
            array = texts.of_objects(lists) if dtype.hasobject else np.array(lists, dtype=dtype)
        except ValueError:
            raise PydanticCustomError("ragged", RAGGED) from None
        return texts.checked(array, self.dtype) if dtype.hasobject else array

    def json_validator(self) -> Callable[[bytes], npt.NDArray[Any]]:
        """A function from a JSON body to one item that waits; raises ValidationError."""
        if self.shape is None:
            return _AnyShape(self, self.waiting).from_json
        schema = core_schema.no_info_after_validator_function(self.waiting, self.lists_schema())
        return SchemaValidator(schema).validate_json

    @property
    def packs(self) -> bool:
        """Whether an item is a row of so many floats, which `packer` can read."""
        row = self.shape is not None and len(self.shape) == 1 and self.fixed
        return row and self.dtype in _PACKED

    def packer(self) -> Callable[[bytes], bytes]:
        """A function from a JSON body to one item's bytes; raises ValidationError.

        Accepts and refuses what `json_validator` does, at two thirds of its cost.
        """
        exact = SchemaValidator(self.lists_schema()).validate_json
        # pydantic-core doubles its time to compare each number with the dtype's range. A number
        # out of float32's does not pack, or packs as the largest: then the exact schema decides.
        entry = core_schema.float_schema(strict=True, allow_inf_nan=False)
        finite = SchemaValidator(_nested(self.shape or (), entry)).validate_json
        pack = struct.Struct(f"<{self.size}{_PACKED[self.dtype]}").pack
        bounded = self.dtype.itemsize < _DOUBLE_BYTES

        def packed(body: bytes) -> bytes:
            try:
                item = pack(*finite(body))
                if not (bounded and _LARGEST in item):
                    return item
            except (ValidationError, OverflowError):
                pass
            return pack(*exact(body))

        return packed

    def __get_pydantic_core_schema__(
        self, _source: Any, _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        serializer = core_schema.plain_serializer_function_ser_schema(_as_lists)
        if self.shape is None:
            any_shape = _AnyShape(self, self.converted)
            return core_schema.no_info_plain_validator_function(
                any_shape.from_python, serialization=serializer
            )
        lists = core_schema.no_info_before_validator_function(_as_lists, self.lists_schema())
        return core_schema.no_info_after_validator_function(
            self.converted, lists, serialization=serializer
        )

    def __get_pydantic_json_schema__(
        self, _schema: CoreSchema, _handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        entry = _entry_json_schema(self.dtype)
        if self.shape is None:
            nested = {"type": "array", "items": {}}
            return {"anyOf": [entry, nested], "description": f"an array: {self}"}
        schema = entry
        for length in reversed(self.shape):
            lengths = {} if length is None else {"minItems": length, "maxItems": length}
            schema = {"type": "array", "items": schema, **lengths}
        return {**schema, "description": f"an array: {self}"}

    def _shape_text(self) -> str:
        lengths = ["any" if length is None else str(length) for length in self.shape or ()]
        return f"({', '.join(lengths)}{',' if len(lengths) == 1 else ''})"


class _AnyShape:
    """Validates arrays of any number of axes, with one validator for each that is met."""

    def __init__(self, array: Array, convert: Callable[[Any], npt.NDArray[Any]]) -> None:
        self._convert = convert
        self._entry = _entry_schema(array.dtype)
        self._validators: dict[int, SchemaValidator] = {}

    def from_json(self, body: bytes) -> npt.NDArray[Any]:
        opening = _OPENING.match(body)
        axes = opening[0].count(b"[") if opening else 0
        return self._validator(axes).validate_json(body)  # type: ignore[no-any-return]  # pydantic-core's answer is Any

    def from_python(self, value: Any) -> npt.NDArray[Any]:
        lists = _as_lists(value)
        return self._validator(_axes(lists)).validate_python(lists)  # type: ignore[no-any-return]  # as above

    def _validator(self, axes: int) -> SchemaValidator:
        axes = min(axes, MAX_AXES)
        validator = self._validators.get(axes)
        if validator is None:
            schema = core_schema.no_info_after_validator_function(
                self._convert, _nested((None,) * axes, self._entry)
            )
            validator = self._validators[axes] = SchemaValidator(schema)
        return validator


def _checked_dtype(dtype: npt.DTypeLike) -> np.dtype[Any]:
    try:
        checked = np.dtype(dtype)
    except (TypeError, ValueError):
        raise ServiceError(
            f"Array: unknown dtype {dtype!r}; use a NumPy dtype such as 'float32' or 'int64'"
        ) from None
    if checked.kind not in _KINDS:
        raise ServiceError(
            f"Array: dtype {checked.name!r} cannot be read from JSON "
            "(there: bool, integers, floats, str); for other items use list[Item]"
        )
    return checked


def _checked_shape(shape: object) -> tuple[int | None, ...] | None:
    if shape is None:
        return None
    axes = (shape,) if isinstance(shape, int) else shape
    if not isinstance(axes, tuple | list) or not all(map(_is_length, axes)):
        raise ServiceError(
            f"Array: the shape {shape!r} is not one item's shape; "
            "give a tuple of lengths of at least 1, such as (64,), with None for any length"
        )
    if len(axes) > MAX_AXES:
        raise ServiceError(f"Array: {len(axes)} axes asked, at most {MAX_AXES} possible")
    return tuple(axes)


def _is_length(axis: object) -> bool:
    return axis is None or (isinstance(axis, int) and not isinstance(axis, bool) and axis >= 1)


def _nested(shape: Sequence[int | None], entry: CoreSchema) -> CoreSchema:
    schema = entry
    for length in reversed(shape):
        schema = core_schema.list_schema(
            schema, min_length=length, max_length=length, strict=True, fail_fast=True
        )
    return schema


def _entry_schema(dtype: np.dtype[Any]) -> CoreSchema:
    if dtype.kind == "b":
        return core_schema.bool_schema(strict=True)
    if dtype.kind == "U":
        chars = dtype.itemsize // _UCS4_BYTES
        text = core_schema.str_schema(strict=True, max_length=chars or None)
        return core_schema.no_info_after_validator_function(_whole_text, text)
    if dtype.kind != "f":
        low, high = _int_range(dtype)
        return core_schema.int_schema(strict=True, ge=low, le=high)
    if dtype.itemsize >= _DOUBLE_BYTES:
        return core_schema.float_schema(strict=True, allow_inf_nan=False)
    largest = float(np.finfo(dtype).max)
    return core_schema.float_schema(strict=True, allow_inf_nan=False, ge=-largest, le=largest)


def _whole_text(text: str) -> str:
    if text.endswith("\0"):
        raise PydanticCustomError("nul", "Input should not end in NUL, which NumPy's texts drop")
    return text


def _entry_json_schema(dtype: np.dtype[Any]) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": _KINDS[dtype.kind]}
    if dtype.kind in "iu":
        schema["minimum"], schema["maximum"] = _int_range(dtype)
    return schema


def _int_range(dtype: np.dtype[Any]) -> tuple[int, int]:
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)


def _as_lists(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def _axes(value: Any) -> int:
    axes = 0
    while isinstance(value, list):
        axes += 1
        if not value:
            break
        value = value[0]
    return axes
