"""What `@api` was told, checked at once: options against each other and against the method."""

import inspect
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from spanserve.errors import ServiceError
from spanserve.service.annotations import array_of
from spanserve.service.arguments import Parameter
from spanserve.service.injected import is_marker
from spanserve.service.spec import OPERATION_ROUTES
from spanserve.service.unsupported import check_default

_SEGMENT = r"/(?:[A-Za-z0-9_.~!$&'()*+,;=:@-]+|\{[A-Za-z_][A-Za-z0-9_]*\})"
_ROUTE = re.compile(f"({_SEGMENT})+")
_WORD = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*"
_MEDIA_TYPE = re.compile(rf"{_WORD}/{_WORD}(; ?[A-Za-z-]+=[A-Za-z0-9_.-]+)?")
_MEDIA_RANGE = re.compile(rf"{_WORD}/(\*|{_WORD})|\*/\*")
OPENAI_ROUTES = {"embeddings": "/v1/embeddings", "chat": "/v1/chat/completions"}
"""The routes of OpenAI's shapes, unless a method says another one."""

_BATCH_OPTIONS = ("max_batch_size", "max_latency_ms", "max_queue", "isolate")
_BY_POSITION = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
_VARIADIC = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiOptions:
    """The options of one `@api`; None is an option that was not given."""

    batch: bool = False
    max_batch_size: int | None = None
    max_latency_ms: float | None = None
    max_queue: int | None = None
    isolate: bool | None = None
    retry: bool | None = None
    route: str | None = None
    inline: bool = False
    threads: int | None = None
    cancel: bool = False
    dependencies: Sequence[Any] = ()
    tags: Sequence[str] = ()
    accepts: Sequence[str] | None = None
    media_type: str | None = None
    openai: str | None = None


def check_api(method: Any, options: ApiOptions) -> None:
    """Raise ServiceError where the options or the method's signature cannot work."""
    if not inspect.isfunction(method):
        raise ServiceError(
            f"@api is on {_named(method)}, which is no plain method; "
            "write @api on a method of the service's instance, nearest to its def"
        )
    where = method.__qualname__
    _check_numbers(where, options)
    _check_route(where, options.route)
    _check_kind(where, method, options)
    _check_signature(where, method)
    _check_dependencies(where, options)
    _check_media(where, options)


def api_parameters(method: Callable[..., Any]) -> list[inspect.Parameter]:
    """The method's parameters without its `self`."""
    return list(inspect.signature(method).parameters.values())[1:]


def _check_numbers(where: str, options: ApiOptions) -> None:
    given = ["batch", "inline", "cancel", *(["isolate"] if options.isolate is not None else [])]
    for name in given:
        if not isinstance(getattr(options, name), bool):
            raise ServiceError(f"{where}: {name} is {getattr(options, name)!r}; give True or False")
    for name in ("max_batch_size", "max_queue", "threads"):
        value = getattr(options, name)
        if value is not None and not (_is_number(value, int) and value >= 1):
            raise ServiceError(f"{where}: {name} is {value!r}; give a whole number of at least 1")
    latency_ms = options.max_latency_ms
    if latency_ms is not None and not (_is_number(latency_ms, int | float) and latency_ms > 0):
        raise ServiceError(f"{where}: max_latency_ms is {latency_ms!r}; give a number above 0")


def _is_number(value: object, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value)


def _check_route(where: str, route: object) -> None:
    if route is None:
        return
    if not isinstance(route, str) or not _ROUTE.fullmatch(route):
        raise ServiceError(
            f"{where}: route is {route!r}; give a path such as '/v1/predict' or "
            "'/v1/{name}/predict' (it begins with '/', and has no trailing '/')"
        )
    check_not_operation(where, route)


def check_not_operation(where: str, route: str) -> None:
    """Raise ServiceError where the server itself answers on this route."""
    if route in OPERATION_ROUTES:
        raise ServiceError(
            f"{where}: the route {route} is the server's own "
            f"({', '.join(sorted(OPERATION_ROUTES))}); choose another with route=..."
        )


def _check_kind(where: str, method: Callable[..., Any], options: ApiOptions) -> None:
    streams = inspect.isasyncgenfunction(method)
    if options.batch and (streams or inspect.isgeneratorfunction(method)):
        raise ServiceError(
            f"{where} yields; to stream an answer write a generator without batch=True"
        )
    asynchronous = streams or inspect.iscoroutinefunction(method)
    if options.retry and (streams or options.isolate is False):
        why = "an answer that streams" if streams else "with isolate=False a batch"
        raise ServiceError(f"{where}: {why} never runs twice; drop retry=True")
    if options.cancel and not asynchronous:
        raise ServiceError(
            f"{where}: cancel is for async methods, a call on a thread cannot be ended; "
            "drop cancel or write async def"
        )
    if options.batch:
        _check_batch(where, options, asynchronous=asynchronous)
        return
    given = [name for name in _BATCH_OPTIONS if getattr(options, name) is not None]
    given += ["inline"] if options.inline else []
    if given:
        raise ServiceError(f"{where}: {', '.join(given)} is for batches; add batch=True or drop it")
    if asynchronous and options.threads is not None:
        raise ServiceError(
            f"{where}: threads is for sync methods, an async one runs on the event loop; "
            "drop threads or write a plain def"
        )


