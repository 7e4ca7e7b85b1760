"""The methods of a service, for items that came over a socket."""

from typing import Any

from spanserve.running.host import BatchMethod, Methods
from spanserve.running.methods import methods_of
from spanserve.running.wire.values import value_of
from spanserve.service.spec import ServiceSpec


def carried_methods(spec: ServiceSpec) -> Methods:
    """Return all methods, with codecs that make items anew of what came."""
    return {
        name: BatchMethod(each.call, CarriedCodec(each.codec))
        if isinstance(each, BatchMethod)
        else each
        for name, each in methods_of(spec).items()
    }


class CarriedCodec:
    """An endpoint's codec, whose items are made anew of what came over the socket."""

    def __init__(self, codec: Any) -> None:
        self._codec = codec
        self.batch_key, self.collate, self.split = codec.batch_key, codec.collate, codec.split

    def decode_again(self, body: Any) -> Any:
        """Make an item anew."""
        return value_of(body, None, self._codec.decode_again)
