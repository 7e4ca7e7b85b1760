"""Results that are bytes, and go out as they are."""

from typing import Any

from spanserve.service.codecs.problems import InvalidResult


def encode(result: Any, *, where: str) -> bytes:
    """Return a result, which must be bytes; raises InvalidResult."""
    if type(result) is bytes:
        return result
    if isinstance(result, bytes | bytearray | memoryview):
        return bytes(result)
    raise InvalidResult(f"{where} returned a {type(result).__name__}, and declares bytes")


private = encode


def as_bytes(result: Any) -> Any:
    """Return a batch's results with what is of bytes as bytes that nobody can change."""
    if not isinstance(result, list | tuple):
        return result
    return [bytes(each) if isinstance(each, bytearray | memoryview) else each for each in result]
