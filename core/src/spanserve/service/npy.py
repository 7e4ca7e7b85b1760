"""Arrays in NumPy's own format, without JSON: items in, results out.

Source: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html. Nothing is
unpickled, and nothing is allocated for what a header claims and the body does not hold.
"""

import io
import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from spanserve.service.array import Array
from spanserve.service.problems import InvalidBody, InvalidItem, path

_HEADERS: Final = {
    (1, 0): npy.read_array_header_1_0,
    (2, 0): npy.read_array_header_2_0,
}


class Items(NamedTuple):
    """What a body holds: one item, or with `stacked` an array of them along the first axis."""

    values: Sequence[npt.NDArray[Any]]
    stacked: bool


def read(body: bytes, array: Array) -> Items:
    """Return the items of a body, each as `array` says.

    An array of one item's shape is one item, one with an axis more is many. Where any shape goes,
    it is one item. Raises InvalidBody (no such format) and InvalidItem (wrong shape or type).
    """
    given = _read_array(body)
    return items_of(given, array, stacked=array.shape is not None and given.ndim > len(array.shape))


def items_of(given: npt.NDArray[Any], array: Array, *, stacked: bool) -> Items:
    """Return an array as the item that it is, or as the items that are stacked in it.

    Raises InvalidItem (wrong shape or type).
    """
    if stacked and not given.shape:
        raise InvalidItem(f"a single entry there; wanted items of {array}, along a first axis")
    values = _converted(given, array.dtype, stacked=stacked)
    if stacked and not len(values):
        raise InvalidItem("the array has no items: its first axis has length 0")
    shape = values.shape[1:] if stacked else values.shape
    if array.shape is not None and not _fits(shape, array.shape):
        place = "each item" if stacked else "item"
        raise InvalidItem(f"{place}: an array of shape {shape}; one item is {array}")
    return Items(list(values) if stacked else [values], stacked)


def written(array: npt.NDArray[Any]) -> bytes:
    """Return an array in NumPy's format."""
    out = io.BytesIO()
    npy.write_array(out, array, allow_pickle=False)
    return out.getvalue()


def _read_array(body: bytes) -> npt.NDArray[Any]:
    source = io.BytesIO(body)
    try:
        shape, fortran, dtype = _HEADERS[npy.read_magic(source)](source)
    except (ValueError, KeyError, SyntaxError, TypeError, OverflowError, RecursionError) as error:
        raise InvalidBody(f"the body is not in the npy format: {str(error)[:200]}") from None
    if dtype.hasobject or dtype.kind not in "biufU" or dtype.subdtype is not None:
        raise InvalidItem(f"an array of {dtype} cannot be an item; send numbers, booleans or texts")
    if any(length < 0 for length in shape):
        raise InvalidBody(f"the body is not in the npy format: the shape {shape}")
    data = memoryview(body)[source.tell() :]
    if math.prod(shape) * dtype.itemsize != len(data):
        raise InvalidBody(
            f"the body has {len(data)} bytes of data; {shape} of {dtype} are "
            f"{math.prod(shape) * dtype.itemsize}"
        )
    if not dtype.itemsize:
        raise InvalidItem("an array of empty texts cannot be an item")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def _converted(given: npt.NDArray[Any], dtype: np.dtype[Any], *, stacked: bool) -> npt.NDArray[Any]:
    """Return an array of the wanted dtype; nothing in it is lost but floats' last digits."""
    if not np.can_cast(given.dtype, dtype, "same_kind"):
        raise InvalidItem(f"item: an array of {given.dtype}; wanted {dtype}")
    with np.errstate(over="ignore", invalid="ignore"):
        converted = np.ascontiguousarray(given, dtype).reshape(given.shape)
    if dtype.kind == "f":
        _check(np.isfinite(converted), f"is not finite as {dtype}", stacked=stacked)
    elif dtype.kind in "iuU":
        _check(converted == given, f"does not fit {dtype}", stacked=stacked)
    return converted


def _check(fits: npt.NDArray[np.bool_], otherwise: str, *, stacked: bool) -> None:
    if not fits.all():
        loc = place_of(int(fits.argmin()), fits.shape)
        where = named(loc, stacked=stacked)
        raise InvalidItem(f"{where} {otherwise}", [{"loc": [*loc], "message": otherwise}])


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
