"""What `@service` and `@api` accept, refuse and say."""

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from types import FunctionType
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pytest
from pydantic import BaseModel

from spanserve.errors import ServiceError
from spanserve.service.arguments import Parameter
from spanserve.service.codecs.array import Array
from spanserve.service.codecs.json import ArrayBatchCodec, ListBatchCodec, PlainCodec
from spanserve.service.service import api, is_service, service, service_spec
from spanserve.service.spec import OPERATION_ROUTES, ApiSpec

Images = Annotated[np.ndarray, Array("float32", (64,))]


@service
class Digits:
    """Reads digits."""

    @api(batch=True, max_batch_size=64, max_latency_ms=20, inline=True)
    def predict(self, images: Images) -> npt.NDArray[np.int64]:
        """One digit for each image."""
        digits: npt.NDArray[np.int64] = images.argmax(axis=1)
        return digits

    @api
    async def describe(self) -> dict[str, str]:
        return {}

    @api(route="/v1/add", threads=4)
    def add(self, left: int, right: int = 2) -> int:
        return left + right

    def helper(self) -> None: ...


@service(name="later")
class Later:
    @api(batch=True)
    def predict(self, items: "list[DefinedBelow]") -> "list[DefinedBelow]":
        return items

    @classmethod
    def configure_app(cls, app: Any) -> None: ...

    def warm_up(self) -> None: ...

    def close(self) -> None: ...


class DefinedBelow(BaseModel):
    x: int


def refusal(define: Callable[[], object]) -> str:
    """The message with which a service is refused."""
    with pytest.raises(ServiceError) as caught:
        define()
    return str(caught.value)


def test_a_service_is_read_whole() -> None:
    spec = service_spec(Digits)
    predict, describe, add = spec.apis
    assert (spec.name, spec.cls, spec.doc) == ("Digits", Digits, "Reads digits.")
    assert (spec.has_warm_up, spec.has_close, spec.has_configure_app) == (False, False, False)
    assert predict == ApiSpec(
        name="predict",
        route="/predict",
        doc="One digit for each image.",
        batch=True,
        max_batch_size=64,
        max_latency_ms=20.0,
        max_queue=1000,
        isolate=True,
        retry=True,
        inline=True,
        threads=1,
        cancel=False,
        asynchronous=False,
        streams=False,
        parameters=(Parameter("images", Images),),
        injected=(),
        dependencies=(),
        tags=(),
        returns=npt.NDArray[np.int64],
        media_type="",
        openai="",
        codec=predict.codec,
    )
    assert isinstance(predict.codec, ArrayBatchCodec)
    assert predict.batch_codec.body_parameters == (Parameter("images", Images),)
    assert (describe.asynchronous, describe.parameters, describe.codec.response_annotation) == (
        True,
        (),
        dict[str, str],
    )
    assert isinstance(describe.codec, PlainCodec)
    assert (add.route, add.threads, add.parameters) == (
        "/v1/add",
        4,
        (Parameter("left", int), Parameter("right", int, 2)),
    )
    assert add.plain_codec.decode(b'{"left": 1}') == {"left": 1}


def test_the_class_stays_as_it_was() -> None:
    assert Digits().add(1) == 3
    assert Digits().predict(np.eye(64, dtype="float32")).tolist() == list(range(64))
    assert inspect.isfunction(Digits.add)


def test_annotations_may_name_what_the_module_defines_later() -> None:
    spec = service_spec(Later)
    assert spec is service_spec(Later)
    assert (spec.name, spec.has_warm_up, spec.has_close, spec.has_configure_app) == (
        "later",
        True,
        True,
        True,
    )
    assert spec.apis[0].codec.body_parameters == (Parameter("items", DefinedBelow),)
    assert spec.apis[0].batch_codec.decode(b'{"x": 1}') == DefinedBelow(x=1)


def test_annotations_may_name_what_the_enclosing_function_defines() -> None:
    class Local(BaseModel):
        x: int

    @service
    class Bare:
        @api(batch=True)
        def predict(self, items: "list[Local]") -> "list[Local]":
            return items

    @service(name="named")
    class Named:
        @api
        def predict(self, item: "Local") -> "Local":
            return item

    assert service_spec(Bare).apis[0].codec.body_parameters == (Parameter("items", Local),)
    assert service_spec(Named).apis[0].codec.response_annotation is Local


