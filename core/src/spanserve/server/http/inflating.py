"""Compressed bodies, inflated as they arrive: `Content-Encoding: gzip` and `deflate`.

Nothing is inflated at once beyond a step, and no coding gives more than the largest body: what a
few bytes claim costs no more than that, in memory and in time. Source: RFC 9110, section 8.4.
"""

import zlib
from collections.abc import Iterable, Iterator
from typing import Final

from spanserve.server.http.answer import CODES, RequestError, too_large
from spanserve.service.codecs.problems import InvalidBody

READ: Final = ("gzip", "deflate")
_ALIASES: Final = {"x-gzip": "gzip"}
_MOST_CODINGS: Final = 3
_STEP_BYTES: Final = 128 * 1024
_GIVEN_BYTES: Final = 16 * 1024
"""Bytes that are handed to zlib at once: it copies what it leaves over."""
_GZIP: Final = 16 + zlib.MAX_WBITS
_CHECKED_BYTES: Final = 2
"""Where these are a header of zlib's, as the standard has it, it is no raw deflate."""


def codings_of(values: Iterable[bytes]) -> tuple[str, ...]:
    """Return the codings of a body in the order in which they were applied.

    `values` are its `Content-Encoding` headers. Raises RequestError (415) for others.
    """
    names = [name.strip().lower() for value in values for name in str(value, "latin-1").split(",")]
    codings = [_ALIASES.get(name, name) for name in names if name and name != "identity"]
    unread = [coding for coding in codings if coding not in READ]
    if unread or len(codings) > _MOST_CODINGS:
        there = ", ".join(READ)
        said = f"in {unread[0][:100]!r}" if unread else f"encoded {len(codings)} times"
        message = f"the body is {said}; this server reads {there} (Content-Encoding)"
        raise RequestError(415, CODES[415], message, headers={"Accept-Encoding": there})
    return tuple(codings)


class Inflater:
    """Undoes the codings of one body; every one takes and gives at most `limit` bytes."""

    def __init__(self, codings: Iterable[str], limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._stages = [_STAGES[coding](limit) for coding in reversed(list(codings))]

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what a part of the body comes to, in small steps, of which some are empty.

        Raises RequestError (413) and InvalidBody.
        """
        self._taken += len(data)
        if self._taken > self._limit:
            raise too_large(self._limit)
        pieces: Iterable[bytes] = (data,)
        for stage in self._stages:
            pieces = stage.inflated(pieces)
        yield from pieces

    def end(self) -> None:
        """Check that the body was whole; raises InvalidBody."""
        for stage in self._stages:
            stage.end()


class _Gzip:
    """One coding: members of gzip, one after the other."""

    coding = "gzip"

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._given = 0
        self._zlib = zlib.decompressobj(_GZIP)
        self._is_begun = False

    def inflated(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Yield what the pieces come to, step by step."""
        for piece in pieces:
            if not piece:
                yield b""  # others' steps are steps, too
            for start in range(0, len(piece), _GIVEN_BYTES):
                yield from self._steps(piece[start : start + _GIVEN_BYTES])

    def end(self) -> None:
        """Raise InvalidBody where the data are cut off."""
        if self._is_begun and not self._zlib.eof:
            raise InvalidBody(f"the body is cut off: its {self.coding} data have no end")

    def _steps(self, data: bytes) -> Iterator[bytes]:
        self._is_begun = True
        more = True
        while more:
            if self._zlib.eof:
                self._begin_again()
            data = self._first(data)
            try:
                inflated = self._zlib.decompress(data, _STEP_BYTES)
            except zlib.error as error:
                raise InvalidBody(f"the body is not {self.coding}: {error}") from None
            self._given += len(inflated)
            if self._given > self._limit:
                raise too_large(self._limit, inflated=True)
            yield inflated
            data = self._zlib.unconsumed_tail or self._zlib.unused_data
            more = bool(data) or (len(inflated) == _STEP_BYTES and not self._zlib.eof)

    def _first(self, data: bytes) -> bytes:
        return data

    def _begin_again(self) -> None:
        self._zlib = zlib.decompressobj(_GZIP)


class _Deflate(_Gzip):
    """The other: zlib's format, or as many send it, bare deflate."""

    coding = "deflate"

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self._held: bytes | None = b""

    def _first(self, data: bytes) -> bytes:
        """Choose the format by the first bytes, and hold them back until they are there."""
        if self._held is None:
            return data
        held = self._held + data
        if len(held) < _CHECKED_BYTES:
            self._held = held
            return b""
        self._held = None
        method, flags = held[:_CHECKED_BYTES]
        has_header = method & 0x0F == zlib.DEFLATED and (method << 8 | flags) % 31 == 0
        self._zlib = zlib.decompressobj(zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)
        return held

    def _begin_again(self) -> None:
        raise InvalidBody("the body is not deflate: something follows the end of its data")


_STAGES: Final = {"gzip": _Gzip, "deflate": _Deflate}
