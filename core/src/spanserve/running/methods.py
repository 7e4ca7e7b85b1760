"""The methods of a service that a host can be asked for, by name."""

from collections.abc import Callable
from typing import Any, Final

from spanserve.running.host import BatchMethod, Methods, PlainMethod
from spanserve.service.spec import ApiSpec, ServiceSpec

HEALTHY: Final = "healthy()"
"""The optional method by which a service says whether it is; no endpoint has such a name."""


def methods_of(spec: ServiceSpec) -> Methods:
    """Return all endpoints' methods, and `healthy()` where there is one."""
    methods: dict[str, BatchMethod | PlainMethod] = {}
    for api in spec.apis:
        if api.batch:
            methods[api.name] = BatchMethod(batch_call(spec.cls, api), api.batch_codec)
        else:
            methods[api.name] = PlainMethod(getattr(spec.cls, api.name), api.plain_codec.private)
    if spec.has_healthy:
        methods[HEALTHY] = PlainMethod(spec.cls.healthy, lambda answer: answer)
    return methods


def batch_call(cls: type[Any], api: ApiSpec) -> Callable[[Any, Any], Any]:
    """Return a batch method that is called with its batch alone.

    What FastAPI resolved is of one request each, and a batch is of many: the method gets None.
    """
    method: Callable[..., Any] = getattr(cls, api.name)
    if not api.injected:
        return method
    batch = api.parameters[0].name
    nothing = dict.fromkeys(each.name for each in api.injected)
    return lambda instance, items: method(instance, **{batch: items}, **nothing)
