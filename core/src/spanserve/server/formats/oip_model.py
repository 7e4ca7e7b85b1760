"""A batch endpoint of arrays as the Open Inference Protocol's model: a request -> an answer."""

import re
from codecs import BOM_UTF8
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json, to_json

from spanserve.server.endpoint import BatchEndpoint
from spanserve.server.formats.many_items import Crowd
from spanserve.server.http.answer import Answer, Streamed, in_parts
from spanserve.server.http.exchange import Exchange
from spanserve.server.http.pacing import paced
from spanserve.service.batches.named_arrays import NamedArraysCodec
from spanserve.service.codecs import npy
from spanserve.service.codecs.array import Array
from spanserve.service.codecs.json import ArrayBatchCodec
from spanserve.service.codecs.problems import InvalidBody, InvalidItem
from spanserve.service.codecs.steps import Steps
from spanserve.service.codecs.tensors import (
    Parameters,
    Tensor,
    datatype_of,
    declared_dtype,
    input_of,
    output_of,
    without_data,
)
from spanserve.service.results.large_results import binary, data_as_json, result_array

BINARY_HEADER: Final = b"inference-header-content-length"
OUTPUT: Final = "output"
FIRST_VERSION: Final = "1"
"""The version of a model whose bundle names none."""

_OUTPUT_END: Final = b"}]}"
_LENGTH: Final = re.compile(r"[0-9]{1,12}")


class Output(BaseModel):
    """An output that a request asks for."""

    name: str
    parameters: Parameters = {}


class InferRequest(BaseModel):
    """The body of an inference request."""

    id: str | None = None
    parameters: Parameters = {}
    inputs: list[Tensor]
    outputs: list[Output] | None = None

    @property
    def wants_binary(self) -> bool:
        """Whether the output's data are to follow the JSON."""
        default = self.parameters.get("binary_data_output") is True
        asked = [each.parameters.get("binary_data", default) for each in self.outputs or ()]
        return True in asked if asked else default


