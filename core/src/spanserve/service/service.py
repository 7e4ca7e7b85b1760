"""`@service` and `@api`: what the ML engineer writes."""

import sys
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any, Literal, NamedTuple, TypeGuard, TypeVar, overload

from spanserve.errors import ServiceError
from spanserve.service.annotations import UnresolvedName
from spanserve.service.inspection import API_MARK, build_spec
from spanserve.service.options import ApiOptions, check_api
from spanserve.service.spec import ServiceSpec

SERVICE_MARK = "__spanserve_service__"

Class = TypeVar("Class", bound=type[Any])
Method = TypeVar("Method", bound=Callable[..., Any])


class _Unread(NamedTuple):
    """A service whose annotations name what its module defines further down."""

    name: str
    runner: Mapping[str, Any]


@overload
def service(cls: Class, /) -> Class: ...


@overload
def service(
    *, name: str | None = None, runner: str | Mapping[str, Any] | None = None
) -> Callable[[Class], Class]: ...


def service(
    cls: Any = None,
    /,
    *,
    name: str | None = None,
    runner: str | Mapping[str, Any] | None = None,
) -> Any:
    """Make a class a service: `@service`, or `@service(name="digits")` for a name of its own.

    `runner` says where it runs, where the configuration does not: `runner="process"`, or
    `runner={"type": "process", "replicas": 2}`.

    The class must have an `@api` method and be made without arguments; it may have
    `warm_up()`, `close()`, `healthy()` and the class method `configure_app(app)`. It stays as
    it is otherwise, and can be used without a server. Raises ServiceError.
    """
    # Annotations may name what the enclosing function defines.
    local_names = _local_names(sys._getframe(1))  # noqa: SLF001 - documented, for this
    own = _runner(runner)
    if cls is None:
        return lambda decorated: _marked(decorated, name, local_names, own)
    return _marked(cls, name, local_names, own)


@overload
def api(method: Method, /) -> Method: ...


@overload
def api(
    *,
    batch: bool = False,
    max_batch_size: int | None = None,
    max_latency_ms: float | None = None,
    max_queue: int | None = None,
    isolate: bool | None = None,
    retry: bool | None = None,
    route: str | None = None,
    inline: bool = False,
    threads: int | None = None,
    cancel: bool = False,
    dependencies: Sequence[Any] = (),
    tags: Sequence[str] = (),
    accepts: Sequence[str] | None = None,
    media_type: str | None = None,
    openai: Literal["embeddings", "chat"] | None = None,
) -> Callable[[Method], Method]: ...