def _check_batch(where: str, options: ApiOptions, *, asynchronous: bool) -> None:
    if asynchronous:
        raise ServiceError(
            f"{where} is async, but a batch method runs on the model's thread; "
            "write a plain def, or drop batch=True"
        )
    if options.threads is not None:
        raise ServiceError(
            f"{where}: threads is for plain methods, batches run one after the other; drop it"
        )


def check_openai(where: str, options: ApiOptions, *, streams: bool) -> None:
    """Raise ServiceError where a method cannot answer in OpenAI's shape."""
    if options.openai is None:
        return
    if options.openai not in OPENAI_ROUTES:
        there = " or ".join(map(repr, OPENAI_ROUTES))
        raise ServiceError(f"{where}: openai is {options.openai!r}; write {there}")
    if options.openai == "chat" and not streams:
        raise ServiceError(f"{where}: a chat is a generator, that yields texts; write yield")
    if options.openai == "embeddings" and not options.batch:
        raise ServiceError(f"{where}: embeddings are a batch of texts; add batch=True")


def _check_media(where: str, options: ApiOptions) -> None:
    accepts: Any = options.accepts
    gives: Any = options.media_type
    if accepts is not None and (isinstance(accepts, str) or not accepts):
        raise ServiceError(
            f"{where}: accepts is {accepts!r}; give a list of media types, as ('image/png',)"
        )
    for each in accepts or ():
        if not isinstance(each, str) or not _MEDIA_RANGE.fullmatch(each):
            raise ServiceError(
                f"{where}: accepts has {each!r}, which is no media type; write image/png or image/*"
            )
    if gives is not None and (not isinstance(gives, str) or not _MEDIA_TYPE.fullmatch(gives)):
        raise ServiceError(f"{where}: media_type is {gives!r}; write a media type, as image/png")


def _check_dependencies(where: str, options: ApiOptions) -> None:
    for name in ("dependencies", "tags"):
        value = getattr(options, name)
        if not isinstance(value, list | tuple):
            raise ServiceError(f"{where}: {name} is {value!r}; give a list")
    for each in options.dependencies:
        if not is_marker(each):
            raise ServiceError(
                f"{where}: {each!r} is no dependency; write dependencies=[Depends(...)]"
            )
    for tag in options.tags:
        if not isinstance(tag, str):
            raise ServiceError(f"{where}: {tag!r} is no tag; give texts")


def _check_signature(where: str, method: Callable[..., Any]) -> None:
    own = list(inspect.signature(method).parameters.values())
    if not own or own[0].kind not in _BY_POSITION:
        raise ServiceError(f"{where} has no self; write def {method.__name__}(self, ...)")
    for parameter in own[1:]:
        _check_parameter(where, parameter)


def _check_parameter(where: str, parameter: inspect.Parameter) -> None:
    if parameter.kind in _VARIADIC:
        raise ServiceError(
            f"{where} takes {_VARIADIC[parameter.kind]}{parameter.name}; "
            "name each parameter, so that requests can be validated"
        )
    if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
        raise ServiceError(f"{where}: {parameter.name!r} is positional-only; drop the '/'")
    if is_marker(parameter.default):
        return  # FastAPI's: it needs no type
    check_default(where, parameter.default, parameter.name)
    if parameter.annotation is inspect.Parameter.empty:
        raise ServiceError(
            f"{where}: parameter {parameter.name!r} has no annotation; "
            "say its type, so that requests can be validated"
        )


def check_batch_parameter(method: Callable[..., Any], parameters: Sequence[Parameter]) -> None:
    """Raise ServiceError unless the body's parameters are the batch: one, or arrays by name."""
    where = method.__qualname__
    are_arrays = all(array_of(each.annotation) is not None for each in parameters)
    if not parameters or (len(parameters) > 1 and not are_arrays):
        there = ", ".join(each.name for each in parameters) or "none"
        raise ServiceError(
            f"{where}: a batch method takes exactly one parameter, the batch, or several arrays "
            f"(there: {there}); put what belongs to one item into a model: list[Item]"
        )
    for each in parameters:
        if not each.required:
            raise ServiceError(f"{where}: the batch is always given; drop the default")
        kind = inspect.signature(method).parameters[each.name].kind
        if len(parameters) == 1 and kind is inspect.Parameter.KEYWORD_ONLY:
            raise ServiceError(f"{where}: {each.name!r} is keyword-only; drop the '*'")


def _named(thing: Any) -> str:
    return getattr(thing, "__qualname__", None) or f"a {type(thing).__name__}"
