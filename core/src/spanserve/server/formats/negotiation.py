"""Batch endpoints that speak more than JSON: lines of it, and NumPy's arrays."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from spanserve.server.endpoint import BatchEndpoint
from spanserve.server.formats.items_array import array, items_of_array
from spanserve.server.formats.many_items import Crowd, Written, items_of_lines, lines
from spanserve.server.http.answer import Answer, Streamed, in_parts, not_given, not_taken
from spanserve.server.http.exchange import Exchange
from spanserve.server.http.pacing import paced
from spanserve.server.plain import check_formats
from spanserve.service.codecs import media, npy
from spanserve.service.codecs.json import ArrayBatchCodec
from spanserve.service.codecs.steps import Steps
from spanserve.service.codecs.tensors import declared_dtype
from spanserve.service.results.large_results import encoded, encoded_all, result_array

_GIVES: Final[Mapping[str, tuple[str, ...]]] = {
    media.JSON: (media.JSON, media.NPY),
    media.ITEMS: (media.ITEMS, media.JSON),
    media.NDJSON: (media.NDJSON,),
    media.NPY: (media.NPY, media.JSON),
}


class FormatsEndpoint(BatchEndpoint):
    """A batch endpoint that chooses its codec by `Content-Type` and `Accept`."""

    @property
    def formats(self) -> tuple[str, ...]:
        """The formats that a body may be in."""
        codec = self.codec
        if not codec.has_json:
            return codec.reads
        arrays = isinstance(codec, ArrayBatchCodec)
        many = (media.JSON, media.NDJSON)
        return (*many, media.NPY, media.ITEMS) if arrays else (*many, media.ITEMS)

    @property
    def answers(self) -> tuple[str, ...]:
        """The formats that an answer may be in."""
        if not self.codec.has_json:
            return self.codec.gives
        return self.formats

    async def answer(self, exchange: Exchange) -> Answer | Streamed:
        """Answer a request in the format that it asks for."""
        record = exchange.record
        try:
            taken, given = self._negotiated(exchange)
            if not self.codec.has_json or taken == given == media.JSON:
                return await super().answer(exchange)
            self.reads(exchange)
            body = await self.body(exchange)
            if taken == media.NDJSON:
                return await self._many(exchange, items_of_lines(self, body), lines, media.NDJSON)
            if taken == media.ITEMS:
                self.check_json(len(body))
                items = await paced(items_of_array(self, body))
                return await self._many(exchange, items, array, given)
            return await self._arrays(exchange, body, taken=taken, given=given)
        except Exception as error:  # noqa: BLE001  # every error has an answer
            if record is not None and record.decode_ns and not record.decoded_ns:
                record.decode_ended(self.tracing.now_ns())
            return self.refused(exchange, error)

    def _negotiated(self, exchange: Exchange) -> tuple[str, str]:
        """Return the format of the body and of the answer; raises RequestError (415, 406)."""
        if not self.codec.has_json:
            check_formats(exchange, self.formats, self.answers)
            return self.formats[0], self.answers[0]
        taken = media.media_type(exchange.header(b"content-type"))
        if taken not in self.formats:
            raise not_taken(taken, self.formats)
        offered = [each for each in _GIVES[taken] if each in self.formats]
        given = media.chosen(exchange.header(b"accept"), offered)
        if given is None:
            raise not_given(offered)
        return taken, given

    async def _many(
        self, exchange: Exchange, items: Iterable[Any], written: Written, given: str
    ) -> Streamed:
        """Answer each item in its place; raises QueueFullError where not one has room."""
        crowd = Crowd(self, exchange, items)
        await crowd.begin()
        if exchange.record is not None:
            exchange.record.decode_ended(self.tracing.now_ns())
        return Streamed(200, written(self, exchange, crowd), [(b"content-type", given.encode())])

    async def _arrays(
        self, exchange: Exchange, body: bytes, *, taken: str, given: str
    ) -> Answer | Streamed:
        """Answer where the body or the answer is an array in NumPy's format.

        Raises what an item failed with: an array has no place for an error.
        """
        record, now_ns, codec = exchange.record, self.tracing.now_ns, self.codec
        assert isinstance(codec, ArrayBatchCodec)  # noqa: S101  # as was negotiated
        if taken == media.NPY:
            items = await paced(npy.read_steps(body, codec.array))
        else:
            items = npy.Items([await self.decoded(body)], stacked=False)
        if record is not None:
            record.decode_ended(now_ns())
        crowd = Crowd(self, exchange, items.values)
        await crowd.begin()
        results = await crowd.all_results()
        if record is not None:
            record.encode_started(now_ns())
        try:
            return await paced(self._array_answer(results, stacked=items.stacked, given=given))
        finally:
            if record is not None:
                record.encode_ended(now_ns())

    def _array_answer(
        self, results: Sequence[Any], *, stacked: bool, given: str
    ) -> Steps[Answer | Streamed]:
        encode = self.codec.encode
        if given == media.JSON and stacked:
            return in_parts((yield from encoded_all(results, encode)))
        if given == media.JSON:
            return in_parts((yield from encoded(results[0], encode)))
        declared, where = declared_dtype(self.spec.returns), self.spec.route
        given_back = results if stacked else results[0]
        array = yield from result_array(given_back, declared, where=where)
        parts = yield from npy.written(array, where=where)
        return in_parts(parts, [(b"content-type", media.NPY.encode())])
