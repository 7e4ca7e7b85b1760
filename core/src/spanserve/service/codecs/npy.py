"""Arrays in NumPy's own format, without JSON: items in, results out.

Source: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html. Nothing is
unpickled, and nothing is allocated for what a header claims and the body does not hold.
"""

import io
import math
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy
from pydantic_core import PydanticCustomError

from spanserve.service.codecs.array import MAX_AXES, Array
from spanserve.service.codecs.problems import InvalidBody, InvalidItem, InvalidResult, path
from spanserve.service.codecs.steps import Steps, finished
from spanserve.service.codecs.texts import check_item, checked

_MAGIC_BYTES: Final = 8
_LENGTH_BYTES: Final = {b"\x93NUMPY\x01\x00": 2, b"\x93NUMPY\x02\x00": 4, b"\x93NUMPY\x03\x00": 4}
"""How many bytes say how long the header is, by the magic words of each version."""
_HEADER: Final = re.compile(
    rb"\{"
    rb"(?=[^{}]{0,4000}['\"]descr['\"]\s*:\s*['\"](?P<descr>[<>|=]?[?a-zA-Z][0-9]{0,9})['\"])"
    rb"(?=[^{}]{0,4000}['\"]fortran_order['\"]\s*:\s*(?P<fortran>True|False))"
    rb"(?=[^{}]{0,4000}['\"]shape['\"]\s*:\s*\((?P<shape>\s*(?:[0-9]{1,19}L?\s*(?:,\s*|(?=\)))){0,64})\))"
    rb"[^{}]*\}\s*"
)
_STEP_ENTRIES: Final = 64 * 1024
_LONGEST_HEADER: Final = 10_000
_MOST_EMPTY_ITEMS: Final = 1_000
"""Items without entries in one request: their number is all that is sent of them."""


class Items(NamedTuple):
    """What a body holds: one item, or with `stacked` an array of them along the first axis."""

    values: Sequence[Any] | npt.NDArray[Any]
    stacked: bool


def read(body: bytes, array: Array) -> Items:
    """Return the items of a body, each as `array` says.

    An array of one item's shape is one item, one with an axis more is many. Where any shape goes,
    it is one item. Raises InvalidBody (no such format) and InvalidItem (wrong shape or type).
    """
    return finished(read_steps(body, array))


def read_steps(body: bytes, array: Array) -> Steps[Items]:
    """Do the same in steps."""
    given = _read_array(body)
    stacked = array.shape is not None and given.ndim > len(array.shape)
    return (yield from items_of(given, array, stacked=stacked))


def items_of(given: npt.NDArray[Any], array: Array, *, stacked: bool) -> Steps[Items]:
    """Return an array as the item that it is, or as the items that are stacked in it.

    Raises InvalidItem (wrong shape or type).
    """
    if stacked and not given.shape:
        raise InvalidItem(f"a single entry there; wanted items of {array}, along a first axis")
    shape = given.shape[1:] if stacked else given.shape
    if not np.can_cast(given.dtype, array.dtype, "same_kind") and not given.dtype.hasobject:
        raise InvalidItem(f"item: an array of {given.dtype}; wanted {array.dtype}")
    if given.dtype.hasobject:
        values = yield from _checked_texts(given, array, stacked=stacked)
    else:
        values = yield from converted(given, array.dtype, stacked=stacked)
    if stacked and not len(values):
        raise InvalidItem("the array has no items: its first axis has length 0")
    if array.shape is not None and not _fits(shape, array.shape):
        place = "each item" if stacked else "item"
        raise InvalidItem(f"{place}: an array of shape {shape}; one item is {array}")
    return Items(values if stacked else [values], stacked)


def _checked_texts(
    given: npt.NDArray[Any], array: Array, *, stacked: bool
) -> Steps[npt.NDArray[Any]]:
    """Return an array of texts, which are objects until they run."""
    if array.dtype.kind != "U":
        raise InvalidItem(f"item: an array of texts; wanted {array.dtype}")
    try:
        for item in given if stacked else [given]:
            check_item(np.asarray(item, object), array.dtype)
            yield
    except PydanticCustomError as error:
        raise InvalidItem(f"item: {error.message()}") from None
    return given


def written(array: npt.NDArray[Any], *, where: str) -> Steps[list[bytes]]:
    """Return an array in NumPy's format, in parts.

    Raises InvalidResult for texts of too unequal lengths.
    """
    if array.dtype.hasobject:
        try:
            array = checked(array, np.dtype("str")).astype("str")
        except PydanticCustomError as error:
            told = error.message().removeprefix("Input should be ")
            raise InvalidResult(f"{where} should return {told}; ask for JSON") from None
    header = io.BytesIO()
    described = {"descr": npy.dtype_to_descr(array.dtype), "fortran_order": False}
    npy.write_array_header_1_0(header, {**described, "shape": array.shape})
    flat, parts = array.reshape(-1), [header.getvalue()]
    for start in range(0, flat.size, _STEP_ENTRIES):
        parts.append(flat[start : start + _STEP_ENTRIES].tobytes())
        yield
    return parts


