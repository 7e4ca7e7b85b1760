"""Values as a frame carries them: plain ones as msgpack, arrays as their bytes, others as bodies.

Nothing is pickled, and nothing that comes from a replica makes code run. What msgpack cannot carry
exactly, as an integer of 70 bits or a model of pydantic's, goes as the body that it was made of.
"""

from collections.abc import Callable, Sequence
from itertools import repeat
from math import prod
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]  # it has no types
import numpy as np

from spanserve.errors import SpanserveError
from spanserve.running.wire.frames import LARGE, MOST_INLINE, Buffer, Frame, FrameError, unpacked
from spanserve.service.files.forms import Upload
from spanserve.service.results.responses import Whole

PLAIN: Final = 0
ARRAY: Final = 1
OBJECTS: Final = 2
BODY: Final = 3
SHARED: Final = 4
SCALAR: Final = 5
MAPPING: Final = 6
SEQUENCE: Final = 7
HELD: Final = 8
"""A form with its frame: only where the model is, for another run."""

LONG_BODY: Final = 9
"""A body that lies among the arrays of its frame."""

SEQUENCES: Final[tuple[Callable[[list[Any]], Any], ...]] = (
    list,
    tuple,
    Upload._make,
    Whole._make,
)
"""What a sequence of values can be made into; nothing else comes from another process."""

_NUMBERS: Final[dict[type, int]] = {list: 0, tuple: 1, Upload: 2, Whole: 3}

ROWS: Final = 0
TOGETHER: Final = 1
EACH: Final = 2

Form = list[Any]
"""A value, or several, as plain data; first of all, in which of these forms."""


class NotCarriedError(SpanserveError):
    """A value can stand in no message."""


class Parts:
    """The arrays of a frame that is made."""

    def __init__(self) -> None:
        self.buffers: list[Buffer] = []
        self.size = 0

    def add(self, array: Any) -> Form:
        """Take in an array, and return what tells of it."""
        array = np.ascontiguousarray(array) if array.ndim else array.copy()
        form = [ARRAY, array.dtype.str, array.shape, self.size]
        if array.nbytes:
            self.buffers.append(array.reshape(-1).view(np.uint8).data)
            self.size += array.nbytes
        return form


def plain(value: Any) -> bytes | None:
    """Return a value as msgpack, which comes back as the very same; None where it would not."""
    try:
        return bytes(msgpack.packb(value, strict_types=True))
    except (TypeError, ValueError, OverflowError):
        return None


def array_of(form: Form, data: Buffer) -> Any:
    """Return the array that a form tells of; raises FrameError where it lies."""
    try:
        _, name, shape, offset = form
        dtype = np.dtype(name)
        if dtype.hasobject or not all(isinstance(each, int) and each >= 0 for each in shape):
            raise FrameError("an array of objects, or of no shape")
        return (
            np.frombuffer(data, dtype, prod(shape), offset).reshape(shape)
            if prod(shape)
            else np.empty(shape, dtype)
        )
    except (TypeError, ValueError) as error:
        raise FrameError(f"an array that is none: {error}") from error


def packed_values(values: Sequence[Any], bodies: Sequence[bytes | None], parts: Parts) -> Form:
    """Return the items of a batch as data; raises NotCarriedError."""
    if all(map(isinstance, values, repeat(bytes))) and len(set(map(len, values))) == 1:
        size = len(values) * len(values[0])
        parts.buffers += values if size > MOST_INLINE else [b"".join(values)]
        parts.size += size
        return [ROWS, len(values), len(values[0])]
    is_large = sum([len(body) for body in bodies if body is not None]) > LARGE
    if not is_large and (whole := plain(values)) is not None:
        return [TOGETHER, whole]
    if is_large:  # an event loop has no time to pack these
        return [EACH, [_as_body(*each, parts) for each in zip(values, bodies, strict=True)]]
    return [EACH, [_packed(*each, parts) for each in zip(values, bodies, strict=True)]]


