"""Results made private: what is read of them later, no code of the user's can reach.

A model may fill one buffer again and again and return it, views of it, or objects that hold it.
So what a method returned is copied, or becomes JSON, before the runner takes its next job.
"""

from collections.abc import Sequence
from types import NoneType
from typing import Any, Final

import numpy as np

from spanserve.service.results.columns import listed, rows_of


class EncodedJson(bytes):
    """A result as JSON: what an answer's body is made of."""

    __slots__ = ()


SCALARS: Final[frozenset[type]] = frozenset(
    {
        *(NoneType, bool, int, float, complex, str, bytes),
        *(kind for kind in np.sctypeDict.values() if kind not in {np.void, np.object_}),
    }
)
"""Types whose values nobody can change."""


UNCOPIED: Final = object()
"""What `copied` returns for a value that it does not copy."""


def copied(value: Any) -> Any:
    """Return a private copy of a value made of scalars, arrays, and lists and tuples of those.

    A scalar is its own copy, a tuple becomes a list. `UNCOPIED` for any other value; may raise
    what an array of a library's raises.
    """
    kind = type(value)
    if kind in SCALARS:
        return value
    if kind is list or kind is tuple:
        if SCALARS.issuperset(map(type, value)):
            return list(value)
        return _copied_entries(value)
    if kind is np.ndarray and not value.dtype.hasobject:
        return value.copy()
    return _copied_array(value) if hasattr(value, "__array__") else UNCOPIED


def _copied_entries(entries: Sequence[Any]) -> Any:
    found = []
    for entry in entries:
        copy = copied(entry)
        if copy is UNCOPIED:
            return UNCOPIED
        found.append(copy)
    return found


def _copied_array(value: Any) -> Any:
    entries = listed(value)
    if entries is not None:
        return _copied_entries(entries)
    array = np.asarray(value)
    if array.dtype.hasobject:
        return copied(rows_of(array))
    return array.copy()  # not all libraries make one when they are asked to
