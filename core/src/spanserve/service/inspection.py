"""A service class -> its ServiceSpec; every rule that is broken has its own message."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel

from spanserve.errors import ServiceError
from spanserve.service.aliases import expanded
from spanserve.service.annotations import reading, resolved_hints
from spanserve.service.arguments import Parameter
from spanserve.service.choosing import codec_of, media_of, takes_bytes
from spanserve.service.files.kinds import bare, is_form
from spanserve.service.injected import PATH_PARAMETER, is_injected, of_path
from spanserve.service.options import (
    OPENAI_ROUTES,
    ApiOptions,
    api_parameters,
    check_batch_parameter,
    check_not_operation,
    check_openai,
)
from spanserve.service.spec import (
    DEFAULT_MAX_BATCH_SIZE,
    DEFAULT_MAX_LATENCY_MS,
    DEFAULT_MAX_QUEUE,
    ApiSpec,
    ServiceSpec,
)
from spanserve.service.unsupported import check_default, check_parameter, check_result

API_MARK = "__spanserve_api__"
_NAME = re.compile(r"\w[\w.-]*")


def build_spec(
    cls: type[Any],
    name: str,
    local_names: Mapping[str, Any],
    runner: Mapping[str, Any] | None = None,
) -> ServiceSpec:
    """Read the class. Raises ServiceError; UnresolvedName where an annotation's name is not there.

    `local_names` are those of the function in which the class is defined.
    """
    _check_name(cls, name)
    settings = _settings_parameter(cls, local_names)
    _check_init(cls, settings)
    methods = _marked_methods(cls)
    spec = ServiceSpec(
        name=name,
        cls=cls,
        doc=inspect.cleandoc(cls.__doc__ or ""),
        has_warm_up=_has_method(cls, "warm_up"),
        has_close=_has_method(cls, "close"),
        has_healthy="healthy" not in methods and _has_method(cls, "healthy", returns="bool"),
        has_configure_app=_has_configure_app(cls),
        settings=settings,
        runner=runner or {},
        apis=tuple(
            _api_spec(api_name, method, options, local_names)
            for api_name, (method, options) in methods.items()
        ),
    )
    _check_routes(spec)
    return spec


def _may_retry(options: ApiOptions) -> bool:
    """Whether what a replica ran that died runs again: by default a batch that may run twice."""
    if options.retry is None:
        return options.batch and options.isolate is not False
    return options.retry


def _check_name(cls: type[Any], name: object) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ServiceError(
            f"{cls.__qualname__}: the name {name!r} is no service name; "
            "use letters, digits, '_', '-' and '.'"
        )


def _settings_parameter(cls: type[Any], local_names: Mapping[str, Any]) -> Parameter | None:
    """Return the parameter of `__init__` that is a pydantic model; ServiceError for several."""
    init = inspect.getattr_static(cls, "__init__", None)
    if not inspect.isfunction(init):
        return None
    own = list(inspect.signature(init).parameters.values())[1:]
    if all(each.annotation is inspect.Parameter.empty for each in own):
        return None
    hints = resolved_hints(init, local_names, where=init.__qualname__)
    found = [
        Parameter(each.name, model, each.default)
        for each in own
        if (model := _model_of(hints.get(each.name))) is not None
    ]
    if len(found) > 1:
        names = " and ".join(each.name for each in found)
        raise ServiceError(
            f"{init.__qualname__} takes {names}, which are both pydantic models; "
            "put one into the other: a service has one model of settings"
        )
    return found[0] if found else None


def _model_of(annotation: Any) -> type[BaseModel] | None:
    """Return the pydantic model that an annotation names, alone or beside None."""
    parts = [each for each in get_args(annotation) if each is not type(None)] or [annotation]
    model = expanded(parts[0]) if len(parts) == 1 else None
    return model if isinstance(model, type) and issubclass(model, BaseModel) else None


def _check_init(cls: type[Any], settings: Parameter | None) -> None:
    if inspect.isabstract(cls):
        missing = ", ".join(sorted(cls.__abstractmethods__))
        raise ServiceError(f"{cls.__qualname__} is abstract; define {missing}")
    for parameter in inspect.signature(cls).parameters.values():
        check_default(f"{cls.__qualname__}.__init__", parameter.default, parameter.name)
    needed = [name for name in _needed_arguments(cls) if settings is None or name != settings.name]
    if needed:
        raise ServiceError(
            f"{cls.__qualname__}: __init__ needs {', '.join(needed)}, but a service is made "
            "without arguments; give defaults, or take settings (a parameter that is a pydantic "
            "model)"
        )


def _needed_arguments(callee: Callable[..., Any]) -> list[str]:
    optional = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    return [
        each.name
        for each in inspect.signature(callee).parameters.values()
        if each.default is inspect.Parameter.empty and each.kind not in optional
    ]


def _marked_methods(cls: type[Any]) -> dict[str, tuple[Callable[..., Any], ApiOptions]]:
    methods: dict[str, tuple[Callable[..., Any], ApiOptions]] = {}
    for base in reversed(cls.__mro__):
        for name, member in vars(base).items():
            # A staticmethod or classmethod has the marked function inside.
            options = getattr(getattr(member, "__func__", member), API_MARK, None)
            if isinstance(options, ApiOptions):
                _check_plain_method(base, name, member)
                methods[name] = (member, options)
            elif name in methods:
                raise ServiceError(
                    f"{base.__qualname__}.{name} replaces an @api method without being one; "
                    "add @api, or choose another name"
                )
    if not methods:
        raise ServiceError(f"{cls.__qualname__} has no @api method; write @api above one")
    return methods


def _check_plain_method(base: type[Any], name: str, member: Any) -> None:
    if isinstance(member, staticmethod | classmethod):
        raise ServiceError(
            f"{base.__qualname__}.{name} is a {type(member).__name__}; "
            "an @api method is a method of the instance: def ...(self, ...)"
        )


def _api_spec(
    name: str, method: Callable[..., Any], options: ApiOptions, local_names: Mapping[str, Any]
) -> ApiSpec:
    where = method.__qualname__
    hints = resolved_hints(method, local_names, where=where)
    path = PATH_PARAMETER.findall(options.route or "")
    with reading(where):
        parameters, injected = _parted(method, hints, path)
        _check_path(where, path, injected)
    if options.batch:
        check_batch_parameter(method, parameters)
    returns = hints.get("return", Any)
    streams = inspect.isasyncgenfunction(method) or inspect.isgeneratorfunction(method)
    check_openai(where, options, streams=streams)
    with reading(where):
        for each in parameters:
            if not takes_bytes(each, options):
                in_form = not options.batch and is_form(parameters)
                annotation = bare(each.annotation) if in_form else each.annotation
                check_parameter(where, each.name, annotation, local_names)
        media = media_of(where, parameters, returns, options, streams=streams)
        if media.gives is None:
            check_result(where, returns, local_names, streams=streams)
        if streams:
            returns = next(iter(get_args(expanded(returns))), Any)
    return ApiSpec(
        name=name,
        route=options.route or OPENAI_ROUTES.get(options.openai or "", f"/{name}"),
        openai=options.openai or "",
        doc=inspect.cleandoc(method.__doc__ or ""),
        batch=options.batch,
        max_batch_size=options.max_batch_size or DEFAULT_MAX_BATCH_SIZE,
        max_latency_ms=float(options.max_latency_ms or DEFAULT_MAX_LATENCY_MS),
        max_queue=options.max_queue or DEFAULT_MAX_QUEUE,
        isolate=options.isolate is not False,
        retry=_may_retry(options),
        inline=options.inline,
        threads=options.threads or 1,
        cancel=options.cancel,
        asynchronous=inspect.isasyncgenfunction(method) or inspect.iscoroutinefunction(method),
        streams=streams,
        parameters=parameters,
        injected=injected,
        dependencies=tuple(options.dependencies),
        tags=tuple(options.tags),
        returns=returns,
        media_type=options.media_type or "",
        codec=codec_of(
            where,
            parameters,
            Any if streams else returns,
            batch=options.batch,
            bytes_media=media,
        ),
    )


def _parted(
    method: Callable[..., Any], hints: Mapping[str, Any], path: Sequence[str]
) -> tuple[tuple[Parameter, ...], tuple[Parameter, ...]]:
    """Return the parameters that the body holds, and those that FastAPI resolves."""
    found: tuple[list[Parameter], list[Parameter]] = ([], [])
    for each in api_parameters(method):
        parameter = Parameter(each.name, hints.get(each.name, Any), each.default)
        found[is_injected(*parameter, path)].append(parameter)
    return tuple(found[False]), tuple(found[True])


def _check_path(where: str, path: Sequence[str], injected: Sequence[Parameter]) -> None:
    missing = [name for name in path if name not in {each.name for each in injected}]
    if missing:
        raise ServiceError(
            f"{where}: its route has {{{missing[0]}}}, and the method no such parameter; "
            f"add {missing[0]}: str"
        )
    for each in injected:
        if of_path(each.annotation, each.default) and each.name not in path:
            raise ServiceError(
                f"{where}: parameter {each.name!r} declares Path(), and its route has no "
                f"{{{each.name}}}; write it into route=..."
            )


def _check_routes(spec: ServiceSpec) -> None:
    taken: dict[str, str] = {}
    for each in spec.apis:
        where = f"{spec.cls.__qualname__}.{each.name}"
        check_not_operation(where, each.route)
        if each.route in taken:
            raise ServiceError(
                f"{where}: the route {each.route} is taken by {taken[each.route]}; "
                "choose another with route=..."
            )
        taken[each.route] = each.name


def _has_method(cls: type[Any], name: str, *, returns: str = "None") -> bool:
    member = inspect.getattr_static(cls, name, None)
    if member is None:
        return False
    where = f"{cls.__qualname__}.{name}"
    if not inspect.isfunction(member) or len(_needed_arguments(member)) != 1:
        raise ServiceError(
            f"{where} is called without arguments; write def {name}(self) -> {returns}"
        )
    if inspect.isgeneratorfunction(member) or inspect.isasyncgenfunction(member):
        raise ServiceError(f"{where} yields, and nobody would take that; drop the yield")
    return True


def _has_configure_app(cls: type[Any]) -> bool:
    member = inspect.getattr_static(cls, "configure_app", None)
    if member is None:
        return False
    function: Any = member.__func__ if isinstance(member, classmethod) else None
    if inspect.iscoroutinefunction(function):
        function = None
    if function is None or len(_needed_arguments(function)) != len(("cls", "app")):
        raise ServiceError(
            f"{cls.__qualname__}.configure_app is called with the app, before there is an "
            "instance; write @classmethod and def configure_app(cls, app: FastAPI) -> None"
        )
    return True
