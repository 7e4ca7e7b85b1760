"""Links as tags: as OpenTelemetry's Collector has them, and for people the traces' ids."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import numpy as np

from spanserve import Link, Links
from spanserve_zipkin.encoding.cells import fixed, from_texts
from spanserve_zipkin.encoding.rows import Part, Ragged, Rows
from spanserve_zipkin.encoding.text import Texts, quote, utf8
from spanserve_zipkin.encoding.values import are_plain, hexadecimal, plain_values

LINK_TAG: Final = "otlp.link."
LINKED_TRACES_TAG: Final = "linked.trace_ids"

# With spaces, for people: the web page breaks lines there, and each id can be copied.
_BETWEEN: Final = b", "


def are_whole(links: Links) -> bool:
    """Say whether every span has links, whose own attributes are of the usual kinds."""
    every = bool(np.diff(links.bounds).all())
    return every and all(map(are_plain, links.attributes.values()))


class LinkTexts:
    """Writes links; `whole`, or the ids of the linked traces alone."""

    def __init__(self, texts: Texts, *, whole: bool) -> None:
        self._texts = texts
        self._whole = whole

    def tags(self, links: Links, before: bytes) -> Iterator[Part]:
        """Yield the tags of each span's links, of which the first has this before it."""
        yield before + f'"{LINKED_TRACES_TAG}":"'.encode()
        yield Ragged([*_linked_traces(links)])
        yield b'"'
        if self._whole:
            yield Ragged(self._tags(links).joined(links.bounds))

    def _tags(self, links: Links) -> Rows:
        """Return a tag for each link, a comma before it."""
        counts = np.diff(links.bounds)
        number = np.arange(len(links.span_id)) - np.repeat(links.bounds[:-1], counts)
        keys = [f',"{LINK_TAG}{each}":"'.encode() for each in range(int(counts.max(initial=0)))]
        parts = [from_texts(keys)[number] if keys else b"", fixed(links.trace_id), b"|"]
        parts += hexadecimal(links.span_id), b"|", *self._said(links), b'}|0"'
        return Rows(parts, len(number))

    def _said(self, links: Links) -> Iterator[Part]:
        """Yield tracestates and attributes but for the end of their object, escaped for a text."""
        own = [utf8(quote(self._texts.key(key))[1:-1]) for key in links.attributes]
        values = [plain_values(cells) for cells in links.attributes.values()]
        if links.which is None:
            yield b"|{"
        else:
            texts = [self._common(link, before_others=bool(own)) for link in links.common]
            yield Ragged([texts[each] for each in links.which.tolist()])
        for number, (key, value) in enumerate(zip(own, values, strict=True)):
            yield b"," + key if number else key
            yield value

    def _common(self, link: Link, *, before_others: bool) -> bytes:
        """Return what stands between a link's ids and the attributes that are its own."""
        # Who reads the tag splits it at bars, which a tracestate may hold.
        state = "" if "|" in link.tracestate else link.tracestate
        said = self._texts.members(link.attributes)
        comma = "," if said and before_others else ""
        return utf8(quote(f"{state}|{{{said}{comma}")[1:-1])


def _linked_traces(links: Links) -> Iterator[bytes]:
    """Return the ids of the traces that the links of each span lead to, each id once."""
    bounds = pairwise(links.bounds.tolist())
    # Hexadecimal, of which the end is random: mostly that tells that no two are the same.
    ends = np.sort(fixed(links.trace_id)[:, -8:].copy().view(np.uint64)[:, 0])
    if (ends[1:] == ends[:-1]).any():
        ids = links.trace_id.tolist()
        return (_BETWEEN.join(dict.fromkeys(ids[first:last])) for first, last in bounds)
    rows = Rows([fixed(links.trace_id), _BETWEEN], len(ends)).joined(links.bounds)
    return (row[: -len(_BETWEEN)] for row in rows)