@pytest.mark.parametrize(
    ("annotation", "array"),
    [
        (np.ndarray, Array("float64")),
        (npt.NDArray[np.float32], Array("float32")),
        (npt.NDArray[Any], Array("float64")),
        (Annotated[npt.NDArray[np.float32], Array("int8", (2,))], Array("int8", (2,))),
    ],
)
def test_array_annotations_are_recognised(annotation: Any, array: Array) -> None:
    @service
    class Model:
        @api(batch=True)
        def predict(self, batch: annotation) -> list[int]:
            return [0 for _ in batch]

    ((_, found, _),) = service_spec(Model).apis[0].codec.body_parameters
    assert found == Annotated[np.ndarray, array]


def test_a_bare_list_holds_anything() -> None:
    @service
    class Model:
        @api(batch=True)
        def predict(self, items: list) -> list:  # type: ignore[type-arg]  # this is the case
            return items

    codec = service_spec(Model).apis[0].codec
    assert isinstance(codec, ListBatchCodec)
    assert codec.decode(b'{"a": [1]}') == {"a": [1]}


def test_a_derived_service_has_the_methods_of_its_base() -> None:
    class Base:
        @api
        def first(self) -> int:
            return 1

        @api
        def second(self) -> int:
            return 2

    @service
    class Derived(Base):
        @api(route="/two")
        def second(self) -> int:
            return 22

    class Undecorated(Derived): ...

    assert [(each.name, each.route) for each in service_spec(Derived).apis] == [
        ("first", "/first"),
        ("second", "/two"),
    ]
    assert (is_service(Derived), is_service(Base), is_service(Undecorated)) == (True, False, False)
    assert refusal(lambda: service_spec(Undecorated)).endswith(
        "Undecorated is no service; write @service above it"
    )


def plain_api(**options: Any) -> None:
    @api(**options)
    def predict(self: Any, x: int) -> None: ...


def batch_api(**options: Any) -> None:
    @api(batch=True, **options)
    def predict(self: Any, xs: list[int]) -> None: ...


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 1}, "batch is 1; give True or False"),
        ({"batch": True, "max_batch_size": 0}, "max_batch_size is 0; give a whole number of at"),
        ({"batch": True, "max_batch_size": True}, "max_batch_size is True; give a whole number"),
        ({"batch": True, "max_batch_size": 1.5}, "max_batch_size is 1.5; give a whole number"),
        ({"batch": True, "max_queue": "9"}, "max_queue is '9'; give a whole number of at least 1"),
        ({"batch": True, "max_latency_ms": 0}, "max_latency_ms is 0; give a number above 0"),
        ({"batch": True, "max_latency_ms": float("nan")}, "max_latency_ms is nan; give a number"),
        ({"batch": True, "max_latency_ms": float("inf")}, "max_latency_ms is inf; give a number"),
        ({"batch": True, "max_latency_ms": True}, "max_latency_ms is True; give a number above 0"),
        ({"batch": True, "inline": None}, "inline is None; give True or False"),
        ({"batch": True, "threads": 2}, "threads is for plain methods, batches run one after"),
        ({"threads": 0}, "threads is 0; give a whole number of at least 1"),
        ({"max_batch_size": 8}, "max_batch_size is for batches; add batch=True or drop it"),
        ({"max_queue": 8, "inline": True}, "max_queue, inline is for batches; add batch=True"),
        ({"route": "predict"}, "route is 'predict'; give a path such as '/v1/predict'"),
        ({"route": "/"}, "route is '/'; give a path"),
        ({"route": "/a/"}, "route is '/a/'; give a path"),
        ({"route": "/a/{x:path}"}, "route is '/a/{x:path}'; give a path"),
        ({"dependencies": [print]}, "<built-in function print> is no dependency"),
        ({"tags": "one"}, "tags is 'one'; give a list"),
        ({"route": "/a?b"}, "route is '/a?b'; give a path"),
        ({"route": 3}, "route is 3; give a path"),
    ],
)
def test_wrong_options_are_refused_at_the_method(options: dict[str, Any], message: str) -> None:
    batch = options.get("batch") is True
    given = {name: value for name, value in options.items() if not (batch and name == "batch")}
    text = refusal(lambda: (batch_api if batch else plain_api)(**given))
    assert text.startswith(f"{'batch' if batch else 'plain'}_api.<locals>.predict: {message}")


@pytest.mark.parametrize("route", sorted(OPERATION_ROUTES))
def test_the_servers_own_routes_are_refused(route: str) -> None:
    assert f"the route {route} is the server's own" in refusal(lambda: plain_api(route=route))


def test_a_methods_name_may_not_make_an_operations_route() -> None:
    def define() -> None:
        @service
        class Model:
            @api
            def metrics(self) -> None: ...

    assert "Model.metrics: the route /metrics is the server's own" in refusal(define)