def _read_array(body: bytes) -> npt.NDArray[Any]:
    shape, fortran, dtype, start = _read_header(body)
    if dtype.hasobject or dtype.kind not in "biufU" or dtype.subdtype is not None:
        raise InvalidItem(f"an array of {dtype} cannot be an item; send numbers, booleans or texts")
    if not dtype.itemsize:
        raise InvalidItem("an array of empty texts cannot be an item")
    data = memoryview(body)[start:]
    if math.prod(shape) * dtype.itemsize != len(data):
        raise InvalidBody(
            f"the body has {len(data)} bytes of data; {shape} of {dtype} are "
            f"{math.prod(shape) * dtype.itemsize}"
        )
    return reshaped(np.frombuffer(data, dtype), shape, order="F" if fortran else "C")


def reshaped(
    flat: npt.NDArray[Any], shape: tuple[int, ...], *, order: Literal["C", "F"] = "C"
) -> npt.NDArray[Any]:
    """Return entries in a shape that a client claims; raises InvalidItem where none is like it.

    Without entries a shape may claim anything: that of more items than are worth anything, too.
    """
    if len(shape) <= MAX_AXES and (flat.size or math.prod(shape[:1]) <= _MOST_EMPTY_ITEMS):
        with suppress(ValueError, OverflowError):
            return flat.reshape(shape, order=order)
    raise InvalidItem(f"no item is an array of {len(shape)} axes, {flat.size} entries and {shape}")


def _read_header(body: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Return the shape, the order, the dtype, and where the data begin.

    NumPy's own reader evaluates the text of the header; this one takes what NumPy and others write.
    """
    width = _LENGTH_BYTES.get(body[:_MAGIC_BYTES], 0)
    start = _MAGIC_BYTES + width
    end = start + int.from_bytes(body[_MAGIC_BYTES:start], "little")
    whole = width and end <= len(body) and end - start <= _LONGEST_HEADER
    header = _HEADER.fullmatch(body, start, end) if whole else None
    if header is None:
        raise InvalidBody("the body is not in the npy format: no header of an array")
    shape = tuple(int(length) for length in re.findall(rb"[0-9]+", header["shape"]))
    try:
        dtype = np.dtype(header["descr"].decode())
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidBody(f"the body is not in the npy format: {str(error)[:200]}") from None
    return shape, header["fortran"] == b"True", dtype, end


def converted(
    given: npt.NDArray[Any], dtype: np.dtype[Any], *, stacked: bool
) -> Steps[npt.NDArray[Any]]:
    """Return an array of the wanted dtype; nothing in it is lost but floats' last digits."""
    order: Literal["F", "C"] = "F" if given.flags.f_contiguous else "C"
    source = given.reshape(-1, order=order)
    same = given.dtype == dtype or (dtype.kind == "U" and not dtype.itemsize)
    flat = source if same else np.empty(source.size, dtype)
    for start in range(0, source.size, _STEP_ENTRIES):
        part = source[start : start + _STEP_ENTRIES]
        into = flat[start : start + _STEP_ENTRIES]
        with np.errstate(over="ignore", invalid="ignore"):
            if not same:
                into[:] = part
        if dtype.kind == "f":
            fits, otherwise = np.isfinite(into), f"is not finite as {dtype}"
        else:
            fits, otherwise = into == part, f"does not fit {dtype}"
        if not fits.all():
            place = np.unravel_index(start + int(fits.argmin()), given.shape, order=order)
            raise _misfit([int(index) for index in place], otherwise, stacked=stacked)
        yield
    return flat.reshape(given.shape, order=order)


def _misfit(place: Sequence[int], otherwise: str, *, stacked: bool) -> InvalidItem:
    where = named(place, stacked=stacked)
    return InvalidItem(f"{where} {otherwise}", [{"loc": [*place], "message": otherwise}])


def place_of(flat: int, shape: tuple[int, ...]) -> list[int]:
    """Return the indices of an entry, by its place among all entries."""
    return [int(index) for index in np.unravel_index(flat, shape)]


def named(loc: Sequence[int], *, stacked: bool) -> str:
    """Return how a message names a place: `item[2]`, and where items are stacked `item 1[2]`."""
    return path(f"item {loc[0]}", loc[1:]) if stacked else path("item", loc)


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(
        length in (None, there) for there, length in zip(shape, wanted, strict=True)
    )
