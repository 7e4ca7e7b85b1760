"""Values as JSON text: pure, and quick for the types that spans hold."""

import base64
from collections.abc import Callable, Hashable, Mapping
from json.encoder import encode_basestring as quote
from math import isfinite, isnan
from typing import Any, TypeVar

from spanserve import Attributes

_MEMO_SIZE = 4096
_MAX_DEPTH = 4  # of lists in lists: one that holds itself would have no end

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

__all__ = ["Memo", "Texts", "mended", "quote", "tag_text", "utf8"]


class Memo(dict[K, V]):
    """What `make` made of a key, remembered; when `size` are held, all are forgotten."""

    def __init__(self, make: Callable[[K], V], *, size: int) -> None:
        super().__init__()
        self._make = make
        self._size = size

    def __missing__(self, key: K) -> V:
        made = self._make(key)
        if len(self) >= self._size:
            self.clear()
        self[key] = made
        return made


class _ByType(dict[type, Callable[[Any], str]]):
    """The writer of a value's exact type; `odd` for all others."""

    def __init__(
        self, odd: Callable[[Any], str], writers: Mapping[type, Callable[[Any], str]]
    ) -> None:
        super().__init__(writers)
        self._odd = odd

    def __missing__(self, key: type) -> Callable[[Any], str]:
        return self._odd


def mended(text: str) -> str:
    """Return the text with each lone surrogate replaced by U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def utf8(text: str) -> bytes:
    """Return JSON in UTF-8 as Zipkin takes it; each lone surrogate becomes U+FFFD."""
    # Zipkin takes a body for its first format, and refuses it, where any string ends so.
    if 'yAnnotations"' in text:
        text = text.replace('yAnnotations"', 'yAnnotation\\u0073"')
    try:
        return text.encode()
    except UnicodeEncodeError:
        return mended(text).encode()


class Texts:
    """Writes attributes; remembers their keys, of which there are few."""

    def __init__(self) -> None:
        self._keys: Memo[str, str] = Memo(_key, size=_MEMO_SIZE)

    def key(self, key: str) -> str:
        """Return a key and the colon after it."""
        return quote(mended(str(key))) + ":"

    def tags(self, attributes: Attributes) -> str:
        """Return attributes as tags, parted by commas."""
        return self._members(attributes, tag_text)

    def members(self, attributes: Attributes) -> str:
        """Return attributes as members of JSON, parted by commas."""
        return self._members(attributes, json_text)

    def json(self, attributes: Attributes) -> str:
        """Return attributes as a JSON object."""
        return "{" + self._members(attributes, json_text) + "}"

    def _members(self, attributes: Attributes, texts: "_ByType") -> str:
        keys = self._keys
        try:
            members = [f"{keys[k]}{texts[type(value)](value)}" for k, value in attributes.items()]
        except (AttributeError, UnicodeEncodeError):  # a key that is no text, or no valid one
            valid = {mended(str(key)): value for key, value in attributes.items()}
            members = [f"{keys[k]}{texts[type(value)](value)}" for k, value in valid.items()]
        return ",".join(members)


def _key(key: str) -> str:
    key.encode()  # two keys that are no valid Unicode may be mended to the same
    return quote(key) + ":"


def _number_name(value: float) -> str:
    if isnan(value):
        return '"NaN"'
    return '"Infinity"' if value > 0 else '"-Infinity"'


def _json_float(value: float) -> str:
    return repr(value) if isfinite(value) else _number_name(value)


def _json_bool(value: object) -> str:
    return "true" if value else "false"


def _json_odd(value: object, depth: int = 0) -> str:
    try:
        return _json_unusual(value, depth)
    except Exception:  # noqa: BLE001  # a value's own code may raise anything
        return quote(f"<{type(value).__name__}>")


def _json_unusual(value: object, depth: int) -> str:
    if value is None:
        return "null"
    if isinstance(value, int):
        return quote(str(value)) if abs(value) >> 63 else int.__repr__(value)
    if isinstance(value, float):
        return _json_float(float(value))
    if isinstance(value, (bytes, bytearray)):
        return quote(base64.b64encode(value).decode())
    if depth < _MAX_DEPTH:
        return _json_container(value, depth)
    return quote(str(value))


def _json_container(value: object, depth: int) -> str:
    if isinstance(value, Mapping):
        members = {str(key): _json_member(item, depth) for key, item in value.items()}
        return "{" + ",".join([f"{quote(key)}:{item}" for key, item in members.items()]) + "}"
    if isinstance(value, (list, tuple, set, frozenset)):
        return "[" + ",".join([_json_member(item, depth) for item in value]) + "]"
    return quote(str(value))


def _json_member(value: object, depth: int) -> str:
    write = json_text.get(type(value))
    return write(value) if write else _json_odd(value, depth + 1)


# JSON readers hold integers in 64 bits: larger ones go out as text.
def _json_int(value: int) -> str:
    return int.__repr__(value) if -(1 << 63) <= value < 1 << 63 else _json_odd(value)


def _tag_int(value: int) -> str:
    try:
        return f'"{value}"'
    except ValueError:  # more digits than Python turns into text
        return '"<int>"'


def _tag_float(value: float) -> str:
    return f'"{value!r}"' if isfinite(value) else _number_name(value)


def _tag_bool(value: object) -> str:
    return '"true"' if value else '"false"'


def _tag_odd(value: object) -> str:
    if value is None:
        return '""'
    text = _json_odd(value)
    return text if text.startswith('"') else quote(text)


# `json_text[type(value)](value)` is the value as JSON: NaN and infinities as strings, bytes
# as base64, odd types as text. `tag_text` is the same as a quoted string, all that a tag of
# Zipkin may hold; there None is the empty string, as OpenTelemetry has it for backends that
# only know strings. Neither raises for what a value is or does.
json_text = _ByType(_json_odd, {str: quote, int: _json_int, bool: _json_bool, float: _json_float})
tag_text = _ByType(_tag_odd, {str: quote, int: _tag_int, bool: _tag_bool, float: _tag_float})
