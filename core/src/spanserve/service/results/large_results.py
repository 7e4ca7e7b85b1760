"""Large results as one array, as JSON and as the protocol's bytes: in steps.

What a result holds is told by its first entries: it was made of an array, or is alike.
"""

import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydantic_core import to_json

from spanserve.service.codecs.problems import InvalidResult
from spanserve.service.codecs.steps import Steps

STEP_ENTRIES: Final = 8192
_STEP_RESULTS: Final = 64
_LENGTH: Final = struct.Struct("<I")


def weight(result: Any) -> int:
    """Return how many entries a result has, as far as its first ones tell."""
    if type(result) is list:
        return len(result) * weight(result[0]) if result else 1
    return result.size if isinstance(result, np.ndarray) else 1


Parts = list[bytes]
"""What a body is made of: a large one is not put together."""


def encoded(result: Any, encode: Callable[[Any], bytes]) -> Steps[Parts]:
    """Return a result as JSON."""
    each = weight(result[0]) if weight(result) > STEP_ENTRIES else 0
    if not each:
        return [encode(result)]
    if each > STEP_ENTRIES:
        return (yield from encoded_all(result, encode))
    parts: Parts = []
    step = STEP_ENTRIES // each
    for start in range(0, len(result), step):
        parts += [b",", encode(result[start : start + step])[1:-1]]
        yield
    return [b"[", *parts[1:], b"]"]


def encoded_all(results: Sequence[Any], encode: Callable[[Any], bytes]) -> Steps[Parts]:
    """Return several results as one JSON array."""
    parts: Parts = [b""]
    for index, result in enumerate(results):
        parts += [b",", *(yield from encoded(result, encode))]
        if index % _STEP_RESULTS == 0:
            yield
    parts[:2] = [b"["]
    return [*parts, b"]"] if results else [b"[]"]


def result_array(
    results: Any, declared: np.dtype[Any] | None, *, where: str
) -> Steps[npt.NDArray[Any]]:
    """Return results as one array, of the dtype that was declared; texts are objects.

    Raises InvalidResult.
    """
    try:
        array = yield from _gathered(results, declared)
    except ValueError:
        array = np.empty(0, dtype=complex)
    if _is_texts(array) or array.dtype.kind in "biuf":
        return array
    raise InvalidResult(f"{where} returned what is no array of numbers or texts; ask for JSON")


def data_as_json(array: npt.NDArray[Any]) -> Steps[Parts]:
    """Return the entries of an array as a JSON array without its brackets."""
    flat = array.reshape(-1)
    parts: Parts = []
    for start in range(0, flat.size, STEP_ENTRIES):
        part = flat[start : start + STEP_ENTRIES].tolist()
        parts += [b",", to_json(part, inf_nan_mode="null")[1:-1]]
        yield
    return parts[1:]


def binary(array: npt.NDArray[Any]) -> Steps[Parts]:
    """Return an array's entries as the binary extension has them, in C order."""
    flat = array.reshape(-1)
    parts: Parts = []
    for start in range(0, flat.size, STEP_ENTRIES):
        part = flat[start : start + STEP_ENTRIES]
        if array.dtype.kind in "OU":
            texts = [text.encode() for text in part.tolist()]
            parts.append(b"".join([_LENGTH.pack(len(text)) + text for text in texts]))
        else:
            parts.append(part.tobytes())
        yield
    return parts


def _gathered(results: Any, declared: np.dtype[Any] | None) -> Steps[npt.NDArray[Any]]:
    if type(results) is not list or weight(results) <= STEP_ENTRIES:
        array = _array_of(results)
        is_castable = declared is not None and np.can_cast(array.dtype, declared, "same_kind")
        return array.astype(declared) if is_castable and array.dtype.kind != "U" else array
    each = weight(results[0])
    parts: list[npt.NDArray[Any]] = []
    if each > STEP_ENTRIES:
        for result in results:
            array = yield from _gathered(result, declared)
            parts.append(array[np.newaxis])
    else:
        step = STEP_ENTRIES // each
        for start in range(0, len(results), step):
            parts.append((yield from _gathered(results[start : start + step], declared)))
            yield
    return (yield from _joined(parts))


def _joined(parts: list[npt.NDArray[Any]]) -> Steps[npt.NDArray[Any]]:
    """Return arrays as one, along the first axis; raises ValueError where they do not fit."""
    if len({part.shape[1:] for part in parts}) > 1:
        raise ValueError("ragged")
    rows = sum(map(len, parts))
    whole = np.empty((rows, *parts[0].shape[1:]), np.result_type(*{part.dtype for part in parts}))
    filled = 0
    for part in parts:
        whole[filled : filled + len(part)] = part
        filled += len(part)
        yield
    return whole


def _array_of(results: Any) -> npt.NDArray[Any]:
    """Return results as an array; texts, which may be of very different lengths, as objects."""
    first = results
    while type(first) is list and first:
        first = first[0]
    if isinstance(first, str) or (isinstance(first, np.ndarray) and first.dtype.kind == "U"):
        return np.array(results, dtype=object)
    return np.asarray(results)


def _is_texts(array: npt.NDArray[Any]) -> bool:
    if not array.dtype.hasobject:
        return array.dtype.kind == "U"
    return all(issubclass(kind, str) for kind in set(map(type, array.reshape(-1).tolist())))
