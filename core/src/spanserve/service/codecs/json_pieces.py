"""Long JSON of nested lists, cut at its commas into pieces that can be parsed one by one.

A piece is made whole with the brackets that are open before and after it. Where it is not JSON,
the parser is given what it would have seen there, so that its message and place are those of the
whole body.
"""

import re
from typing import Final, NamedTuple

from pydantic_core import from_json

from spanserve.service.codecs.problems import InvalidBody, InvalidItem, no_constants, not_json

PIECE_BYTES: Final = 16 * 1024
LONGEST_ENTRY: Final = 256 * 1024
"""Bytes between two commas, unless they are a text: more is no number."""
_MOST_TRIES: Final = 3
_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_STRING_REST: Final = re.compile(rb'(?:[^"\\]++|\\.)*+"', re.DOTALL)
_PLACE: Final = re.compile(r"(?P<what>.*) at line (?P<line>\d+) column (?P<column>\d+)", re.DOTALL)
_FOLLOWING_BYTES: Final = 256


class Piece(NamedTuple):
    """A part of a body, from after a comma up to the next one that was chosen, or the end.

    `depth` and `depth_after` say how many lists are open before and after it. One that
    `has_object` ends before the first, which no list of entries has.
    """

    start: int
    end: int
    depth: int
    depth_after: int
    has_object: bool
    is_last: bool

    def text(self, body: bytes) -> bytes:
        """Return it as JSON of its own: the lists that are open stay so in its place."""
        ahead = b"{}" if self.has_object else b""
        closing = b"]" * self.depth_after
        return b"[" * self.depth + body[self.start : self.end] + ahead + closing

    def joins(self, body: bytes) -> bool:
        """Say whether there is an entry, or its beginning or end, on either side of a comma."""
        segment = body[self.start : self.end].strip()
        begins = not self.start or self.has_object or segment[:1] not in {b"", b"]"}
        ends = (
            self.is_last
            or self.has_object
            or (segment[-1:] not in {b"", b"["} and self.depth_after > 0)
        )
        return begins and ends


def cut(body: bytes, start: int, depth: int, *, size: int, has_texts: bool) -> Piece:
    """Return the piece that begins at `start`; raises InvalidItem where there is no comma for long.

    `has_texts` says whether there are quotation marks in the body at all.
    """
    end, is_last = _comma(body, start, start + size)
    brackets = body[start:end]
    if has_texts:
        for _ in range(_MOST_TRIES):
            brackets = _STRING.sub(_blank, body[start:end])
            opened = brackets.find(b'"')
            if is_last or opened < 0:
                break
            end, is_last = _comma_after_text(body, start + opened)
    has_object = b"{" in brackets
    if has_object:
        end = start + brackets.index(b"{")
        brackets = brackets[: end - start]
    after = depth + brackets.count(b"[") - brackets.count(b"]")
    if is_last and not has_object:
        after = 0
    return Piece(start, end, depth, max(after, 0), has_object, is_last)


def _blank(text: re.Match[bytes]) -> bytes:
    return b"_" * len(text[0])


def _comma(body: bytes, start: int, target: int) -> tuple[int, bool]:
    """Return where the last comma before the target is, or the first one after it."""
    if target >= len(body):
        return len(body), True
    place = body.rfind(b",", start, target)
    if place < 0:
        place = body.find(b",", target, target + LONGEST_ENTRY)
    if place < 0 and target + LONGEST_ENTRY < len(body) and body.find(b'"', start, target) < 0:
        raise InvalidItem(f"item: no comma in {LONGEST_ENTRY} bytes; no entry is as long")
    if place < 0:
        place = body.find(b",", target)
    return (len(body), True) if place < 0 else (place, False)


def _comma_after_text(body: bytes, opened: int) -> tuple[int, bool]:
    """Return the first comma after the text that opens there."""
    rest = _STRING_REST.match(body, opened + 1)
    place = body.find(b",", rest.end()) if rest else -1
    return (len(body), True) if place < 0 else (place, False)


def unreadable(body: bytes, piece: Piece, *, constants: bool = True) -> InvalidBody:
    """Return why a body whose piece does not parse is not JSON, in the words for the whole.

    Where not `constants`, NaN and Infinity are what is looked for.
    """
    ahead = b"" if piece.start == 0 else b"[" * piece.depth + b"0,"
    stop = len(body) if piece.is_last else min(len(body), piece.end + _FOLLOWING_BYTES)
    told = _refusal(ahead + body[piece.start : stop], constants=constants)
    if told.startswith("EOF") and stop < len(body):
        told = ""  # it was cut off here
    place = _PLACE.fullmatch(told)
    if place is None:
        return not_json(_refusal(body, constants=constants))
    line, column = int(place["line"]), int(place["column"])
    if line == 1:
        column += piece.start - (body.rfind(b"\n", 0, piece.start) + 1) - len(ahead)
    line += body.count(b"\n", 0, piece.start)
    return not_json(f"{place['what']} at line {line} column {column}")


def without_constants(body: bytes, piece: Piece) -> InvalidBody:
    """Return why a piece with NaN or Infinity in it is not JSON."""
    return no_constants(unreadable(body, piece, constants=False))


def _refusal(text: bytes, *, constants: bool) -> str:
    try:
        from_json(text, allow_inf_nan=constants)
    except ValueError as error:
        return str(error)
    return ""