def test_two_methods_may_not_share_a_route() -> None:
    def define() -> None:
        @service
        class Model:
            @api
            def one(self) -> None: ...

            @api(route="/one")
            def two(self) -> None: ...

    assert refusal(define).endswith(
        "Model.two: the route /one is taken by one; choose another with route=..."
    )


def no_self() -> None: ...


def untyped(self: Any, x) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001 - this is the case


def variadic(self: Any, *xs: int) -> None: ...


def keywords(self: Any, **xs: int) -> None: ...


def positional(self: Any, x: int, /) -> None: ...


def generator(self: Any) -> Iterator[Any]:
    yield self


async def async_generator(self: Any) -> AsyncIterator[Any]:
    yield self


async def asynchronous(self: Any, xs: list[int]) -> None: ...


def two(self: Any, xs: list[int], ys: list[int]) -> None: ...


def defaulted(self: Any, xs: list[int] | None = None) -> None: ...


def keyword_only(self: Any, *, xs: list[int]) -> None: ...


def unmarked(method: Any) -> Any:
    """Return a copy of a function, which other tests use without a mark."""
    if not isinstance(method, FunctionType):
        return method
    copy = FunctionType(method.__code__, method.__globals__, method.__name__, method.__defaults__)
    copy.__kwdefaults__ = method.__kwdefaults__
    copy.__annotations__ = method.__annotations__
    return copy


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (no_self, {}, "no_self has no self; write def no_self(self, ...)"),
        (untyped, {}, "untyped: parameter 'x' has no annotation; say its type"),
        (variadic, {}, "variadic takes *xs; name each parameter"),
        (keywords, {}, "keywords takes **xs; name each parameter"),
        (positional, {}, "positional: 'x' is positional-only; drop the '/'"),
        (async_generator, {"batch": True}, "async_generator yields; to stream an answer write"),
        (asynchronous, {"threads": 2}, "asynchronous: threads is for sync methods"),
        (asynchronous, {"batch": True}, "asynchronous is async, but a batch method runs on the"),
        (two, {"batch": True}, "two: a batch method takes exactly one parameter, the batch, or"),
        (generator, {"batch": True}, "generator yields"),
        (defaulted, {"batch": True}, "defaulted: the batch is always given; drop the default"),
        (keyword_only, {"batch": True}, "keyword_only: 'xs' is keyword-only; drop the '*'"),
        (staticmethod(no_self), {}, "@api is on no_self, which is no plain method"),
        (3, {}, "@api is on a int, which is no plain method"),
    ],
)  # fmt: skip
def test_wrong_methods_are_refused(method: Any, options: dict[str, Any], message: str) -> None:
    def define() -> None:
        service(type("Wrong", (), {"method": api(**options)(unmarked(method))}))

    assert refusal(define).startswith(message)


def test_wrong_classes_are_refused() -> None:
    class Empty: ...

    class Demanding:
        def __init__(self, path: str, *rest: str, size: int = 1) -> None: ...

        @api
        def predict(self) -> None: ...

    class Static:
        @staticmethod
        @api
        def predict(self: Any) -> None: ...  # noqa: PLW0211 - this is the case

    class Base:
        @api
        def predict(self) -> None: ...

    class Replacing(Base):
        def predict(self) -> None: ...

    here = "test_wrong_classes_are_refused.<locals>."
    for cls, message in {
        Empty: "Empty has no @api method; write @api above one",
        Demanding: "Demanding: __init__ needs path, but a service is made without arguments; "
        "give defaults, or take settings (a parameter that is a pydantic model)",
        Static: "Static.predict is a staticmethod; an @api method is a method of the instance: "
        "def ...(self, ...)",
        Replacing: "Replacing.predict replaces an @api method without being one; "
        "add @api, or choose another name",
    }.items():
        assert refusal(functools.partial(service, cls)) == here + message
    assert refusal(lambda: service(name="a b")(Base)).startswith(
        f"{here}Base: the name 'a b' is no service name"
    )
    misused: Any = no_self
    assert "which is no class" in refusal(lambda: service(misused))


CLASS_NO_SELF: Any = no_self


def with_member(name: str, member: Any) -> type[Any]:
    @api
    def predict(self: Any) -> None: ...

    return type("Model", (), {"predict": predict, name: member})


@pytest.mark.parametrize(
    ("name", "member", "message"),
    [
        ("warm_up", positional, "Model.warm_up is called without arguments; write def warm_up(se"),
        ("warm_up", 3, "Model.warm_up is called without arguments"),
        ("close", positional, "Model.close is called without arguments; write def close(self)"),
        ("configure_app", positional, "Model.configure_app is called with the app, before there "),
        ("configure_app", classmethod(CLASS_NO_SELF), "Model.configure_app is called with the app"),
        ("configure_app", classmethod(two), "Model.configure_app is called with the app"),
    ],
)
def test_optional_methods_of_the_wrong_form_are_refused(
    name: str, member: Any, message: str
) -> None:
    assert refusal(lambda: service(with_member(name, member))).startswith(message)


