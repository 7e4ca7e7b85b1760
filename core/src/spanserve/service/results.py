"""A method's return value -> one result per item -> JSON."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic_core import PydanticSerializationError, to_json

from spanserve.service.problems import InvalidResult, WrongResultCount


def split(result: Any, count: int, *, where: str) -> list[Any]:
    """One entry per item, in order; an entry may be an exception: that item failed.

    Takes a list, tuple or other sequence, a NumPy array, or what converts to one (a tensor,
    a data frame): its rows as plain values. Raises WrongResultCount where the number of
    entries is not `count`, InvalidResult where there are no entries at all.
    """
    entries = _sequence(result, where)
    if len(entries) != count:
        raise WrongResultCount(where, len(entries), count)
    return _rows(entries) if isinstance(entries, np.ndarray) else list(entries)


def encode(result: Any, *, where: str) -> bytes:
    """`result` as JSON; NaN and infinities, which JSON has not, are null.

    Takes what pydantic can serialize (models, dataclasses, dates, sets …) and NumPy's
    scalars and arrays at any depth. Raises InvalidResult for anything else.
    """
    try:
        return to_json(result, inf_nan_mode="null", fallback=_plain)
    except (PydanticSerializationError, ValueError, TypeError) as error:
        raise InvalidResult(
            f"{where} returned what has no JSON form: {str(error)[:200]}; "
            "return plain values, arrays, or pydantic models"
        ) from error


def _sequence(result: Any, where: str) -> Sequence[Any] | npt.NDArray[Any]:
    if isinstance(result, list | tuple):
        return result
    text = isinstance(result, str | bytes | bytearray | memoryview)
    if isinstance(result, Sequence) and not text:
        return result
    if hasattr(result, "__array__"):
        array = np.asarray(result)
        if array.ndim:
            return array
        raise _no_entries(where, "a single number (an array without axes)")
    raise _no_entries(where, "None" if result is None else f"a {type(result).__name__}")


def _no_entries(where: str, there: str) -> InvalidResult:
    return InvalidResult(
        f"{where} returned {there}, not one entry per item; return a list or an array"
    )


def _rows(array: npt.NDArray[Any]) -> list[Any]:
    # Nanosecond dates would become bare integers.
    if array.dtype.kind in "mM":
        array = array.astype(f"{array.dtype.kind}8[us]")
    return array.tolist()  # type: ignore[no-any-return]  # Any for NumPy; for one axis or more, a list


def _plain(value: Any) -> Any:
    if not hasattr(value, "__array__"):
        raise TypeError(f"a {type(value).__name__}")
    return _rows(np.asarray(value))