class Model:
    """A batch endpoint of arrays, as the protocol sees it."""

    def __init__(
        self, endpoint: BatchEndpoint, codec: ArrayBatchCodec | NamedArraysCodec, version: str
    ) -> None:
        self.endpoint = endpoint
        self.name = endpoint.spec.name
        self.version = version
        names = [each.name for each in endpoint.spec.parameters]
        self._has_names = isinstance(codec, NamedArraysCodec)
        self.inputs: Mapping[str, Array]
        self.inputs = (
            codec.arrays if isinstance(codec, NamedArraysCodec) else {names[0]: codec.array}
        )

    def metadata(self) -> dict[str, Any]:
        """Describe the model, from its method's annotations."""
        return {
            "name": self.name,
            "versions": [self.version],
            "platform": "spanserve",
            "inputs": [input_of(name, array) for name, array in self.inputs.items()],
            "outputs": output_of(self.endpoint.spec.returns),
        }

    async def infer(self, exchange: Exchange, *, versioned: bool) -> Answer | Streamed:
        """Answer an inference request; raises what the endpoint's `refused` has an answer to.

        One that is `versioned` named the model's version.
        """
        endpoint, record = self.endpoint, exchange.record
        now_ns = endpoint.tracing.now_ns
        endpoint.reads(exchange)
        try:
            body = await endpoint.body(exchange)
            request, items = await paced(self._read(body, exchange.header(BINARY_HEADER)))
        finally:
            if record is not None:
                record.decode_ended(now_ns())
        crowd = Crowd(endpoint, exchange, items.values)
        await crowd.begin()
        results = await crowd.all_results()
        if record is not None:
            record.encode_started(now_ns())
        try:
            return await paced(self._written(request, results, versioned=versioned))
        finally:
            if record is not None:
                record.encode_ended(now_ns())

    def _read(self, body: bytes, json_length: str) -> Steps[tuple[InferRequest, npy.Items]]:
        length = len(body)
        if json_length:
            if not _LENGTH.fullmatch(json_length) or int(json_length) > length:
                raise InvalidBody("Inference-Header-Content-Length is not the JSON's length")
            length = int(json_length)
        text = body[:length].removeprefix(BOM_UTF8)
        rest, data = text, None
        if length > self.endpoint.most_at_once:
            rest, data = yield from without_data(text)
        self.endpoint.check_json(len(rest))
        request = _parsed(rest)
        tensors = request.inputs
        if data is not None and not (len(tensors) == 1 and tensors[0].reads_text(data)):
            self.endpoint.check_json(len(text))
            request, data = _parsed(text), None  # it was something else that looked like data
        self._check_names(request)
        values: dict[str, npy.Items] = {}
        place = length
        for name, tensor in zip(self._names(request), request.inputs, strict=True):
            size, raw = tensor.binary_size, None
            if size is not None:
                raw = memoryview(body)[place : place + size]
                place += size
                if place > len(body):
                    break
            array = yield from tensor.array(raw, data)
            values[name] = yield from npy.items_of(array, self.inputs[name], stacked=True)
        if place != len(body):
            raise InvalidBody(
                f"{len(body) - length} bytes follow the JSON, {place - length} are said to"
            )
        return request, self._items(values)

    def _names(self, request: InferRequest) -> list[str]:
        """Return the names of the model's inputs in the order in which a request has them."""
        alone = len(self.inputs) == 1
        return list(self.inputs) if alone else [each.name for each in request.inputs]

    def _items(self, values: Mapping[str, npy.Items]) -> npy.Items:
        if not self._has_names:
            [items] = values.values()
            return items
        lengths = {name: len(each.values) for name, each in values.items()}
        if len(set(lengths.values())) > 1:
            raise InvalidItem(f"the inputs have different numbers of items: {lengths}")
        rows = zip(*(each.values for each in values.values()), strict=True)
        return npy.Items([dict(zip(values, row, strict=True)) for row in rows], stacked=True)

    def _check_names(self, request: InferRequest) -> None:
        """Raise InvalidItem for other inputs and outputs; the only one may have any name."""
        given = [tensor.name for tensor in request.inputs]
        fits = len(given) == 1 if len(self.inputs) == 1 else sorted(given) == sorted(self.inputs)
        if not fits:
            takes = ", ".join(map(repr, self.inputs))
            raise InvalidItem(f"the inputs are {given!r:.200}; {self.name} takes {takes}")
        for output in request.outputs or ():
            if output.name != OUTPUT:
                raise InvalidItem(
                    f"unknown output {output.name[:100]!r}; {self.name} has {OUTPUT!r}"
                )

    def _written(
        self, request: InferRequest, results: Sequence[Any], *, versioned: bool
    ) -> Steps[Answer | Streamed]:
        spec = self.endpoint.spec
        declared = declared_dtype(spec.returns)
        array = yield from result_array(results, declared, where=spec.route)
        body: dict[str, Any] = {"model_name": self.name}
        if versioned:
            body["model_version"] = self.version
        if request.id is not None:
            body["id"] = request.id
        output: dict[str, Any] = {
            "name": OUTPUT,
            "datatype": datatype_of(array.dtype),
            "shape": array.shape,
        }
        if not request.wants_binary:
            data = yield from data_as_json(array)
            head = to_json({**body, "outputs": [output]}).removesuffix(_OUTPUT_END)
            return in_parts([head, b',"data":[', *data, b"]", _OUTPUT_END])
        packed = yield from binary(array)
        output["parameters"] = {"binary_data_size": sum(map(len, packed))}
        text = to_json({**body, "outputs": [output]})
        headers = [
            (b"content-type", b"application/octet-stream"),
            (BINARY_HEADER, b"%d" % len(text)),
        ]
        return in_parts([text, *packed], headers)


def _parsed(text: bytes) -> InferRequest:
    try:
        return InferRequest.model_validate(from_json(text))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InvalidBody(f"{place}: {first['msg']}") from None
    except ValueError as error:
        raise InvalidBody(f"the body is not JSON: {str(error)[:200]}") from None