def unpacked_values(
    form: Form, frame: Frame, decode: Callable[[bytes], Any]
) -> tuple[list[Any], list[Form | None]]:
    """Return the items of a batch, and of each what it is made of anew, where it may change."""
    kind, *rest = form
    if kind == ROWS:
        count, size = rest
        data = memoryview(frame.data)
        rows = [bytes(data[place * size : (place + 1) * size]) for place in range(count)]
        return rows, [None] * count
    if kind == TOGETHER:
        values = unpacked(rest[0])
        return values, [_unless_fixed(value, rest[0], place) for place, value in enumerate(values)]
    forms = rest[0]
    again = [None if each[0] == ARRAY else [HELD, each, frame] for each in forms]
    return [value_of(each, frame, decode) for each in forms], again


def _unless_fixed(value: Any, whole: bytes, place: int) -> Form | None:
    return None if type(value) in _FIXED else [SHARED, whole, place]


def value_of(  # noqa: PLR0911  # one for each form
    form: Form, frame: Frame | None, decode: Callable[[bytes], Any]
) -> Any:
    """Return a value, made anew each time."""
    kind, *rest = form
    if kind == PLAIN:
        return unpacked(rest[0])
    if kind == OBJECTS:
        shape, entries = rest
        array = np.empty(prod(shape), dtype=object)
        array[:] = entries
        return array.reshape(shape)
    if kind == BODY:
        return decode(rest[0])
    if kind == LONG_BODY:
        offset, length = rest
        assert frame is not None  # noqa: S101  # it is held with its frame
        return decode(bytes(memoryview(frame.data)[offset : offset + length]))
    if kind == SHARED:
        whole, place = rest
        return unpacked(whole)[place]
    if kind == HELD:
        return value_of(rest[0], rest[1], decode)
    if kind == MAPPING:
        keys, forms = rest
        found = [_own(value_of(each, frame, decode)) for each in forms]
        return dict(zip(keys, found, strict=True))
    if kind == SEQUENCE:
        number, forms = rest
        return SEQUENCES[number]([_own(value_of(each, frame, decode)) for each in forms])
    assert frame is not None  # noqa: S101  # arrays are never made anew
    if kind == SCALAR:
        return array_of(rest, frame.data)[()]
    return array_of(form, frame.data)


_FIXED: Final = frozenset({bool, int, float, str, bytes, type(None)})


def _own(value: Any) -> Any:
    """Return a value that shares no memory with its frame."""
    return value.copy() if type(value) is np.ndarray else value


def _packed(value: Any, body: bytes | None, parts: Parts) -> Form:
    form = packed_value(value, parts)
    if form is not None:
        return form
    if body is not None:
        return [BODY, body]
    raise NotCarriedError(f"a value of {type(value).__name__} cannot go to another process")


def packed_value(value: Any, parts: Parts) -> Form | None:
    """Return a value as data that comes back as the very same; None where it would not."""
    packed = plain(value)
    if packed is not None:
        return [PLAIN, packed]
    kind = type(value)
    if kind is np.ndarray:
        return _packed_array(value, parts)
    if isinstance(value, np.generic) and not value.dtype.hasobject:
        return [SCALAR, *parts.add(np.asarray(value))]
    if kind is dict and all(type(key) is str for key in value):
        forms = [packed_value(each, parts) for each in value.values()]
        return None if None in forms else [MAPPING, [*value], forms]
    number = _NUMBERS.get(kind)
    if number is None:
        return None
    forms = [packed_value(each, parts) for each in value]
    return None if None in forms else [SEQUENCE, number, forms]


def _as_body(value: Any, body: bytes | None, parts: Parts) -> Form:
    if body is None or type(value) is np.ndarray:
        return _packed(value, body, parts)
    offset = parts.size
    parts.buffers.append(body)
    parts.size += len(body)
    return [LONG_BODY, offset, len(body)]


def _packed_array(array: Any, parts: Parts) -> Form | None:
    if not array.dtype.hasobject:
        return parts.add(array)
    entries = array.reshape(-1).tolist()
    return None if plain(entries) is None else [OBJECTS, array.shape, entries]
