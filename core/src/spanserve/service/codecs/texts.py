"""Arrays of texts: NumPy gives each as much room as the longest has, in a batch as in an item.

So texts wait as objects, which take what they are. One whose array would take far more than its
texts is refused, and items whose texts need very different room go in batches of their own.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydantic_core import PydanticCustomError

_UCS4_BYTES: Final = 4
_STEP_ENTRIES: Final = 8192
_MOST_TIMES: Final = 64
"""How many times a text's own room its place in an array may take, all in all."""
_SMALL_BYTES: Final = 1024 * 1024
_SMALL_DECLARED_BYTES: Final = 16 * 1024 * 1024
"""Arrays that are never too large; where the service declares how wide texts are, larger ones."""
_SMALL_CHARS: Final = 4096
"""Items with as much room or less in all go together."""


def waits_as_objects(dtype: np.dtype[Any], *, fixed: bool) -> bool:
    """Say whether an array of this dtype may take far more room than what it is made from."""
    return dtype.kind == "U" and not (fixed and dtype.itemsize)


def of_objects(lists: Any) -> npt.NDArray[Any]:
    """Return nested lists of texts as an array of objects; raises ValueError if it is ragged."""
    array = np.array(lists, dtype=object)
    if list in set(map(type, array.reshape(-1).tolist())):
        raise ValueError("ragged")
    return array


def checked(texts: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return an item of texts; raises PydanticCustomError where its array would be too large."""
    check_room(dtype, texts.size, longest(texts), lambda: sum(map(len, texts.reshape(-1).tolist())))
    return texts


def check_item(texts: npt.NDArray[Any], dtype: np.dtype[Any]) -> None:
    """Raise PydanticCustomError where an item of texts is too wide, or its array too large."""
    width = dtype.itemsize // _UCS4_BYTES
    if width and longest(texts) > width:
        raise PydanticCustomError(
            "too_wide", "Input should be texts of at most {width} characters", {"width": width}
        )
    checked(texts, dtype)


def check_room(
    dtype: np.dtype[Any], count: int, longest: int, all_chars: Callable[[], int]
) -> None:
    """Raise PydanticCustomError where an array of so many texts would be too large."""
    width = dtype.itemsize // _UCS4_BYTES or longest
    room = count * width * _UCS4_BYTES
    small = _SMALL_DECLARED_BYTES if dtype.itemsize else _SMALL_BYTES
    if room <= small or room <= small + _MOST_TIMES * (all_chars() + count):
        return
    raise PydanticCustomError(
        "unequal_texts",
        "Input should be texts of more equal lengths: {count} with room for {width} characters "
        "each take {room} bytes",
        {"count": count, "width": width, "room": room},
    )


class Measured(np.ndarray):
    """Texts whose longest one is known."""

    longest: int


def longest(texts: npt.NDArray[Any]) -> int:
    """Return how long the longest text of an array is."""
    known: int | None = getattr(texts, "longest", None)
    if known is not None:
        return known
    if texts.dtype.kind == "U":
        return texts.dtype.itemsize // _UCS4_BYTES
    return max(map(len, texts.reshape(-1).tolist()), default=0)


def room_class(texts: npt.NDArray[Any]) -> int:
    """Return what two items have in common where neither takes much of the other's room."""
    return max(longest(texts), _SMALL_CHARS // max(1, texts.size)).bit_length()


def stacked(items: Sequence[npt.NDArray[Any]], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return items of texts as one array, in pieces: NumPy holds the interpreter for each."""
    width = dtype.itemsize // _UCS4_BYTES or max(1, *map(longest, items))
    whole = np.empty((len(items), *items[0].shape), f"<U{width}")
    for into, item in zip(whole, items, strict=True):
        if not item.ndim:
            whole[...] = [each[()] for each in items]
            break
        flat_into, flat = into.reshape(-1), item.reshape(-1)
        for start in range(0, item.size, _STEP_ENTRIES):
            flat_into[start : start + _STEP_ENTRIES] = flat[start : start + _STEP_ENTRIES]
    return whole