def api(
    method: Any = None,
    /,
    *,
    batch: bool = False,
    max_batch_size: int | None = None,
    max_latency_ms: float | None = None,
    max_queue: int | None = None,
    isolate: bool | None = None,
    retry: bool | None = None,
    route: str | None = None,
    inline: bool = False,
    threads: int | None = None,
    cancel: bool = False,
    dependencies: Sequence[Any] = (),
    tags: Sequence[str] = (),
    accepts: Sequence[str] | None = None,
    media_type: str | None = None,
    openai: Literal["embeddings", "chat"] | None = None,
) -> Any:
    """Serve a method of a service as `POST /<its name>`, or `POST route`.

    With `batch=True` the method takes one parameter, many items at once: an array with one
    row per item (`Annotated[np.ndarray, Array(dtype, item_shape)]`), a `list[Item]` or a data frame
    (`Annotated[pd.DataFrame, Item]`); or several arrays, by whose names an item has them. It
    returns one entry per item, in order. `max_batch_size` (32) bounds the items of one call;
    `max_latency_ms` (50) is the target for queue + run; `max_queue` (1000) is how many items
    may wait before requests are refused. A call that raises is repeated with fewer items to find
    the one at fault, unless `isolate=False`: for a method that must not run twice. What a process
    ran that died runs again, once, with `retry=True`, as a batch does by default, item by item.
    `inline=True` runs a method of microseconds on the event loop. A plain sync method may run
    on `threads` (1) threads. An async method goes on to its end though its client left, and with
    `cancel=True` it is cancelled then.

    Parameters that FastAPI knows, such as `Annotated[User, Depends(user)]`, `Header()` and
    `Request`, are resolved by it for each request, before its item is queued; a plain method gets
    them beside the body's values, a batch method gets its batch alone, and None for each of them.
    `dependencies` and `tags` are as in FastAPI's routes, and `route` may have parameters in braces.

    A parameter of `bytes` is the whole body, and so is an item of `list[bytes]`; `accepts` names
    its media types, as `("image/png", "image/jpeg")`. `bytes` that are returned are a `media_type`.
    Parameters of which one is an `UploadFile`, or bytes beside others, are the parts of a form
    (`multipart/form-data`). A plain method may return a `Response`, and one that yields, async or
    not, streams its answer.

    `openai="embeddings"` serves a batch method of texts as `/v1/embeddings`, `openai="chat"` a
    generator of texts as `/v1/chat/completions`, in OpenAI's form.

    The method itself is returned unchanged. Raises ServiceError.
    """
    options = ApiOptions(
        batch=batch,
        max_batch_size=max_batch_size,
        max_latency_ms=max_latency_ms,
        max_queue=max_queue,
        isolate=isolate,
        retry=retry,
        route=route,
        inline=inline,
        threads=threads,
        cancel=cancel,
        dependencies=dependencies,
        tags=tags,
        accepts=accepts,
        media_type=media_type,
        openai=openai,
    )

    def mark(decorated: Method) -> Method:
        check_api(decorated, options)
        setattr(decorated, API_MARK, options)
        return decorated

    return mark if method is None else mark(method)


def is_service(thing: object) -> TypeGuard[type[Any]]:
    """Whether it is a class with `@service` of its own (a base class's does not count)."""
    return isinstance(thing, type) and SERVICE_MARK in vars(thing)


def service_spec(cls: type[Any]) -> ServiceSpec:
    """What the service says; raises ServiceError where the class is none, or breaks a rule."""
    if not is_service(cls):
        raise ServiceError(
            f"{getattr(cls, '__qualname__', repr(cls))} is no service; write @service above it"
        )
    mark = vars(cls)[SERVICE_MARK]
    if isinstance(mark, _Unread):
        mark = build_spec(cls, mark.name, {}, mark.runner)
        setattr(cls, SERVICE_MARK, mark)
    if not isinstance(mark, ServiceSpec):
        raise ServiceError(f"{cls.__qualname__} uses the reserved name {SERVICE_MARK}; rename it")
    return mark


def _runner(runner: str | Mapping[str, Any] | None) -> Mapping[str, Any]:
    if isinstance(runner, str):
        return {"type": runner}
    if runner is None:
        return {}
    said: object = runner  # whatever the annotation says
    if not isinstance(said, Mapping) or not isinstance(said.get("type"), str):
        raise ServiceError(
            f"@service(runner={runner!r}): give a runner's name, or its settings with its type, "
            'as {"type": "process", "replicas": 2}'
        )
    return dict(runner)


def _marked(
    cls: Any, name: str | None, local_names: Mapping[str, Any], runner: Mapping[str, Any]
) -> Any:
    if not isinstance(cls, type):
        raise ServiceError(f"@service is on {cls!r}, which is no class; write it above a class")
    chosen = cls.__name__ if name is None else name
    mark: ServiceSpec | _Unread
    try:
        mark = build_spec(cls, chosen, local_names, runner)
    except UnresolvedName:
        if local_names:
            raise
        mark = _Unread(chosen, runner)
    setattr(cls, SERVICE_MARK, mark)
    return cls


def _local_names(frame: FrameType) -> Mapping[str, Any]:
    return {} if frame.f_locals is frame.f_globals else dict(frame.f_locals)
