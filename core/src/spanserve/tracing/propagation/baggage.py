"""W3C Baggage: what a caller sends along for whoever its request reaches.

Source: https://www.w3.org/TR/baggage/. It is read when somebody asks, and passed on as it came, up
to the standard's limits: 64 members, 8,192 bytes.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from urllib.parse import unquote

from spanserve.tracing.propagation.context import OPTIONAL_SPACE

BAGGAGE: Final = b"baggage"

MAX_BYTES: Final = 8_192
MAX_MEMBERS: Final = 64

_NAME: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_VALUE: Final = r"[!#-+\--:<-\[\]-~]*"
_SPACE: Final = r"[ \t]*"
_PROPERTY: Final = rf"{_SPACE};{_SPACE}{_NAME}(?:{_SPACE}={_SPACE}{_VALUE})?"
_MEMBER: Final = re.compile(rf"({_NAME}){_SPACE}={_SPACE}({_VALUE})((?:{_PROPERTY})*)")


def sent(headers: Iterable[tuple[bytes, bytes]]) -> Sequence[bytes]:
    """Return the values of a request's headers of this name."""
    return [value for name, value in headers if name == BAGGAGE]


def passed_on(values: Sequence[bytes]) -> str:
    """Return what of these headers goes out again: its valid members, within the limits."""
    return ",".join(match[0] for match in _members(values))


def read(values: Sequence[bytes]) -> Mapping[str, str]:
    """Return these headers' members, decoded; of several of one name the first."""
    found: dict[str, str] = {}
    for match in _members(values):
        found.setdefault(match[1], unquote(match[2]))
    return found


def _members(values: Sequence[bytes]) -> Sequence[re.Match[str]]:
    members: list[re.Match[str]] = []
    length = 0
    # One byte more than may go out: else the last member could be half of one.
    text = b",".join(values)[: MAX_BYTES + 1].decode("latin-1")
    pieces = text.split(",")
    if len(text) > MAX_BYTES:
        del pieces[-1]
    for piece in pieces:
        match = _MEMBER.fullmatch(piece.strip(OPTIONAL_SPACE))
        if match is None:
            continue
        length += len(match[0]) + 1
        if len(members) == MAX_MEMBERS or length > MAX_BYTES + 1:
            break
        members.append(match)
    return members
