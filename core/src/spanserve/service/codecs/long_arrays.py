"""Long arrays of JSON, validated piece by piece: the same results and errors, in steps.

A step takes a piece of the body, strictly validated as the whole would be; between them others
have the interpreter. What the first wrong entry is, by the order of the body, decides; whether
the rest is JSON at all is looked at before that is said.
"""

from codecs import BOM_UTF8
from collections.abc import Generator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError, SchemaValidator, from_json

from spanserve.service.codecs.array import MAX_AXES, RAGGED, Array
from spanserve.service.codecs.json_pieces import (
    LONGEST_ENTRY,
    PIECE_BYTES,
    Piece,
    cut,
    unreadable,
    without_constants,
)
from spanserve.service.codecs.nesting import Nesting, Wrong
from spanserve.service.codecs.problems import InvalidBody, InvalidItem, explained, invalid_item
from spanserve.service.codecs.steps import Steps
from spanserve.service.codecs.texts import Measured, check_room

_COUNTED_BYTES: Final = 1024 * 1024
_STAND_INS: Final = {b"{": b"{}", b"[": b"[]"}
"""What is wrong in the same way as all that begins so, where no list is wanted, or no object."""
_WHITE: Final = b" \t\r\n"


class LongArrayReader:
    """Reads the items of an endpoint of arrays, as `Array.json_validator` does."""

    def __init__(self, array: Array, *, piece_bytes: int = PIECE_BYTES) -> None:
        self._array = array
        self._piece_bytes = piece_bytes
        self._expected = f"; one item is {array}"
        self._whole = array.json_validator()

    def steps(self, body: bytes) -> Steps[npt.NDArray[Any]]:
        """Read a body, and yield between the steps; raises InvalidBody and InvalidItem."""
        body = body.removeprefix(BOM_UTF8)
        try:
            return (yield from self._steps(body))
        except ValidationError as error:
            raise explained(error, body, root="item", expected=self._expected) from None
        except PydanticCustomError as error:  # raised here, and not by pydantic
            raise self._invalid(error.type, error.message()) from None

    def _invalid(self, kind: str, message: str) -> InvalidItem:
        details: ErrorDetails = {"type": kind, "loc": (), "msg": message, "input": None}
        return invalid_item([details], root="item", expected=self._expected)

    def _steps(self, body: bytes) -> Steps[npt.NDArray[Any]]:
        opening = body[:LONGEST_ENTRY].lstrip(_WHITE)
        first, axes = opening[:1], self._axes(opening)
        if first != b"[" or not axes:
            return self._whole(
                _STAND_INS.get(first, body if first == b'"' else body[:LONGEST_ENTRY])
            )
        has_texts = b'"' in body
        if self._array.size is not None and not (has_texts and self._array.dtype.kind == "U"):
            yield from self._check_commas(body, self._array.size)
        reading = _Reading(self._array, axes)
        piece = cut(body, 0, 0, size=self._piece_bytes, has_texts=has_texts)
        while True:
            try:
                reading.take(body, piece)
                if piece.is_last:
                    return (yield from reading.array())
            except Wrong as wrong:
                yield from self._refused(body, piece, wrong, has_texts=has_texts)
            yield
            piece = self._next(body, piece, has_texts=has_texts)

    def _axes(self, opening: bytes) -> int:
        if self._array.shape is not None:
            return len(self._array.shape)
        axes = 0
        for byte in opening:
            if byte not in b"[" + _WHITE or axes == MAX_AXES:
                break
            axes += byte == ord("[")
        return axes

    def _next(self, body: bytes, piece: Piece, *, has_texts: bool) -> Piece:
        start, depth = piece.end + 1, piece.depth_after
        return cut(body, start, depth, size=self._piece_bytes, has_texts=has_texts)

    def _check_commas(self, body: bytes, size: int) -> Generator[None, None, None]:
        """Refuse a body with more commas than an item of this size has."""
        commas = 0
        for start in range(0, len(body), _COUNTED_BYTES):
            commas += body.count(b",", start, start + _COUNTED_BYTES)
            yield
        if commas >= size:
            most = f"at most {size} expected" if len(self._array.shape or ()) == 1 else ""
            told = f"has {commas + 1} entries, {most or f'{size} expected in all'}"
            raise InvalidItem(f"item: {told}{self._expected}", [{"loc": [], "message": told}])

    def _refused(
        self, body: bytes, piece: Piece, wrong: Wrong, *, has_texts: bool
    ) -> Generator[None, None, None]:
        """Raise what is wrong, once it is known whether the rest is JSON; objects are left."""
        constant = _constant(body, piece)
        while not (piece.has_object or piece.is_last):
            piece = self._next(body, piece, has_texts=has_texts)
            lists = _lists(piece.text(body)) if piece.joins(body) else None
            if lists is None:
                raise unreadable(body, piece)
            constant = constant or _constant(body, piece)
            wrong.count(lists, piece)
            yield
        raise constant or invalid_item([wrong.error], root="item", expected=self._expected)


def _lists(text: bytes) -> Any | None:
    """Return a piece's lists; None where it is not JSON."""
    try:
        return from_json(text)
    except ValueError:
        return None


def _constant(body: bytes, piece: Piece) -> InvalidBody | None:
    """Return the refusal of a piece that has NaN or Infinity as a value."""
    text = piece.text(body)
    if b"NaN" in text or b"Infinity" in text:
        try:
            from_json(text, allow_inf_nan=False)
        except ValueError:
            return without_constants(body, piece)
    return None


class _Reading:
    """What was read so far of one body."""

    def __init__(self, array: Array, axes: int) -> None:
        shape = array.shape or (None,) * axes
        self._array = array
        self._dtype = array.waiting_dtype
        self._nesting = Nesting(shape)
        self._validate = SchemaValidator(array.lists_schema((None,) * axes)).validate_json
        self._parts: list[npt.NDArray[Any]] = []
        self._chars = self._longest = 0

    def take(self, body: bytes, piece: Piece) -> None:
        """Take the next piece; raises Wrong, and InvalidBody where it is not JSON."""
        if not piece.joins(body):
            raise unreadable(body, piece)
        text = piece.text(body)
        try:
            lists = self._validate(text)
        except ValidationError as refused:
            error = refused.errors(include_url=False)[0]
            if error["type"] != "json_invalid":
                self._nesting.refuse(from_json(text), piece, error)
            raise unreadable(body, piece) from None
        entries = self._nesting.add(lists, piece)
        if not self._nesting.is_ragged:
            self._parts.append(np.array(entries, dtype=self._dtype))
        if self._dtype.hasobject:
            self._chars += sum(map(len, entries))
            self._longest = max(self._longest, *map(len, entries), 0)

    def array(self) -> Steps[npt.NDArray[Any]]:
        """Put the whole together, once the last piece was taken; raises Wrong if it is ragged."""
        if self._nesting.is_ragged:
            raise Wrong({"type": "ragged", "loc": (), "msg": RAGGED, "input": None})
        # Not at once: new memory is slow when it is first written to.
        whole = np.empty(sum(map(len, self._parts)), self._dtype)
        filled = 0
        for part in self._parts:
            whole[filled : filled + len(part)] = part
            filled += len(part)
            yield
        if self._dtype.hasobject:
            check_room(self._array.dtype, whole.size, self._longest, lambda: self._chars)
            measured = whole.reshape(self._nesting.lengths).view(Measured)
            measured.longest = self._longest
            return measured
        return whole.reshape(self._nesting.lengths)
