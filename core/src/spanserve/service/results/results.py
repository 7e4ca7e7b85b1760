"""A method's return value -> one private result per item -> JSON."""

from collections.abc import Sequence
from itertools import islice
from typing import Any, Final

import numpy as np
from pydantic_core import PydanticSerializationError, to_json

from spanserve.service.codecs.problems import InvalidResult, WrongResultCount
from spanserve.service.results.columns import listed, rows_of, without_missing
from spanserve.service.results.private import SCALARS, UNCOPIED, EncodedJson, copied

_AS_LISTS_GIVE: Final = {
    "b1": "bool",
    **dict.fromkeys(("i1", "i2", "i4", "i8", "u1", "u2", "u4"), "int64"),
    **dict.fromkeys(("f2", "f4", "f8"), "float64"),
}
"""The dtype of an array that is made of another one's entries, by that one's."""
_MANY_ENTRIES: Final = 64 * 1024
"""Entries of one result, beyond which it stays an array until it is encoded."""


def split(result: Any, count: int, *, where: str) -> list[Any]:
    """One private entry per item, in order; an exception among them is that item's failure.

    Takes a list, tuple or other sequence, a NumPy array, or what converts to one (a tensor), or
    a data frame, whose rows become records. Raises WrongResultCount where the number of entries
    is not `count`, InvalidResult where there are no entries at all. An entry that has no JSON
    form becomes an InvalidResult in its place.
    """
    rows = _own_rows(result)
    entries = _entries(result, count, where) if rows is None else rows
    if len(entries) != count:
        raise WrongResultCount(where, len(entries), count)
    if rows is not None or SCALARS.issuperset(map(type, entries)):
        return entries
    return [_private_entry(entry, where) for entry in entries]


def private(result: Any, *, where: str) -> Any:
    """Return a result as no code of the user's can reach it: a copy, or JSON.

    Arrays, scalars, and lists of those are copied, so that they can be encoded elsewhere, in any
    format; all else becomes JSON here and now. Raises InvalidResult.
    """
    try:
        copy = copied(result)
    except Exception:  # noqa: BLE001  # a user's object may raise anything; its JSON tells
        copy = UNCOPIED
    return EncodedJson(encode(result, where=where)) if copy is UNCOPIED else copy


def encode(result: Any, *, where: str) -> bytes:
    """`result` as JSON; NaN, infinities and missing values, which JSON has not, are null.

    Takes what pydantic can serialize (models, dataclasses, dates, sets …), data frames (lists of
    records), and NumPy's scalars and arrays, at any depth. Raises InvalidResult for anything else.
    """
    if type(result) is EncodedJson:
        return result
    try:
        try:
            return to_json(result, inf_nan_mode="null", fallback=_plain)
        except (PydanticSerializationError, ValueError, TypeError):
            # To pydantic-core a NaT is a datetime, and an odd one.
            plain = without_missing(result)
            return to_json(plain, inf_nan_mode="null", fallback=_plain)
    except Exception as error:
        raise InvalidResult(
            f"{where} returned what has no JSON form: {_text(error)}; "
            "return plain values, arrays, or pydantic models"
        ) from error


def _private_entry(entry: Any, where: str) -> Any:
    if isinstance(entry, BaseException):
        return entry
    try:
        return private(entry, where=where)
    except InvalidResult as error:
        return error


def _own_rows(result: Any) -> list[Any] | None:
    """Return the rows of an array of numbers or texts, which are nobody else's; None: no such."""
    if not isinstance(result, np.ndarray) or not result.ndim or result.dtype.hasobject:
        return None
    wide = _AS_LISTS_GIVE.get(result.dtype.str[1:])
    if wide is not None and result.size > _MANY_ENTRIES * len(result):
        # As lists they would take long, and nobody else could have the interpreter.
        return [row.astype(wide) for row in result]
    return rows_of(result)


def _entries(result: Any, count: int, where: str) -> list[Any]:
    """Return the entries in a list of our own: of a sequence no more than one too many."""
    if type(result) in {list, tuple}:
        return list(result)
    entries = listed(result)
    if entries is not None:
        return entries
    text = isinstance(result, str | bytes | bytearray | memoryview)
    if isinstance(result, Sequence) and not text:
        return list(islice(result, count + 1))  # whatever its length says
    if hasattr(result, "__array__"):
        array = np.asarray(result)
        if array.ndim:
            return rows_of(array)
        raise _no_entries(where, "a single number (an array without axes)")
    raise _no_entries(where, "None" if result is None else f"a {type(result).__name__}")


def _no_entries(where: str, there: str) -> InvalidResult:
    return InvalidResult(
        f"{where} returned {there}, not one entry per item; return a list or an array"
    )


def _plain(value: Any) -> Any:
    """Return what JSON can hold of a value that pydantic-core does not know."""
    if type(value).__name__ == "NAType":
        return None
    entries = listed(value)
    if entries is not None:
        return without_missing(entries)
    if not hasattr(value, "__array__"):
        raise TypeError(f"a {type(value).__name__}")
    array = np.asarray(value)
    return without_missing(rows_of(array)) if array.dtype.hasobject else rows_of(array)


def _text(error: Exception) -> str:
    try:
        return str(error)[:200]
    except Exception:  # noqa: BLE001  # a user's __str__ may do anything
        return type(error).__name__
