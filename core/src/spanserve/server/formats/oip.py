"""The Open Inference Protocol: `/v2`, so that clients of KServe, Triton and MLServer work.

Each batch endpoint that takes arrays is a model with its method's name. A request's tensor is so
many items as its first axis is long; they are batched with everybody else's.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Annotated, Any, Final

from fastapi import FastAPI, Path, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field
from pydantic_core import from_json, to_json

from spanserve.server.dependencies import Answering, Sender, dependent_handler
from spanserve.server.endpoint import BatchEndpoint, Endpoint
from spanserve.server.formats.oip_model import FIRST_VERSION, Model
from spanserve.server.formats.oip_schema import request_schema, response_schema
from spanserve.server.http.answer import Answer, ErrorBody, RequestError, Streamed
from spanserve.server.http.exchange import SCOPE_KEY, Exchange, Send, send_answer
from spanserve.server.lifecycle import Lifecycle
from spanserve.server.routes import ERRORS, Door, error_responses, guarded_route
from spanserve.service.batches.named_arrays import NamedArraysCodec
from spanserve.service.bundle.load import LoadedService
from spanserve.service.codecs.json import ArrayBatchCodec
from spanserve.service.codecs.problems import nearest

PREFIX: Final = "/v2/"
_INFERENCE: Final = SimpleNamespace(path="/v2/models/{name}/infer")
_TAG: Final = "open inference protocol"
_UNKNOWN: Final[dict[int | str, dict[str, Any]]] = {404: {"description": "No such model"}}


class ProtocolErrorBody(ErrorBody):
    """The body of every error of the protocol's."""

    error: str = Field(description="What went wrong, as the protocol has it: the message")


def models_of(endpoints: Sequence[Endpoint], version: str | None) -> dict[str, Model]:
    """Return the endpoints that the protocol can speak to, by their names."""
    return {
        each.spec.name: Model(each, each.codec, version or FIRST_VERSION)
        for each in endpoints
        if isinstance(each, BatchEndpoint)
        and isinstance(each.codec, ArrayBatchCodec | NamedArraysCodec)
        and each.codec.has_json
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
        for versioned in (False, True):
            versions = f"/versions/{model.version}" if versioned else ""
            app.router.add_api_route(
                f"{PREFIX}models/{model.name}{versions}/infer",
                dependent_handler(
                    spec.name, spec.injected, _answering(model, versioned=versioned), sent
                ),
                methods=["POST"],
                name=f"infer_{spec.name}",
                summary=f"Run {spec.name} on tensors",
                tags=[_TAG],
                dependencies=spec.dependencies,
                response_model=None,
                responses=_responses(model),
                openapi_extra={"requestBody": _content(request_schema(model), required=True)},
                route_class_override=guarded_route(model.endpoint, door, sent),
            )

    # Those that are there come before.
    @app.post(_INFERENCE.path, include_in_schema=False)
    async def infer(name: str, request: Request) -> Response:
        return _unknown(name, models, request.scope[SCOPE_KEY])

    @app.post(f"{PREFIX}models/{{name}}/versions/{{version}}/infer", include_in_schema=False)
    async def infer_version(name: str, version: str, request: Request) -> Response:
        return _unknown(name, models, request.scope[SCOPE_KEY], version)


def _content(schema: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}, **more}


def _responses(model: Model) -> dict[int | str, dict[str, Any]]:
    answered = _content(response_schema(model), description="The output tensor")
    answered["content"]["application/octet-stream"] = {}
    return {200: answered, **error_responses(ERRORS, ProtocolErrorBody)}


def _answering(model: Model, *, versioned: bool) -> Answering:
    async def answer(exchange: Exchange) -> Answer | Streamed:
        try:
            return await model.infer(exchange, versioned=versioned)
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
    get = partial(app.get, tags=[_TAG], responses=_UNKNOWN)

    @get("/v2/models/{name}")
    async def metadata(name: Name, request: Request) -> Response:
        """Describe a model."""
        return answered(request, name, None, lambda model: model.metadata())

    @get("/v2/models/{name}/versions/{version}")
    async def version_metadata(name: Name, version: str, request: Request) -> Response:
        """Describe a version of a model."""
        return answered(request, name, version, lambda model: model.metadata())

    @get("/v2/models/{name}/ready")
    async def model_ready(name: Name, request: Request) -> Response:
        """Say whether a model can be asked."""
        return readiness(request, name, None)

    @get("/v2/models/{name}/versions/{version}/ready")
    async def version_ready(name: Name, version: str, request: Request) -> Response:
        """Say whether a version of a model can be asked."""
        return readiness(request, name, version)

    def readiness(request: Request, name: str, version: str | None) -> Response:
        ready = lifecycle.ready
        told = {"name": name, "ready": ready}
        return answered(request, name, version, lambda _: told, 200 if ready else 503)

    def answered(
        request: Request,
        name: str,
        version: str | None,
        tell: Callable[[Model], dict[str, Any]],
        status: int = 200,
    ) -> Response:
        model = models.get(name)
        if model is not None and version in {None, model.version}:
            return JSONResponse(tell(model), status)
        return _unknown(name, models, request.scope[SCOPE_KEY], version)


def _unknown(
    name: str, models: Mapping[str, Model], exchange: Exchange, version: str | None = None
) -> Response:
    model, there = models.get(name), ", ".join(models)
    message = f"unknown model {name[:100]!r} (there: {there}){nearest(name, list(models))}"
    if model is not None:
        message = f"{name} has no version {(version or '')[:100]!r} (there: {model.version})"
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
