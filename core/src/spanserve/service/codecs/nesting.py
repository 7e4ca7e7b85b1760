"""How long nested lists are that come in pieces, and where the first is not as declared."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

from pydantic_core import ErrorDetails

from spanserve.service.codecs.json_pieces import Piece

Place = tuple[int | str, ...]


class Wrong(Exception):  # noqa: N818  # it carries the first thing that is wrong
    """The first place where lists are not as declared, in pydantic's terms."""

    def __init__(self, error: ErrorDetails, open_level: int | None = None) -> None:
        super().__init__(error["type"])
        self.error = error
        self._open_level = open_level
        """The level of a list that is too long, and not yet counted to its end."""

    def count(self, lists: Any, piece: Piece) -> None:
        """Count the entries that a further piece adds to the list that is too long."""
        level = self._open_level
        if level is None:
            return
        path = [lists]
        for _ in range(level):
            path.append(path[-1][0])
        self.error["ctx"]["actual_length"] += len(path[-1]) - (level < piece.depth - 1)
        is_open = level < piece.depth_after and all(len(each) == 1 for each in path[:-1])
        self._open_level = level if is_open else None


class Nesting:
    """The lengths of nested lists with so many axes; `shape` says which are fixed."""

    def __init__(self, shape: Sequence[int | None]) -> None:
        self._shape = shape
        self._begun = [0] * len(shape)
        """Entries that were begun of the list that is open, by level."""
        self._lengths: list[int | None] = [None] * len(shape)
        self.is_ragged = False

    @property
    def lengths(self) -> tuple[int, ...]:
        """How long the lists of each level are, as far as there are any."""
        known = self._lengths[: self._lengths.index(None)] if None in self._lengths else None
        return tuple(length for length in known or self._lengths if length is not None)

    def add(self, lists: list[Any], piece: Piece) -> list[Any]:
        """Add the lists of a piece, which are nested as deep as they must be.

        Return the entries. Raises Wrong where a list has not as many as were declared.
        """
        begun = [*self._begun]
        entries, fits = [lists], True
        for level in range(len(self._shape)):
            fits &= self._add_level(level, [*map(len, entries)], piece)
            entries = [*chain.from_iterable(entries)]
        if not fits and (wrong := _Walk(self._shape, begun, piece).first_wrong(lists)):
            raise wrong
        return entries

    def refuse(self, lists: list[Any], piece: Piece, error: ErrorDetails) -> None:
        """Raise Wrong for an error of an entry, or for what is wrong before it in the lists."""
        if wrong := _Walk(self._shape, self._begun, piece, error).first_wrong(lists):
            raise wrong

    def _add_level(self, level: int, lengths: list[int], piece: Piece) -> bool:
        if level < piece.depth:  # the first list was begun before, and maybe its first entry
            lengths[0] += self._begun[level] - (level < piece.depth - 1)
        wanted = self._shape[level]
        fits = True
        if level < piece.depth_after:  # the last list goes on
            self._begun[level] = lengths.pop()
            fits = wanted is None or self._begun[level] <= wanted
        if not lengths:
            return fits
        usual = self._lengths[level]
        self._lengths[level] = usual = lengths[0] if usual is None else usual
        distinct = set(lengths)
        self.is_ragged |= distinct != {usual}
        return fits and (wanted is None or distinct == {wanted})


class _Walk:
    """A walk through the lists of one piece, in the order of the body, to what is wrong first."""

    def __init__(
        self,
        shape: Sequence[int | None],
        begun: Sequence[int],
        piece: Piece,
        error: ErrorDetails | None = None,
    ) -> None:
        self._shape = shape
        self._begun = begun
        self._piece = piece
        self._error = error

    def first_wrong(
        self, lists: list[Any], place: Place = (), within: Place = (), *, is_last: bool = True
    ) -> Wrong | None:
        """Return the first thing that is wrong in the lists of a level.

        They are at `place` in the body and `within` the piece, where they may be the last ones.
        """
        level, is_first = len(within), not any(within)
        stays_open = is_last and level < self._piece.depth_after
        wanted = self._shape[level]
        count = self._begun[level] if is_first and level < self._piece.depth else 0
        for index, child in enumerate(lists):
            left = len(lists) - 1 - index
            last_child = is_last and not left
            count += not (is_first and not index and level < self._piece.depth - 1)
            wrong = self._of_child(child, (*place, count - 1), (*within, index), last_child)
            goes_on = last_child and level + 1 < self._piece.depth_after
            if wanted is not None and count > wanted and (wrong or not goes_on):
                # As pydantic has it: what is one too many need not even be right.
                error = _length_error("long", place, wanted, count + left)
                return Wrong(error, level if stays_open else None)
            if wrong is not None:
                return wrong
        if not stays_open and wanted is not None and count < wanted:
            return Wrong(_length_error("short", place, wanted, count))
        return None

    def _of_child(self, child: Any, place: Place, within: Place, is_last: bool) -> Wrong | None:  # noqa: FBT001  # for each entry
        if self._error is not None and within == self._error["loc"]:
            return Wrong({**self._error, "loc": place})
        if len(within) < len(self._shape):
            return self.first_wrong(child, place, within, is_last=is_last)
        return None


def _length_error(kind: str, place: Place, wanted: int, count: int) -> ErrorDetails:
    bound = "max_length" if kind == "long" else "min_length"
    context = {"field_type": "List", bound: wanted, "actual_length": count}
    return {"type": f"too_{kind}", "loc": place, "msg": "", "input": None, "ctx": context}