@pytest.mark.parametrize("name", ["warm_up", "close", "healthy"])
def test_optional_methods_may_be_async_but_not_yield(name: str) -> None:
    async def awaited(self: Any) -> None: ...

    async def yields(self: Any) -> AsyncIterator[Any]:
        yield self

    spec = service_spec(service(with_member(name, awaited)))
    assert getattr(spec, f"has_{name}")
    why = f"Model.{name} yields, and nobody would take that; drop the yield"
    assert refusal(lambda: service(with_member(name, yields))) == why


def test_cancel_is_for_async_methods() -> None:
    @api(cancel=True)
    async def waits(self: Any) -> None: ...

    assert service_spec(service(with_member("waits", waits))).apis[-1].cancel
    for batch in (True, False):

        def method(self: Any, numbers: list[int]) -> list[int]:
            return [*numbers, self]

        assert refusal(lambda: api(cancel=True, batch=batch)(method)).endswith(  # noqa: B023  # called at once
            "cancel is for async methods, a call on a thread cannot be ended; drop cancel or write "
            "async def"
        )


def test_an_endpoint_with_the_name_healthy_is_an_endpoint() -> None:
    @api
    def healthy(self: Any) -> str:
        return str(self)

    assert not service_spec(service(with_member("healthy", healthy))).has_healthy


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ("Missing", "an annotation names 'Missing', which is not defined; import it or define it"),
        ("list[Missing]", "an annotation names 'Missing', which is not defined"),
        ("list[", "an annotation cannot be read: "),
        (int, "the batch 'batch' is int; use list[Item] or Annotated[np.ndarray, Array("),
        (dict[str, int], "the batch 'batch' is dict[str, int]; use list[Item]"),
        (list[Iterator], "parameter 'batch': "),  # type: ignore[type-arg]  # any will do
    ],
)
def test_a_batch_of_the_wrong_type_is_refused(annotation: Any, message: str) -> None:
    def define() -> None:
        @service
        class Model:
            @api(batch=True)
            def predict(self, batch: annotation) -> None: ...

    assert f"Model.predict: {message}" in refusal(define)


def test_a_plain_parameter_without_a_schema_is_refused() -> None:
    class Opaque: ...

    def define() -> None:
        @service
        class Model:
            @api
            def predict(self, x: int, y: Opaque) -> None: ...

    message = refusal(define)
    assert "Model.predict: parameter 'y': " in message
    assert "use a pydantic model, a dataclass, plain types, or Annotated[np.ndarray" in message


def test_what_runs_again_after_a_death_is_a_batch_that_may_run_twice_or_what_says_so() -> None:
    @service(runner={"type": "process", "replicas": 2})
    class Retrying:
        @api(batch=True)
        def batched(self, items: list[int]) -> list[int]:
            return items

        @api(batch=True, isolate=False)
        def once(self, items: list[int]) -> list[int]:
            return items

        @api(batch=True, retry=False)
        def never(self, items: list[int]) -> list[int]:
            return items

        @api
        def plain(self, item: int) -> int:
            return item

        @api(retry=True)
        def again(self, item: int) -> int:
            return item

    spec = service_spec(Retrying)
    assert [(each.name, each.retry) for each in spec.apis] == [
        *(("batched", True), ("once", False), ("never", False)),
        *(("plain", False), ("again", True)),
    ]
    assert spec.runner == {"type": "process", "replicas": 2}


@pytest.mark.parametrize("runner", [3, {"replicas": 2}, ["process"]])
def test_a_runner_that_is_no_name_and_has_no_type_is_refused(runner: Any) -> None:
    assert refusal(lambda: service(runner=runner)).startswith(
        f"@service(runner={runner!r}): give a runner's name, or its settings with its type"
    )


def test_what_never_runs_twice_cannot_be_told_to() -> None:
    def batch(_self: Any, items: list[int]) -> list[int]:
        return items

    async def stream(_self: Any) -> AsyncIterator[int]:
        yield 1

    said = [
        refusal(lambda: api(batch=True, isolate=False, retry=True)(batch)),
        refusal(lambda: api(retry=True)(stream)),
    ]
    assert [each.partition(": ")[2] for each in said] == [
        "with isolate=False a batch never runs twice; drop retry=True",
        "an answer that streams never runs twice; drop retry=True",
    ]
