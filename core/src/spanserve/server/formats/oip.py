"""The Open Inference Protocol: `/v2`, so that clients of KServe, Triton and MLServer work.

Each batch endpoint that takes arrays is a model with its method's name. A request's tensor is so
many items as its first axis is long; they are batched with everybody else's.
"""

import re
from codecs import BOM_UTF8
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Annotated, Any, Final

from fastapi import FastAPI, Path, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json, to_json

from spanserve.server.dependencies import Answering, Sender, dependent_handler
from spanserve.server.endpoint import BatchEndpoint, Endpoint
from spanserve.server.formats.many_items import Crowd
from spanserve.server.http.answer import Answer, RequestError, Streamed, in_parts
from spanserve.server.http.exchange import SCOPE_KEY, Exchange, Send, send_answer
from spanserve.server.http.pacing import paced
from spanserve.server.lifecycle import Lifecycle
from spanserve.server.routes import Door, error_responses, guarded_route
from spanserve.service.bundle.load import LoadedService
from spanserve.service.codecs import npy
from spanserve.service.codecs.json import ArrayBatchCodec
from spanserve.service.codecs.problems import InvalidBody, InvalidItem, nearest
from spanserve.service.codecs.steps import Steps
from spanserve.service.codecs.tensors import (
    Tensor,
    datatype_of,
    declared_dtype,
    input_of,
    output_of,
    without_data,
)
from spanserve.service.results.large_results import binary, data_as_json, result_array

PREFIX: Final = "/v2/"
BINARY_HEADER: Final = b"inference-header-content-length"
OUTPUT: Final = "output"
_OUTPUT_END: Final = b"}]}"
_LENGTH: Final = re.compile(r"[0-9]{1,12}")
_INFERENCE: Final = SimpleNamespace(path="/v2/models/{name}/infer")
_TAG: Final = "open inference protocol"
_UNKNOWN: Final[dict[int | str, dict[str, Any]]] = {404: {"description": "No such model"}}
_BODY: Final = {
    "schema": {
        "type": "object",
        "required": ["inputs"],
        "properties": {"inputs": {"type": "array", "items": {"type": "object"}}},
    }
}


class Output(BaseModel):
    """An output that a request asks for."""

    name: str
    parameters: dict[str, Any] = {}


class InferRequest(BaseModel):
    """The body of an inference request."""

    id: str | None = None
    parameters: dict[str, Any] = {}
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

    def __init__(self, endpoint: BatchEndpoint, codec: ArrayBatchCodec) -> None:
        self.endpoint = endpoint
        self.name = endpoint.spec.name
        self.codec = codec
        self.input = endpoint.spec.parameters[0].name

    def metadata(self) -> dict[str, Any]:
        """Describe the model, from its method's annotations."""
        return {
            "name": self.name,
            "platform": "spanserve",
            "inputs": [input_of(self.input, self.codec.array)],
            "outputs": output_of(self.endpoint.spec.returns),
        }

    async def infer(self, exchange: Exchange) -> Answer | Streamed:
        """Answer an inference request; raises what the endpoint's `refused` has an answer to."""
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
            return await paced(self._written(request, results))
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
        if data is not None and [each.data for each in request.inputs] != [[]]:
            self.endpoint.check_json(len(text))
            request, data = _parsed(text), None  # it was something else that looked like data
        self._check_names(request)
        [tensor] = request.inputs
        size = tensor.binary_size
        if size is not None and size != len(body) - length:
            raise InvalidBody(f"{len(body) - length} bytes follow the JSON, {size} are said to")
        raw = None if size is None else memoryview(body)[length:]
        array = yield from tensor.array(raw, data)
        return request, (yield from npy.items_of(array, self.codec.array, stacked=True))

    def _check_names(self, request: InferRequest) -> None:
        given = [tensor.name for tensor in request.inputs]
        if given != [self.input]:
            raise InvalidItem(f"the inputs are {given!r:.200}; {self.name} takes {self.input!r}")
        for output in request.outputs or ():
            if output.name != OUTPUT:
                raise InvalidItem(
                    f"unknown output {output.name[:100]!r}; {self.name} has {OUTPUT!r}"
                )

    def _written(self, request: InferRequest, results: Sequence[Any]) -> Steps[Answer | Streamed]:
        spec = self.endpoint.spec
        declared = declared_dtype(spec.returns)
        array = yield from result_array(results, declared, where=spec.route)
        body: dict[str, Any] = {"model_name": self.name}
        if request.id:
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


def models_of(endpoints: Sequence[Endpoint]) -> dict[str, Model]:
    """Return the endpoints that the protocol can speak to, by their names."""
    return {
        each.spec.name: Model(each, each.codec)
        for each in endpoints
        if isinstance(each, BatchEndpoint) and isinstance(each.codec, ArrayBatchCodec)
    }


