"""What a service class says, read once: its endpoints and their codecs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from spanserve.service.arguments import Parameter
from spanserve.service.codecs.json import BatchCodec, CallCodec

DEFAULT_MAX_BATCH_SIZE = 32
DEFAULT_MAX_LATENCY_MS = 50.0
DEFAULT_MAX_QUEUE = 1000

# What the server itself answers: no endpoint may take one of these.
OPERATION_ROUTES = frozenset(
    {
        "/docs",
        "/docs/oauth2-redirect",
        "/healthz",
        "/livez",
        "/metadata",
        "/metrics",
        "/openapi.json",
        "/readyz",
        "/redoc",
        "/tracing",
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSpec:
    """One `@api` method: `POST route` calls the method `name` of the service's instance.

    A batch method takes one positional argument, `codec.collate(items)`; a plain one takes
    the keyword arguments that `codec.decode(body)` gives.
    `max_latency_ms` is the target for queue + run. `max_batch_size`, `max_latency_ms` and
    `max_queue` (in items) mean something for a batch method only, and so does `isolate`: whether
    a batch that raises may run again, in parts. `retry`: whether what a replica ran that died runs
    again in another. `threads` is for a plain sync method only.
    `parameters` are of the body, and `injected` are those that FastAPI resolves beside it, for each
    request by itself: a batch method does not get them. `dependencies` are FastAPI's, too.
    `asynchronous` methods run on the event loop, `inline` ones too. With `cancel` one ends when its
    client leaves. One that `streams` is a generator, async or not, and `returns` says what it
    yields. `media_type` is what the bytes that it gives are, where it says so;
    `openai` is the shape of OpenAI's that it answers in, if any.
    """

    name: str
    route: str
    doc: str
    batch: bool
    max_batch_size: int
    max_latency_ms: float
    max_queue: int
    isolate: bool
    retry: bool
    inline: bool
    threads: int
    cancel: bool
    asynchronous: bool
    streams: bool
    parameters: tuple[Parameter, ...]
    injected: tuple[Parameter, ...]
    dependencies: tuple[Any, ...]
    tags: tuple[str, ...]
    returns: Any
    media_type: str
    openai: str
    codec: BatchCodec | CallCodec

    @property
    def is_dependent(self) -> bool:
        """Whether FastAPI resolves anything before the method is called."""
        return bool(self.injected or self.dependencies)

    @property
    def batch_codec(self) -> BatchCodec:
        """The codec of a batch method; TypeError for a plain one."""
        if isinstance(self.codec, BatchCodec):
            return self.codec
        raise TypeError(f"{self.name} is no batch endpoint")

    @property
    def plain_codec(self) -> CallCodec:
        """The codec of a plain method; TypeError for a batch one."""
        if isinstance(self.codec, CallCodec):
            return self.codec
        raise TypeError(f"{self.name} is a batch endpoint")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSpec:
    """A service class: `apis` in the order of their definition, base classes first.

    The `has_` fields say which optional methods there are: `warm_up()`, `close()` and
    `healthy()` of an instance (sync or async), and the class method `configure_app(app)`.
    `settings` is the parameter of `__init__` that is a pydantic model, if there is one; `runner` is
    what the service says of where it runs, as the configuration's section would.
    """

    name: str
    cls: type[Any]
    doc: str
    apis: tuple[ApiSpec, ...]
    has_warm_up: bool
    has_close: bool
    has_healthy: bool
    has_configure_app: bool
    settings: Parameter | None = None
    runner: Mapping[str, Any] = field(default_factory=dict)

    @property
    def settings_model(self) -> type[BaseModel] | None:
        """The pydantic model of the service's own settings; None where it declares none."""
        return None if self.settings is None else self.settings.annotation

    def make(self, settings: BaseModel | None) -> Any:
        """Make the service's instance, with the settings that it declares, or their defaults."""
        if self.settings is None:
            return self.cls()
        if settings is None and self.settings.required:
            settings = self.settings.annotation()
        return self.cls() if settings is None else self.cls(**{self.settings.name: settings})
