"""Attributes in two layers, as Zipkin's tags: what is shared is written once, for all spans.

Whatever here says None is left to the general way: it holds keys that mean more than a tag.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from operator import call
from typing import Any

from spanserve import AttributeValue, Shared
from spanserve_zipkin.endpoint import Endpoints
from spanserve_zipkin.text import Memo, quote, tag_text

ERROR_TAG = "error"
LINK_TAG = "otlp.link."

_MANY = 4096
_FEW = 1024
_TAGS = ',"tags":{'
_BEYOND = 1 << 63
_NUMBERS = frozenset({int, float})
# They name the other side of a span, and are looked for among all of its attributes.
_ENDPOINT_KEYS = ("client.", "network.peer.", "server.", "peer.")

Texts = tuple[str, str]
"""The end of a span's JSON: after own tags, and where there are none."""

Shape = tuple[Any, ...]
"""The keys of a mapping, and then the types of its values."""

Writer = Callable[[Any], str]


class Layers:
    """What the layers of attributes become, remembered.

    `inner[shared]` is for spans within the process, `entries[shared]` for those of the kind
    SERVER. `shapes[shape]` is a template for a span's own tags, and the writers of its values
    (None: all are numbers, and the template takes them as they are); `link_shapes[shape]` a
    template for a whole tag of a link, where its attributes are numbers.
    """

    def __init__(
        self, keys: Mapping[str, str], endpoints: Endpoints, resource_tags: Mapping[str, str]
    ) -> None:
        self._keys = keys
        self._endpoints = endpoints
        self._resource_tags = resource_tags
        # A memo holds the Shared itself, so that no other can ever take its place.
        self.inner: Memo[Shared, Texts | None] = Memo(self._inner, size=_FEW)
        self.entries: Memo[Shared, Texts | None] = Memo(self._entry, size=_MANY)
        self.shapes: Memo[Shape, tuple[str, tuple[Writer, ...] | None] | None] = Memo(
            self._shape, size=_FEW
        )
        self.link_shapes: Memo[Shape, str | None] = Memo(self._link_shape, size=_FEW)

    def _inner(self, shared: Shared) -> Texts | None:
        # Every batch brings two new ones of the same shape: hence a template.
        if not shared:
            return _texts("", [])
        shape = self.shapes[(*shared, *map(type, shared.values()))]
        if shape is None:
            return None
        template, writers = shape
        values: Collection[Any] = shared.values()
        if writers is not None:
            values = tuple(map(call, writers, values))
        elif not are_usual(values):
            return None
        text = template % (*values,)
        return text.replace(_TAGS, ",", 1) + "}}", text + "}}"

    def _entry(self, shared: Shared) -> Texts | None:
        if not all(map(_is_plain, shared)):
            return None
        tags = self._tags(shared)
        tags += [tag for key, tag in self._resource_tags.items() if key not in shared]
        return _texts(self._endpoints.remote("server", shared), tags)

    def _tags(self, shared: Mapping[str, AttributeValue]) -> list[str]:
        return [f"{self._keys[key]}{tag_text[type(value)](value)}" for key, value in shared.items()]

    def _shape(self, shape: Shape) -> tuple[str, tuple[Writer, ...] | None] | None:
        keys, types = _split(shape)
        if any(not _is_plain(key) or self._is_read(key) for key in keys):
            return None
        are_numbers = _NUMBERS.issuperset(types)
        value = '"%s"' if are_numbers else "%s"
        members = [_literal(self._keys[key]) + value for key in keys]
        writers = None if are_numbers else tuple(tag_text[each] for each in types)
        return _TAGS + ",".join(members), writers

    def _is_read(self, key: str) -> bool:
        return key in self._resource_tags or key.startswith(_ENDPOINT_KEYS)

    def _link_shape(self, shape: Shape) -> str | None:
        keys, types = _split(shape)
        if not types or not _NUMBERS.issuperset(types):
            return None
        members = ",".join([_literal(self._keys[key]) + "%s" for key in keys])
        return f'"{LINK_TAG}%s":' + quote(f"%s|%s||{{{members}}}|0")


def are_usual(numbers: Iterable[float]) -> bool:
    """Tell whether `%s` writes them all as JSON: none is NaN, infinite or beyond 64 bits."""
    try:
        return sum(map(abs, numbers)) < _BEYOND  # NaN is not less than anything
    except OverflowError:
        return False


def _is_plain(key: str) -> bool:
    return key != ERROR_TAG and not key.startswith(LINK_TAG)


def _split(shape: Shape) -> tuple[tuple[str, ...], tuple[type, ...]]:
    middle = len(shape) // 2
    return shape[:middle], shape[middle:]


def _literal(text: str) -> str:
    return text.replace("%", "%%")


def _texts(remote: str, tags: list[str]) -> Texts:
    text = ",".join(tags)
    return (
        (f",{text}}}{remote}}}", f"{_TAGS}{text}}}{remote}}}")
        if tags
        else (
            f"}}{remote}}}",
            remote + "}",
        )
    )
