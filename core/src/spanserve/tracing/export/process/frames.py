"""Messages between the server and an exporter's process: a length, and so many bytes."""

import struct
from typing import BinaryIO, Final

_LENGTH: Final = struct.Struct("=I")


def write_frame(stream: BinaryIO, content: bytes) -> None:
    """Write a message; raises OSError where nobody reads any more."""
    stream.write(_LENGTH.pack(len(content)))
    stream.write(content)
    stream.flush()


def read_frame(stream: BinaryIO) -> bytes:
    """Read a message; raises EOFError where the other side is gone."""
    (length,) = _LENGTH.unpack(_read(stream, _LENGTH.size))
    return _read(stream, length)


def _read(stream: BinaryIO, length: int) -> bytes:
    content = stream.read(length)
    if len(content) < length:
        raise EOFError
    return content
