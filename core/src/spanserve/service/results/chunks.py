"""The values of a streamed answer, as the bytes that are sent of each."""

from collections.abc import Callable
from typing import Any, Final

from spanserve.service.codecs import media
from spanserve.service.codecs.problems import InvalidResult

TEXT: Final = "text/plain"
BYTES: Final = "application/octet-stream"


def chunk(
    value: Any, given: str, returns: Any, encode: Callable[[Any], bytes], where: str
) -> bytes:
    """Return what is sent of a value that a method yielded, which declares what it `returns`.

    `given` is the answer's format. Raises InvalidResult.
    """
    if given not in {media.NDJSON, media.EVENTS}:
        wanted = bytes if returns is bytes else str
        if not isinstance(value, wanted):
            raise InvalidResult(f"{where} yielded a {type(value).__name__}, not {wanted.__name__}")
        return value if isinstance(value, bytes) else value.encode()
    text = encode(value)
    return b"data: %b\n\n" % text if given == media.EVENTS else text + b"\n"