def add_protocol(
    app: FastAPI,
    models: Mapping[str, Model],
    *,
    service: LoadedService,
    lifecycle: Lifecycle,
) -> None:
    """Add the protocol's routes to the app, but for inference."""

    @app.get("/v2", tags=[_TAG])
    async def server() -> dict[str, Any]:
        """Describe the server."""
        extensions = ["binary_tensor_data"]
        return {"name": service.name, "version": service.version or "0", "extensions": extensions}

    @app.get("/v2/health/live", tags=[_TAG])
    async def live() -> dict[str, bool]:
        """Answer whenever the event loop runs."""
        return {"live": True}

    @app.get("/v2/health/ready", tags=[_TAG])
    async def ready() -> JSONResponse:
        """Say whether new requests are welcome."""
        return JSONResponse({"ready": lifecycle.ready}, 200 if lifecycle.ready else 503)

    _add_models(app, models, lifecycle)


def add_inference(app: FastAPI, models: Mapping[str, Model], door: Door) -> None:
    """Add the protocol's inference to the app, behind the app's dependencies and the methods'."""
    for model in models.values():
        spec, sent = model.endpoint.spec, _sender(model, door)
        app.router.add_api_route(
            f"/v2/models/{model.name}/infer",
            dependent_handler(spec.name, spec.injected, _answering(model), sent),
            methods=["POST"],
            include_in_schema=False,
            dependencies=spec.dependencies,
            route_class_override=guarded_route(model.endpoint, door, sent),
        )
    Name = Annotated[str, _names(models)]  # noqa: N806  # a type

    @app.post(
        _INFERENCE.path,
        tags=[_TAG],
        responses={**_UNKNOWN, **error_responses()},
        openapi_extra={"requestBody": {"required": True, "content": {"application/json": _BODY}}},
    )
    async def infer(name: Name, request: Request) -> Response:
        """Run a model on a tensor."""
        return _unknown(name, models, request.scope[SCOPE_KEY])  # those that are there come before


def _answering(model: Model) -> Answering:
    async def answer(exchange: Exchange) -> Answer | Streamed:
        try:
            return await model.infer(exchange)
        except Exception as error:  # noqa: BLE001  # every error has an answer
            return model.endpoint.refused(exchange, error)

    return answer


def _sender(model: Model, door: Door) -> Sender:
    """Return what sends an answer, and errors in the protocol's form, and has them counted."""

    async def sent(exchange: Exchange, answer: Answer | Streamed, send: Send) -> None:
        exchange.scope["route"] = _INFERENCE  # in traces, one name for all models
        if isinstance(answer, Streamed):
            await door.stream(exchange, model.endpoint, answer, send)
            return
        answer = door.note(exchange, model.endpoint, answer)
        failed = answer.status >= 400 and answer.body  # noqa: PLR2004  # HTTP's errors
        await send_answer(send, protocol_error(answer) if failed else answer, [])

    return sent


def _names(models: Mapping[str, Model]) -> Any:
    # In the OpenAPI document only: one that is unknown gets an answer of our own.
    return Path(json_schema_extra={"enum": list(models)})


def _add_models(app: FastAPI, models: Mapping[str, Model], lifecycle: Lifecycle) -> None:
    Name = Annotated[str, _names(models)]  # noqa: N806  # a type

    @app.get("/v2/models/{name}", tags=[_TAG], responses=_UNKNOWN)
    async def metadata(name: Name, request: Request) -> Response:
        """Describe a model."""
        return await _answered(request, name, lambda model: model.metadata())

    @app.get("/v2/models/{name}/ready", tags=[_TAG], responses=_UNKNOWN)
    async def model_ready(name: Name, request: Request) -> Response:
        """Say whether a model can be asked."""
        ready = lifecycle.ready
        told = {"name": name, "ready": ready}
        return await _answered(request, name, lambda _: told, 200 if ready else 503)

    async def _answered(
        request: Request, name: str, tell: Callable[[Model], dict[str, Any]], status: int = 200
    ) -> Response:
        model = models.get(name)
        if model is not None:
            return JSONResponse(tell(model), status)
        return _unknown(name, models, request.scope[SCOPE_KEY])


def _unknown(name: str, models: Mapping[str, Model], exchange: Exchange) -> Response:
    there = ", ".join(models)
    message = f"unknown model {name[:100]!r} (there: {there}){nearest(name, list(models))}"
    refusal = RequestError(404, "not_found", message)
    return as_response(refusal.answer(exchange.request_id, exchange.trace_id))


def protocol_error(answer: Answer) -> Answer:
    """Return an error in the protocol's form: with its `error` beside our own keys."""
    error = from_json(answer.body)
    return answer._replace(body=to_json({"error": error["message"], **error}))


def as_response(answer: Answer, *, protocol: bool = True) -> Response:
    """Return an answer; the protocol's errors have its `error` beside our own keys."""
    if protocol and answer.status >= 400 and answer.body:  # noqa: PLR2004  # HTTP's errors
        answer = protocol_error(answer)
    headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in answer.headers}
    return Response(answer.body, answer.status, headers)
