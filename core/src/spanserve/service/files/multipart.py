"""`multipart/form-data` -> the parts of a form, in steps.

Source: RFC 7578. The parser looks at each byte that could begin a boundary, so that hostile bodies
take it long: between its steps others have the event loop.
"""

import logging
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from spanserve.service.codecs.problems import InvalidBody
from spanserve.service.codecs.steps import Steps

MOST_PARTS: Final = 1_000
MOST_HEADERS: Final = 16
MOST_HEADER_BYTES: Final = 8 * 1024
_STEP_BYTES: Final = 16 * 1024
_SILENT: Final = logging.Logger("forms", logging.CRITICAL + 1)  # noqa: LOG001  # nobody else has it
"""What the parser would warn of is the client's doing, and is answered."""

_MOST_TYPE_CHARS: Final = 300


class Part(NamedTuple):
    """A part of a form; one without a file's name is a field."""

    name: str
    data: bytes
    filename: str | None
    content_type: str


def parts_of(body: bytes, content_type: str) -> Steps[list[Part]]:
    """Return the parts of a body; raises InvalidBody where it is no such form."""
    parts = _Parts()
    try:
        parser = MultipartParser(_boundary(content_type), parts.callbacks())
        parser.logger = _SILENT
        for start in range(0, len(body), _STEP_BYTES):
            parser.write(body[start : start + _STEP_BYTES])
            yield
            if parts.is_whole:
                break  # what follows the last boundary means nothing
    except FormParserError as error:
        raise _no_form(str(error)[:200]) from None
    if not parts.is_whole:
        raise _no_form("its last boundary is missing")
    return parts.found


class _Parts:
    """What the parser told so far."""

    def __init__(self) -> None:
        self.found: list[Part] = []
        self.is_whole = False
        self._name = b""
        self._value = b""
        self._headers: dict[bytes, bytes] = {}
        self._header_bytes = 0
        self._data: list[bytes] = []

    def callbacks(self) -> Any:
        """Return what the parser calls."""
        return {
            "on_part_begin": self._part_begins,
            "on_part_data": self._part_data,
            "on_part_end": self._part_ends,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_ends,
            "on_end": self._ends,
        }

    def _part_begins(self) -> None:
        if len(self.found) == MOST_PARTS:
            raise _no_form(f"it has more than {MOST_PARTS} parts")
        self._headers = {}
        self._header_bytes = 0
        self._data = []

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._value += data[start:end]

    def _header_ends(self) -> None:
        if len(self._headers) == MOST_HEADERS:
            raise _no_form(f"a part has more than {MOST_HEADERS} headers")
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _count(self, length: int) -> None:
        self._header_bytes += length
        if self._header_bytes > MOST_HEADER_BYTES:
            raise _no_form(f"a part has more than {MOST_HEADER_BYTES} bytes of headers")

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self._data.append(data[start:end])

    def _part_ends(self) -> None:
        options = _options(self._headers.get(b"content-disposition", b""))
        if b"name" not in options:
            raise _no_form("a part has no name (Content-Disposition: form-data; name=...)")
        filename = options.get(b"filename")
        self.found.append(
            Part(
                str(options[b"name"], "utf-8", "replace"),
                b"".join(self._data),
                None if filename is None else str(filename, "utf-8", "replace"),
                str(self._headers.get(b"content-type", b"text/plain"), "latin-1"),
            )
        )
        self._data = []

    def _ends(self) -> None:
        self.is_whole = True


def _options(value: bytes) -> Mapping[bytes, bytes]:
    kind, options = parse_options_header(value)
    return options if kind.lower() == b"form-data" else {}


def _boundary(content_type: str) -> bytes:
    if len(content_type) <= _MOST_TYPE_CHARS:
        boundary = parse_options_header(content_type)[1].get(b"boundary")
        if boundary:
            return boundary
    raise _no_form("its Content-Type has no boundary")


def _no_form(why: str) -> InvalidBody:
    return InvalidBody(f"the body is no multipart/form-data: {why}")
