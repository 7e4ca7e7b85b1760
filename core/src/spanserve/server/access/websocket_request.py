"""What asks for a websocket, whichever parser read it: httptools is not everywhere."""

from collections.abc import Sequence
from typing import Final

FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})


def wants_websocket(method: bytes, headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Say whether a request asks for a websocket: a GET without a body, of one protocol only."""
    if method != b"GET":
        return False
    asked = [value.strip().lower() for name, value in headers if name == b"upgrade"]
    bodies = [value for name, value in headers if name in FRAMING]
    return asked == [b"websocket"] and all(value == b"0" for value in bodies)
