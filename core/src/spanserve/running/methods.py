"""The methods of a service that a host can be asked for, by name."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from spanserve.running.generators import BEGIN, CLOSE, STEP, Generators, Step
from spanserve.running.host import BatchMethod, Methods, PlainMethod
from spanserve.service.codecs.json import CallCodec
from spanserve.service.spec import ApiSpec, ServiceSpec

HEALTHY: Final = "healthy()"
"""The optional method by which a service says whether it is; no endpoint has such a name."""


def methods_of(spec: ServiceSpec) -> Methods:
    """Return all endpoints' methods, and `healthy()` where there is one."""
    methods: dict[str, BatchMethod | PlainMethod] = {}
    generators = Generators()
    for api in spec.apis:
        if api.batch:
            methods[api.name] = BatchMethod(batch_call(spec.cls, api), api.batch_codec)
        else:
            methods[api.name] = PlainMethod(call_of(spec.cls, api), api.plain_codec.private)
        if api.streams and not api.asynchronous:
            begun = generators.begin(call_of(spec.cls, api))
            methods[BEGIN.format(api.name)] = PlainMethod(begun, _as_it_is)
            methods[STEP.format(api.name)] = PlainMethod(
                generators.step, partial(_private_step, api.plain_codec.private)
            )
            methods[CLOSE.format(api.name)] = PlainMethod(generators.close, _as_it_is)
    if spec.has_healthy:
        methods[HEALTHY] = PlainMethod(spec.cls.healthy, _as_it_is)
    return methods


def _as_it_is(answer: Any) -> Any:
    return answer


def _private_step(private: Callable[[Any], Any], step: Step) -> Step:
    """Return a step whose value no code of the user's can reach."""
    return step._replace(value=private(step.value)) if step.has_value else step


def batch_call(cls: type[Any], api: ApiSpec) -> Callable[[Any, Any], Any]:
    """Return a batch method that is called with its batch alone.

    What FastAPI resolved is of one request each, and a batch is of many: the method gets None.
    """
    method: Callable[..., Any] = getattr(cls, api.name)
    nothing = dict.fromkeys(each.name for each in api.injected)
    if len(api.parameters) > 1:  # an array of each
        return lambda instance, arrays: method(instance, **arrays, **nothing)
    if not nothing:
        return method
    batch = api.parameters[0].name
    return lambda instance, items: method(instance, **{batch: items}, **nothing)


def call_of(cls: type[Any], api: ApiSpec) -> Callable[..., Any]:
    """Return a plain method that is called with what its codec decoded."""
    method: Callable[..., Any] = getattr(cls, api.name)
    codec = api.plain_codec
    if type(codec).arguments is CallCodec.arguments:
        return method

    def called(instance: object, /, **values: Any) -> Any:
        return method(instance, **codec.arguments(values))

    async def awaited(instance: object, /, **values: Any) -> Any:
        return await method(instance, **codec.arguments(values))

    return awaited if inspect.iscoroutinefunction(method) else called
