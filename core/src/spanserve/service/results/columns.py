"""Data frames and the odd values of scientific libraries, as plain values.

Frames, series and missing values are known by what they can do, so that no library of theirs is
imported: pandas, polars and Arrow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

_MISSING: Final = frozenset({"NAType", "NaTType"})
"""The classes of pandas' values for what is not there."""
_NUMPY_DOUBLE_BYTES: Final = 8


def listed(value: Any) -> list[Any] | None:
    """Return the rows of a frame as records, the entries of a series or a tensor; None: no such.

    Each column keeps its type. Raises ValueError where two columns of a frame have one name.
    """
    kind = type(value)
    if hasattr(kind, "iterrows"):  # a pandas frame
        _check_names(list(value.columns))
        return value.to_dict("records")  # type: ignore[no-any-return]  # as pandas documents it
    for method in ("to_dicts", "to_pylist", "to_list"):  # polars' frames, Arrow, series
        if hasattr(kind, method):
            entries = getattr(value, method)()
            return entries if isinstance(entries, list) else None
    return rows_of(value) if isinstance(value, np.ma.MaskedArray) and value.ndim else None


def rows_of(array: npt.NDArray[Any]) -> list[Any]:
    """Return the entries of an array along its first axis, as plain values; what is masked: None.

    Of an array without axes, its one value.
    """
    kind = array.dtype.kind
    if kind in "mM":  # dates of nanoseconds would become bare integers
        array = array.astype(f"{kind}8[us]")
    elif kind == "f" and array.dtype.itemsize > _NUMPY_DOUBLE_BYTES:  # no Python number is as long
        array = array.astype("float64")
    return array.tolist()  # type: ignore[no-any-return]  # Any for NumPy; for one axis or more, a list


def without_missing(value: Any) -> Any:
    """Return a copy of a value, with None in place of NaT and NA at any depth.

    Models and dataclasses become mappings.
    """
    if type(value).__name__ in _MISSING:
        return None
    if isinstance(value, BaseModel):
        value = value.model_dump(by_alias=True)
    elif is_dataclass(value) and not isinstance(value, type):
        value = {each.name: getattr(value, each.name) for each in fields(value)}
    if isinstance(value, Mapping):
        return {key: without_missing(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [without_missing(each) for each in value]
    return value


def _check_names(names: Sequence[Any]) -> None:
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"two columns of the frame have the name {twice[0]!r}; rename one")
