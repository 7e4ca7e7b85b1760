"""Bodies and answers of bytes, as they are."""

from collections.abc import Hashable, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from spanserve.service.arguments import Parameter
from spanserve.service.codecs.json import BatchCodec, CallCodec
from spanserve.service.codecs.problems import invalid_item
from spanserve.service.codecs.steps import Steps


class RawCodec(CallCodec):
    """The body is the one parameter."""

    reads_in_steps = True

    def __init__(self, parameter: Parameter, *, reads: tuple[str, ...], **options: Any) -> None:
        self.reads = reads
        super().__init__(parameters=[], **options)
        self._name = parameter.name
        self._optional = not parameter.required
        self._validate = TypeAdapter(parameter.annotation).validate_python

    def decode(self, body: bytes) -> dict[str, Any]:
        if not body and self._optional:
            return {}
        try:
            return {self._name: self._validate(body)}
        except ValidationError as error:
            raise invalid_item(_without_input(error), root=self._name) from None

    def steps(self, body: bytes) -> Steps[Any]:
        yield from ()
        return self.decode(body)


class RawBatchCodec(BatchCodec):
    """The body is an item; a batch is a list of them."""

    reads_in_steps = True

    def __init__(self, item: Any, *, reads: tuple[str, ...], **options: Any) -> None:
        self.reads = reads
        super().__init__(parameters=[], **options)
        self._validate = None if item is bytes else TypeAdapter(item).validate_python

    def decode(self, body: bytes) -> bytes:
        if self._validate is None:
            return body
        try:
            item: bytes = self._validate(body)
        except ValidationError as error:
            raise invalid_item(_without_input(error), root="item") from None
        return item

    def batch_key(self, item: Any) -> Hashable | None:  # noqa: ARG002 - lists hold any items
        return None

    def collate(self, items: Sequence[Any]) -> Any:
        return list(items)


def _without_input(error: ValidationError) -> Any:
    return error.errors(include_url=False, include_input=False)
