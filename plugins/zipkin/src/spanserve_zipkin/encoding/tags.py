"""The member `tags` of spans: what they say of their own, in common, of their errors and links."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from typing import Final

from spanserve import Attributes, Column, Resource, SpanKind
from spanserve_zipkin.encoding.cells import Cells
from spanserve_zipkin.encoding.endpoint import NOBODY, PEER_PORT, READ, Remote
from spanserve_zipkin.encoding.links import LINK_TAG, LINKED_TRACES_TAG, LinkTexts
from spanserve_zipkin.encoding.rows import Part, chosen
from spanserve_zipkin.encoding.text import Texts, quote, utf8
from spanserve_zipkin.encoding.values import Values

# Which build of the service answered, and which replica: tags where a trace enters the
# process. All of a resource on each span is what makes other exporters' spans large.
_RESOURCE_TAGS: Final = (
    "service.namespace",
    "service.version",
    "service.instance.id",
    "deployment.environment.name",
)

_ERROR: Final = "error"
_STATUS: Final = "otel.status_code"
_FAILED: Final = frozenset((_ERROR, _STATUS))
_LINKED: Final = frozenset((LINKED_TRACES_TAG, LINK_TAG + "0"))
_UNFAILED: Final = frozenset((_ERROR, LINK_TAG + "0"))
_MORE_THAN_TAGS: Final = READ | _FAILED | _LINKED | frozenset(_RESOURCE_TAGS)


def are_tags(own: Mapping[str, Cells]) -> bool:
    """Say whether cells of these keys are tags among others, whatever else a span says."""
    keys = own.keys()
    return keys.isdisjoint(_MORE_THAN_TAGS) and not any(key.startswith(LINK_TAG) for key in keys)


class Tags:
    """Writes the tags of one resource's spans."""

    def __init__(self, texts: Texts, resource: Resource, *, whole_links: bool) -> None:
        self._texts = texts
        self._links = LinkTexts(texts, whole=whole_links)
        found = {key: resource.attributes.get(key) for key in _RESOURCE_TAGS}
        self._resource = {key: value for key, value in found.items() if value is not None}

    def parts(
        self, column: Column, children: int, values: Values, remotes: Sequence[Remote]
    ) -> Iterator[Part]:
        """Yield the parts of the member `tags`, of which there may be none.

        `children`: how many spans of the column have a parent. What a remote endpoint says is no
        tag; there are none where a column's kind has none.
        """
        said = PEER_PORT if remotes and remotes[0].takes_port else None
        own = [key for key in column.own if key != said]
        more = column.failures is not None or column.links is not None
        common, which = self._common(column, children, remotes)
        if not own and not more:
            yield chosen([b',"tags":{' + text + b"}" if text else b"" for text in common], which)
            return
        yield b',"tags":{'
        for number, key in enumerate(own):
            yield utf8(("," if number else "") + self._texts.key(key))
            yield values.own(column.own[key])
        before, after = (b",", b"") if own else (b"", b"," if more else b"")
        yield chosen([before + text + after if text else b"" for text in common], which)
        if column.failures is not None:
            errors = [f'"{_STATUS}":"ERROR","{_ERROR}":{quote(each)}' for each in column.errors]
            yield chosen([before + utf8(each) for each in errors], column.failures)
            before = b","
        if column.links is not None:
            yield from self._links.tags(column.links, before)
        yield b"}"

    def _common(
        self, column: Column, children: int, remotes: Sequence[Remote]
    ) -> tuple[Sequence[bytes], Cells]:
        """Return the tags of what rows have in common, and which of them each row has."""
        pairs = zip(column.common, remotes or repeat(NOBODY), strict=False)
        if column.kind is SpanKind.SERVER or not children:
            return [self._text(column, *each, entry=True) for each in pairs], column.which
        if children == len(column.parent_id):
            return [self._text(column, *each) for each in pairs], column.which
        texts = [
            self._text(column, *each, entry=entry) for each in pairs for entry in (False, True)
        ]
        return texts, column.which * 2 + (column.parent_id == 0)

    def _text(
        self, column: Column, attributes: Attributes, remote: Remote, *, entry: bool = False
    ) -> bytes:
        """Return tags, parted by commas.

        `entry`: a trace enters the process here, so that some of the resource's come along.
        """
        if entry and self._resource:
            more = {key: value for key, value in self._resource.items() if key not in attributes}
            attributes = {**attributes, **more}
        return utf8(self._texts.tags(_without_reserved(column, attributes, remote.said)))


def _without_reserved(column: Column, attributes: Attributes, said: frozenset[str]) -> Attributes:
    """Return the attributes that are not said, and do not stand in the way of tags."""
    reserved = said | (_UNFAILED if column.failures is None else _FAILED | _UNFAILED)
    if column.links is not None:
        reserved |= _LINKED
    elif reserved.isdisjoint(attributes):
        return attributes
    return {
        key: value
        for key, value in attributes.items()
        if key not in reserved or (key == _ERROR and _says_an_error(column, value))
        if not str(key).startswith(LINK_TAG)
    }


def _says_an_error(column: Column, value: object) -> bool:
    """Say whether an attribute `error` is kept: the span's own error wins."""
    if column.failures is not None:
        return False
    # For Zipkin the tag alone makes an error of the span, whatever it says.
    try:
        return str(value).lower() not in {"", "0", "false", "none"}
    except Exception:  # noqa: BLE001  # a value's own code may raise anything
        return True
