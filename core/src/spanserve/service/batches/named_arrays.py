"""Several arrays an item, by their names: a stacked one of each is what the method gets."""

from codecs import BOM_UTF8
from collections.abc import Hashable, Mapping, Sequence
from typing import Annotated, Any

import numpy as np

from spanserve.service.annotations import result_item
from spanserve.service.arguments import Parameter, reader
from spanserve.service.codecs.array import Array
from spanserve.service.codecs.json import ArrayBatchCodec, BatchCodec
from spanserve.service.codecs.problems import refuse_constants


class NamedArraysCodec(BatchCodec):
    """An item is an object with an array under each name."""

    def __init__(
        self, arrays: Mapping[str, Array], *, returns: Any, where: str, **options: Any
    ) -> None:
        parameters = [
            Parameter(name, Annotated[np.ndarray, array]) for name, array in arrays.items()
        ]
        super().__init__(
            parameters=parameters, where=where, response=result_item(returns), **options
        )
        self.arrays = dict(arrays)
        """What each array of an item is."""
        self._read = reader(parameters, where)
        self._codecs = {
            name: ArrayBatchCodec(array, parameter=name, returns=Any, where=where)
            for name, array in arrays.items()
        }

    def decode(self, body: bytes) -> dict[str, Any]:
        body = body.removeprefix(BOM_UTF8)
        refuse_constants(body)
        return self._read(body)

    def batch_key(self, item: Any) -> Hashable | None:
        return tuple(codec.batch_key(item[name]) for name, codec in self._codecs.items())

    def collate(self, items: Sequence[Any]) -> dict[str, Any]:
        return {
            name: codec.collate([item[name] for item in items])
            for name, codec in self._codecs.items()
        }
